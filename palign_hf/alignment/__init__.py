"""PREFIXES -> PAIRS: the student goes on from a prefix, and what it wrote is judged and cleaned."""

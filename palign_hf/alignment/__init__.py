"""PREFIXES -> PAIRS: the student continues from a prefix, and its samples are graded and filtered."""

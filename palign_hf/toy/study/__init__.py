"""The first evidence: one small student, taught by each method on equal rows and equal tokens. See `__main__.py`."""

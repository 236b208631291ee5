"""The study: one small student trained by each method on equal rows and equal tokens. See `__main__.py`."""

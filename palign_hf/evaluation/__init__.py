"""Student evaluation: every output is graded, counted, and reported with its uncertainty.

An output that is empty, missing or crashed counts as wrong and is never left out. Each is a `Sample` with its labels,
and measures are computed from samples alone, so reports and comparisons need no model.
"""

"""How good a student is: every output is graded, counted, and reported with what it can and cannot say.

An output that is empty, missing or crashed is a wrong one, never left out. Each is a `Sample` with its labels, and
measures come from samples alone, so a report can be had again, and compared, without the model.
"""

"""PAIRS as the stages after alignment take them up: read and checked, or as the rows of a baseline."""

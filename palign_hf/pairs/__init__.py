"""PAIRS for the stages after alignment: reader, baselines and conversations."""

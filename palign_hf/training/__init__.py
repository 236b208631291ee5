"""PAIRS -> student: TRL's trainer with separate weights and metrics for a prefix and its continuation."""

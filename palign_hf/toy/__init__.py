"""A small world whose truth is known, for two CPU cores: problems and traces, a tiny student, measures, the demo."""

"""A small world that runs on two CPU cores: students small enough for tests, demos and benchmarks."""

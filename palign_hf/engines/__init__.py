"""Inference engines: `score` and `generate` over token ids, with any runtime."""

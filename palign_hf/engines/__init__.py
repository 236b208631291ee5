"""Where the student answers: `score` and `generate` over token ids, whichever runtime is behind."""

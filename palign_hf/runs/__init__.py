"""One run of one stage: shards, files, provenance, and the launch under accelerate."""

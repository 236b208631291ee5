"""Generation for every stage: the student runner, ordered jobs, the durable answer store, prompts as exact tokens."""

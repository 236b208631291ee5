"""A student at work, for every stage: runner, jobs in order, the store of answers, prompts as exact tokens."""

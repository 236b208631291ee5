"""PAIRS -> student: TRL's trainer, told which tokens are the teacher's prefix and which the student's continuation."""

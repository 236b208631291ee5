"""The shipped toy student: weights, curriculum, build and evaluation."""

"""`palign demo`: every stage on the toy world, explained for newcomers."""

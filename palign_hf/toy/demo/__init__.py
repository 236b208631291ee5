"""`palign demo`: every stage on the toy world, told so that a newcomer can follow."""

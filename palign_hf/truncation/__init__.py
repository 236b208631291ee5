"""TRACES -> PREFIXES: the shortest prefix of each trace that the student judges sufficient."""

"""The parts of a training row by number: one small integer a token, from which weights and metrics follow.

Numbers and not weights stand in the table, so that tokens stay what they are while weights are tried.
"""

PROMPT, PREFIX, CLOSE_TAG, CONTINUATION = range(4)

# The parts that are learned, as metrics name them. The opening tag is of the prefix, the end of the turn of the
# continuation.
LEARNED = {PREFIX: "prefix", CLOSE_TAG: "close_tag", CONTINUATION: "continuation"}

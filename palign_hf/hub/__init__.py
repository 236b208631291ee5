"""To the Hub and back: the files of finished runs, the cards that tell of them, and how they get there.

It knows folders, tables and reports as files, and no stage.
"""

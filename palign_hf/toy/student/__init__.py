"""The shipped student: what it was taught, how it is made again, what it can do."""

"""Generated problems with teacher traces, and their known answers and cuts."""

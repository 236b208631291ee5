"""Problems, their teacher traces, and the truth about both."""

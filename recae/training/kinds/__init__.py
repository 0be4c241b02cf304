"""A file for each kind of model: its settings and how it is fitted."""

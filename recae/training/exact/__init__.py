"""Exact per-user SGD on the squared error at a cost that does not grow with the catalogue."""

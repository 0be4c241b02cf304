"""Splits: which users and items are held out, by protocol."""

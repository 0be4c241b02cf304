"""Fits of the kinds of model, a file each: settings and fit."""

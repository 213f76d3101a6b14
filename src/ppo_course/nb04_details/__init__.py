"""Checks of notebook 04: the details."""

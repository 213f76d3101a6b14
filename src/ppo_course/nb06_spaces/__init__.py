"""Checks and the environment of notebook 06: other spaces, and masks."""

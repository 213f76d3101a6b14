"""Checks of notebook 07: memory."""

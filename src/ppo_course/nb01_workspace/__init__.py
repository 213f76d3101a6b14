"""Checks of notebook 01: the workspace."""

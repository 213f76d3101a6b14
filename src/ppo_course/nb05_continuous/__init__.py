"""Checks of notebook 05: continuous actions."""

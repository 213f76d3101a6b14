"""Checks of notebook 02: values and advantages."""

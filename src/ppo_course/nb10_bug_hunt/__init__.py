"""Checks of notebook 10: the bug hunt."""

"""Checks of notebook 08: a shared trunk."""

"""Checks of notebook 03: PPO-clip."""

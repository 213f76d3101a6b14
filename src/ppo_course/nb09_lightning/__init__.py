"""Checks of notebook 09: PPO on Lightning."""

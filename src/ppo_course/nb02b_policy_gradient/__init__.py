"""The checks of notebook 02b: the policy gradient, and what bounds its steps."""

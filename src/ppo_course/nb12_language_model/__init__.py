"""The checks of notebook 12: a language model that learns from a reward."""

"""Experiments: one configuration with many seeds, comparisons of runs, tuning."""

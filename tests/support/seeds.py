"""The seeds with which the tests of a check draw its cases: some, or all with PPO_BBRL_SEEDS=30."""

import os

SEEDS = range(int(os.environ.get("PPO_BBRL_SEEDS", "2")))
EVERY = len(SEEDS) >= 30  # of the wrong answers, not each fourth

"""The former name of `ppo_bbrl.runs.progress`, which notebooks use."""

from ppo_bbrl.runs.progress import Progress

__all__ = ["Progress"]

"""The former name of `ppo_bbrl.runs.best_policy`, for programs that were written before."""

from ppo_bbrl.runs.best_policy import SavedPolicy, load_policy, restore, save_policy

__all__ = ["SavedPolicy", "load_policy", "restore", "save_policy"]

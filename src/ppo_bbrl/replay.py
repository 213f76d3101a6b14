"""The former name of `ppo_bbrl.runs.replay`, which notebooks use."""

from ppo_bbrl.runs.replay import record_video, show

__all__ = ["record_video", "show"]

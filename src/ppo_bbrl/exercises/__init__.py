"""Checks that notebooks call on a student's functions; each says what is likely to be wrong."""

from ppo_bbrl.exercises.feedback import ExerciseError
from ppo_bbrl.exercises.is_clipped import check_is_clipped
from ppo_bbrl.exercises.policy_objective import check_policy_objective

__all__ = ["ExerciseError", "check_is_clipped", "check_policy_objective"]

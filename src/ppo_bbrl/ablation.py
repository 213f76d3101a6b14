"""The former name of `ppo_course.ablation`, for notebooks that were made before."""

from ppo_bbrl.system.lazy import renamed

renamed(__name__, "ppo_course.ablation")

"""The former name of the checks in `ppo_course`, for notebooks that were made before."""

from ppo_bbrl.system.lazy import renamed

renamed(__name__, "ppo_course")
renamed(f"{__name__}.feedback", "ppo_course.feedback")
renamed(f"{__name__}.probes", "ppo_course.probes")
renamed(f"{__name__}.suspects", "ppo_course.nb10_bug_hunt.suspects")

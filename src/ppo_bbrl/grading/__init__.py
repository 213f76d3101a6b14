"""The former name of `ppo_course.grading`, for courses that were made before."""

from ppo_bbrl.system.lazy import renamed

renamed(__name__, "ppo_course.grading")

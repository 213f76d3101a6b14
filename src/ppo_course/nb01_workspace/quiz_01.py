"""The check of the quiz of notebook 01."""

from ppo_course.quizzes import quiz_check

check_quiz_01 = quiz_check("01")

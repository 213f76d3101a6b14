"""The check of the quiz of notebook 09."""

from ppo_course.quizzes import quiz_check

check_quiz_09 = quiz_check("09")

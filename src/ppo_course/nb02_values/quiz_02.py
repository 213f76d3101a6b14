"""The check of the quiz of notebook 02."""

from ppo_course.quizzes import quiz_check

check_quiz_02 = quiz_check("02")

"""The check of the quiz of notebook 05."""

from ppo_course.quizzes import quiz_check

check_quiz_05 = quiz_check("05")

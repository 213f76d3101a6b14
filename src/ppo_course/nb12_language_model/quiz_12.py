"""The check of the quiz of notebook 12."""

from ppo_course.quizzes import quiz_check

check_quiz_12 = quiz_check("12")

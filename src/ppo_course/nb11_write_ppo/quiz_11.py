"""The check of the quiz of notebook 11."""

from ppo_course.quizzes import quiz_check

check_quiz_11 = quiz_check("11")

"""The check of the quiz of notebook 04."""

from ppo_course.quizzes import quiz_check

check_quiz_04 = quiz_check("04")

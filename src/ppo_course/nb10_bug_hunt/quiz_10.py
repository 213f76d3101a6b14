"""The check of the quiz of notebook 10."""

from ppo_course.quizzes import quiz_check

check_quiz_10 = quiz_check("10")

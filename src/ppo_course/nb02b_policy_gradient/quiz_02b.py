"""The check of the quiz of notebook 02b."""

from ppo_course.quizzes import quiz_check

check_quiz_02b = quiz_check("02b")

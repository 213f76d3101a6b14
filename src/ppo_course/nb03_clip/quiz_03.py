"""The check of the quiz of notebook 03."""

from ppo_course.quizzes import quiz_check

check_quiz_03 = quiz_check("03")

"""The check of the quiz of notebook 08."""

from ppo_course.quizzes import quiz_check

check_quiz_08 = quiz_check("08")

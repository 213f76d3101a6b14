"""The check of the quiz of notebook 06."""

from ppo_course.quizzes import quiz_check

check_quiz_06 = quiz_check("06")

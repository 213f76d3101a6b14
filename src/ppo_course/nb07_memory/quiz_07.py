"""The check of the quiz of notebook 07."""

from ppo_course.quizzes import quiz_check

check_quiz_07 = quiz_check("07")

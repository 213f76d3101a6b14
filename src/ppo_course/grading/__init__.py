"""Grading notebooks without trust in what a student's code does to the process it runs in.

nbgrader asks for it through its own options: see `preprocessors`. A submission is read, not run.
What each graded cell needs of it runs in a fresh process, with limits:

1. `cells` and `needed` choose the code: the teacher's definitions, the student's solution, those of
   the student's other lines that the solution needs, and the teacher's check with hidden tests.
2. `grader` sends it to `worker`, which has imported everything and forks for each graded cell.
3. `attempt` runs it. What a check relies on is compared with how it was before (`tampering`), and
   known-wrong answers (`controls`) must still fail.
"""

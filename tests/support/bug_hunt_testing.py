"""What the tests of notebook 10's checks have in common."""

from pathlib import Path

from details_testing import solution

SOURCE = Path(__file__).parents[2] / "notebooks" / "source" / "10_bug_hunt.py"


def notebooks_own(name):
    """The solution of the notebook, by the name of its function."""
    return solution(SOURCE, name)

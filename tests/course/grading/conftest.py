"""Which attacks are tried behind which boundary."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each attack behind one of the two boundaries; behind the other one in slow tests.

    In `make test` all attacks are tried and both boundaries are, but not every pair: that took a
    tenth of the time of all tests.
    """
    for item in items:
        names = getattr(item, "callspec", None)
        if item.path.name == "test_grading_attacks.py" and names and "name" in names.params:
            behind = names.params.get("world")
            even = sum(map(ord, names.params["name"])) % 2 == 0
            if behind is not None and (behind == "bubblewrap") != even:
                item.add_marker(pytest.mark.slow)

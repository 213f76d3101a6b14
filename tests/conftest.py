import signal
from collections import defaultdict

import pytest
import torch
from hypothesis import settings

# One thread in every test: sums are then the same everywhere, and workers do not compete.
torch.set_num_threads(1)

# Shells start jobs in the background with Ctrl-C ignored; tests send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis tries the same cases on every machine, however slow it is, and writes nothing.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test runs in a folder of its own, so that nothing is left behind."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def not_compiled(monkeypatch):
    """The step of the compiled engine is run as it is, with what was taken into it: in no time."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of the cases of a test marked `wide(n)`, `make test` tries n, from the first to the last.

    The others are marked `rest`: `make test-slow` tries them.
    """
    wide = defaultdict(list)
    for item in items:
        left_out = item.get_closest_marker("slow") or item.get_closest_marker("rest")
        if item.get_closest_marker("wide") and not left_out:
            wide[item.nodeid.partition("[")[0]].append(item)
    for cases in wide.values():
        (n,) = cases[0].get_closest_marker("wide").args
        tried = {round(k * (len(cases) - 1) / max(1, n - 1)) for k in range(n)}
        for index, case in enumerate(cases):
            if index not in tried:
                case.add_marker("rest")

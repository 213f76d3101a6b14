import re

import pytest
import torch

from ppo_course.mistakes import Exercise

PLACE = re.compile(r"\{[a-z_]{2,}\}")  # not the index of V(s_{t+1})


@pytest.fixture(autouse=True)
def every_place_in_the_words_is_filled_in(monkeypatch):
    """Tests ask for keys: none would see that a message says {argument} itself."""
    words = Exercise.words

    def checked(self, key, **values):
        texts = words(self, key, **values)
        assert [text for text in texts if PLACE.search(text)] == []
        return texts

    monkeypatch.setattr(Exercise, "words", checked)


@pytest.fixture(autouse=True)
def distributions_check_their_arguments(monkeypatch):
    """As in a new kernel: whoever calls torch.compile turns it off for the whole process."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


@pytest.fixture(autouse=True)
def a_wrong_answer_costs_one_check(request, monkeypatch):
    """What a mistake is like, and which parts are right, takes many; some files test that."""
    if request.path.name not in {"test_likeness.py", "test_check_mutants.py"}:
        monkeypatch.setattr("ppo_course.likeness.solutions", dict)
    if request.path.name != "test_partial.py":
        monkeypatch.setattr("ppo_course.mistakes._passes", lambda _: False)

"""The check of notebook 10's verdict: which suspect has which bug."""

import difflib
from collections import Counter
from typing import Any

from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.nb10_bug_hunt.suspects import CHARGES, CULPRITS

EXERCISE = Exercise("culprits", (), read_words(__file__))


@EXERCISE.check
def check_culprits(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `culprits()`.

    It returns a dict from each suspect, A to G, to its charge. A wrong answer is told how many
    are right, and what speaks against one of the wrong ones.
    """
    del seed  # the truth is the same with all of them
    answer = EXERCISE.call(function)
    _check_form(answer)
    wrong = [suspect for suspect in CULPRITS if answer[suspect] != CULPRITS[suspect]]
    if wrong:
        # Neither always the first nor by chance: another hint when other things are wrong.
        suspect = wrong[len(wrong) // 2]
        n = len(CULPRITS) - len(wrong)
        EXERCISE.credit(n, len(CULPRITS))
        # By what is said of the suspect and not by the truth, so that the hint gives nobody away:
        # neither a culprit nor the innocent.
        (evidence,) = EXERCISE.words(answer[suspect], suspect=suspect)
        raise EXERCISE.error(
            "some-right", right=f"{n} of {len(CULPRITS)} {'is' if n == 1 else 'are'}", look=evidence
        )


def _check_form(answer: Any) -> None:
    """A dict that has each suspect, and each charge once."""
    mistake = None if isinstance(answer, dict) else "no-dict"
    EXERCISE.expect(answer, mistake, 'a dict: {"A": "…", "B": "…", …}')
    for name in answer:
        EXERCISE.refuse(name not in CULPRITS, "no-such-suspect", suspect=repr(name))
    missing = [name for name in CULPRITS if name not in answer]
    if missing:
        raise EXERCISE.error("suspect-missing", missing=", ".join(missing))
    for name in CULPRITS:
        charge = answer[name]
        if isinstance(charge, list | tuple | set):
            kind = type(charge).__name__
            raise EXERCISE.error("charge-in-brackets", suspect=name, charge=repr(charge), kind=kind)
        # A text of a class of its own could answer to every comparison as it likes.
        if type(charge) is not str or charge not in CHARGES:
            near = difflib.get_close_matches(str(charge), CHARGES, n=1)
            look = f"perhaps '{near[0]}' is meant" if near else "the charges are those above"
            facts = (f"  the charges  {', '.join(CHARGES)}",)
            raise EXERCISE.error("no-such-charge", facts=facts, charge=repr(charge), look=look)
    often = [charge for charge, count in Counter(answer.values()).items() if count > 1]
    if often:
        of = " and ".join(name for name in CULPRITS if answer[name] == often[0])
        raise EXERCISE.error("charge-twice", charge=often[0], suspects=of)

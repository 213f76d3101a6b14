"""The check of notebook 10's verdict: which suspect has which bug."""

import difflib
from collections import Counter
from collections.abc import Callable
from typing import Any

from ppo_bbrl.exercises.feedback import call, describe, not_right, untouched_randomness
from ppo_bbrl.exercises.suspects import CHARGES, CULPRITS

#: () → suspect: charge
Culprits = Callable[[], Any]

NAME = "culprits"

#: What there is to see of each suspect, by the truth about it. It does not say who it is.
EVIDENCE = {
    "sign of the loss": "its learning curve: what would a policy that learns nothing get?",
    "wrong action": "the four instruments: one of them has something to say about this suspect",
    "leak across truncation": "the map of the probes, column by column: where is it alone?",
    "stale observation": "two probes that differ in one thing: what is decided by what?",
    "drawn with replacement": "the four instruments: one of them has something to say about this "
    "suspect, though its curve has not",
    "critic moves the actor": "the four instruments: one of them has something to say about this "
    "suspect",
    "innocent": "has any instrument, any probe, any curve something to say against this suspect?",
}


def check_culprits(function: Culprits, *, seed: int | None = None) -> None:
    """Check a student's `culprits()`.

    It returns a dict from each suspect, A to G, to its charge.

    Prints one line if everything is right, nothing where a seed is given; otherwise it says how
    many are right, and what to look at again for one of the wrong ones.

    Args:
        function: the student's.
        seed: to grade; the truth is the same with all of them.

    Raises:
        ExerciseError: with what is wrong, and where to look.
    """
    with untouched_randomness():
        answer = call(function, hint=_hint)
    _check_form(answer)
    wrong = [suspect for suspect in CULPRITS if answer[suspect] != CULPRITS[suspect]]
    if wrong:
        # Neither always the first nor by chance: another hint when other things are wrong.
        suspect = wrong[len(wrong) // 2]
        n = len(CULPRITS) - len(wrong)
        raise not_right(
            NAME,
            f"{n} of {len(CULPRITS)} {'is' if n == 1 else 'are'} right",
            f"{suspect} has not done '{answer[suspect]}'. For suspect {suspect} look again at "
            + EVIDENCE[CULPRITS[suspect]].rstrip("?"),
        )
    if seed is None:
        print("Well done! Six culprits found, and nobody innocent accused.")


def _check_form(answer: Any) -> None:
    """A dict that has each suspect, and each charge once."""
    facts = (f"  seen      {describe(answer)}", '  expected  a dict: {"A": "…", "B": "…", …}')
    if answer is None:
        raise not_right(NAME, "it returns nothing", "the last line: return {…}", *facts)
    if not isinstance(answer, dict):
        raise not_right(NAME, "it does not return a dict", "the last line: return {…}", *facts)
    names = ", ".join(CULPRITS)
    for name in answer:
        if name not in CULPRITS:
            raise not_right(NAME, f"there is no suspect {name!r}", f"the suspects are {names}")
    missing = [name for name in CULPRITS if name not in answer]
    if missing:
        raise not_right(
            NAME,
            f"nothing is said about {', '.join(missing)}",
            f"the suspects are {names}, and each gets one of the seven charges",
        )
    for name in CULPRITS:
        charge = answer[name]
        if charge not in CHARGES:
            near = difflib.get_close_matches(str(charge), CHARGES, n=1)
            raise not_right(
                NAME,
                f"there is no charge {charge!r}",
                f"did you mean '{near[0]}'" if near else "the charges are those below",
                f"  the charges  {', '.join(CHARGES)}",
            )
    often = [charge for charge, count in Counter(answer.values()).items() if count > 1]
    if often:
        of = " and ".join(name for name in CULPRITS if answer[name] == often[0])
        raise not_right(
            NAME,
            f"'{often[0]}' is said of {of}",
            "each charge belongs to exactly one suspect: where you hesitate between two, look for "
            "the instrument that tells them apart",
        )


def _hint(error: Exception) -> str:
    if isinstance(error, TypeError) and "argument" in str(error):
        return f"the function is called as {NAME}(), without arguments"
    if isinstance(error, NameError):
        return 'suspects and charges are texts, in quotes: "A": "innocent"'
    return ""

"""The check of notebook 10's verdict: which suspect has which bug."""

import difflib
from collections import Counter
from collections.abc import Callable
from typing import Any

from ppo_course.feedback import call, describe, not_right, untouched_randomness
from ppo_course.nb10_bug_hunt.suspects import CHARGES, CULPRITS

#: () → suspect: charge
Culprits = Callable[[], Any]

NAME = "culprits"

#: What would have been seen of a suspect, {0}, if it had done this. By what is said of it and not
#: by the truth, so that the hint gives nobody away: neither a culprit nor the innocent.
EVIDENCE = {
    "sign of the loss": "{0} has not turned the sign: it would have learned the worst that it can. "
    "Look at its curve, and at its return on ActionDecides.",
    "wrong action": "{0} has the right actions: otherwise its ratio before the first step would "
    "not be 1.",
    "leak across truncation": "Nothing leaks in {0}: otherwise its critic would be wrong where "
    "episodes are truncated, and nowhere else. Look at the map of the probes.",
    "stale observation": "{0} sees what is there: otherwise it would be lost where the right "
    "action depends on what is seen now. Look at the map of the probes.",
    "drawn with replacement": "{0} draws each transition once: otherwise its coverage would be "
    "less than 1.",
    "critic moves the actor": "The critic of {0} leaves the actor alone: otherwise the loss of "
    "the critic would have a gradient into the actor.",
    "innocent": "{0} has done something: an instrument or a probe has shown it, of {0} alone. Go "
    "through your notes, one after the other.",
}


def check_culprits(function: Culprits, *, seed: int | None = None) -> None:
    """Check a student's `culprits()`.

    It returns a dict from each suspect, A to G, to its charge.

    Prints one line if everything is right, nothing where a seed is given; otherwise it says how
    many are right, and what speaks against one of the wrong ones.

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
            EVIDENCE[answer[suspect]].format(suspect).rstrip("."),
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
        if isinstance(charge, list | tuple | set):
            raise not_right(
                NAME,
                f"the charge of {name} is {charge!r}, a {type(charge).__name__}",
                f'a text, not a {type(charge).__name__}: no brackets, "{name}": "…"',
            )
        # A text of a class of its own could answer to every comparison as it likes.
        if type(charge) is not str or charge not in CHARGES:
            near = difflib.get_close_matches(str(charge), CHARGES, n=1)
            raise not_right(
                NAME,
                f"there is no charge {charge!r}",
                f"perhaps '{near[0]}' is meant" if near else "the charges are those above",
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

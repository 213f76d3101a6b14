"""The quiz at the end of each notebook: every choice says why it is right or wrong.

The questions are in the notebook; what is right, and what to say about each choice, is in the file
`quiz.toml` of the notebook's folder.
"""

import functools
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ppo_course.feedback import WIDTH
from ppo_course.mistakes import Exercise, StudentCode, read_words

RIGHT = "right"
OPEN = "?"  # what stands in the notebook in place of a choice

Question = Mapping[str, str]  # the right letter under `RIGHT`, then what to say, by letter


@functools.cache
def questions_of(notebook: str) -> Mapping[str, Question]:
    """The questions of a notebook by their numbers.

    Raises:
        ValueError: for a notebook without a quiz.
    """
    found = {
        path.parent.name[2:].partition("_")[0]: path
        for path in Path(__file__).parent.glob("nb*/quiz.toml")
    }
    if notebook not in found:
        known = ", ".join(sorted(found))
        raise ValueError(f"no quiz of notebook {notebook!r}; there are those of {known}")
    questions: Mapping[str, Question] = tomllib.loads(found[notebook].read_text(encoding="utf-8"))
    return questions


def letters_of(question: Question) -> list[str]:
    """What one can choose."""
    return [letter for letter in question if letter != RIGHT]


def quiz(notebook: str, number: int, choice: str) -> None:
    """Say why a choice is right, or why it is wrong.

    Args:
        notebook: its number, such as "03".
        number: of the question.
        choice: a letter; "?" asks for one.

    Raises:
        ValueError: for a notebook or a question that there is not.
    """
    questions = questions_of(notebook)
    if str(number) not in questions:
        raise ValueError(f"notebook {notebook} has the questions 1 to {len(questions)}")
    question = questions[str(number)]
    letter = str(choice).strip(" ()").lower()
    if letter not in letters_of(question):
        letters = ", ".join(letters_of(question))
        print(f"Question {number}: put your choice in place of {choice!r}. It is one of {letters}.")
        return
    verdict = "Yes" if letter == question[RIGHT] else "No"
    print(textwrap.fill(f"({letter}) {verdict}. {question[letter]}", WIDTH))


def quiz_check(notebook: str) -> Callable[..., None]:
    """The check of a notebook's quiz, named `check_quiz_NN`."""
    exercise = Exercise("quiz_answers", (), read_words(__file__))
    questions = questions_of(notebook)  # now: where submissions are graded, nobody can read it

    def check(function: StudentCode, *, seed: int | None = None) -> None:
        del seed  # the answers are the same with all of them
        _check(exercise, questions, exercise.call(function))

    check.__name__ = check.__qualname__ = f"check_quiz_{notebook}"
    check.__doc__ = f"""Check a student's `quiz_answers()` to the quiz of notebook {notebook}.

    It returns a letter for each question, in their order, as one string. Each right one earns a
    share of the marks.
    """
    return exercise.check(check)


def _check(exercise: Exercise, questions: Mapping[str, Question], answer: Any) -> None:
    """Raise with the reason why each wrong choice is wrong."""
    n = len(questions)
    listed = isinstance(answer, list | tuple) and all(isinstance(each, str) for each in answer)
    text = "".join(answer) if listed else answer
    expected = f"a text of {n} letters"
    exercise.expect(answer, None if isinstance(text, str) else "no-text", expected)
    letters = [letter for letter in text.lower() if letter.isalpha() or letter == OPEN]
    if len(letters) != n:
        raise exercise.error("other-number", seen=repr(text), expected=expected)
    pairs = list(zip(letters, questions.items(), strict=True))
    for letter, (number, question) in pairs:
        known = letters_of(question)
        if letter not in known and letter != OPEN:
            choices = ", ".join(known)
            raise exercise.error("no-choice", number=number, letter=letter, choices=choices)
    wrong = [(letter, *item) for letter, item in pairs if letter != item[1][RIGHT]]
    if wrong:
        exercise.credit(n - len(wrong), n)
        facts = [
            f"  Question {number}: ({letter}) {question.get(letter, 'It has no answer yet.')}"
            for letter, number, question in wrong
        ]
        raise exercise.error("some-wrong", facts=facts, right=f"{n - len(wrong)} of {n}")

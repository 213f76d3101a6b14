"""The quiz questions of the notebooks: their form, their answers against computed ones, reasons."""

import ast
import importlib
import inspect
import re
import string
from typing import NamedTuple

import jupytext
import pytest
from course import WITH_EXERCISES, markdown_cells

import ppo_course
from ppo_course import ExerciseError, quiz
from ppo_course.quizzes import RIGHT, letters_of, questions_of

HEADING = "## What have you understood?"

#: A question's cell, whole. Anything else that looks like a question is an error.
FORM = re.compile(
    r"\*\*Question (?P<number>\d+)\.\*\* (?P<text>\S.*?)\n\n"
    r"(?P<options>(?:- \([a-f]\) \S[^\n]*\n?(?: +\S[^\n]*\n?)*)+)",
    re.DOTALL,
)
OPTION = re.compile(r"^- \(([a-f])\) (.+?)(?=^- \([a-f]\) |\Z)", re.DOTALL | re.MULTILINE)


def number_of(source):
    """Of a notebook: "02b" for 02b_policy_gradient."""
    return source.stem.partition("_")[0]


class Question(NamedTuple):
    where: str
    number: int
    text: str
    options: list[tuple[str, str]]


def read_question(cell):
    match = FORM.fullmatch(cell.text.strip())
    assert match, f"{cell.where}: a question that has not the form of the others:\n{cell.text}"
    options = [
        (letter, " ".join(text.split())) for letter, text in OPTION.findall(match["options"])
    ]
    return Question(cell.where, int(match["number"]), match["text"], options)


def looks_like_a_question(text):
    return bool(re.search(r"question\s+\d+\s*\.", text, re.IGNORECASE))


def questions(source):
    return [
        read_question(cell) for cell in markdown_cells(source) if looks_like_a_question(cell.text)
    ]


def complaints(question):
    """What is wrong with a question that has the right form."""
    letters = [letter for letter, _ in question.options]
    if letters != sorted(set("abcdef"))[: len(letters)]:
        yield f"the options are lettered {letters}"
    if len(letters) < 2:
        yield "there is nothing to choose from"
    plain = [re.sub(r"\W+", " ", text).strip().casefold() or text for _, text in question.options]
    exact = [text for _, text in question.options]
    # Formulas may differ in signs alone, words may not.
    if len(set(exact)) < len(exact) or ("$" not in "".join(exact) and len(set(plain)) < len(plain)):
        yield "two options are the same"
    if not question.text.rstrip().endswith(("?", ":", "…")):
        yield "the question does not end with a question mark"


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_a_notebook_asks_two_to_five_questions_under_their_heading(source):
    cells = markdown_cells(source)
    headings = [n for n, cell in enumerate(cells) if HEADING in cell.text.splitlines()]
    assert len(headings) == 1, f"{source.name}: once '{HEADING}'"
    asked = [n for n, cell in enumerate(cells) if looks_like_a_question(cell.text)]
    assert 2 <= len(asked) <= 5
    assert headings[0] < asked[0]
    assert [question.number for question in questions(source)] == [*range(1, len(asked) + 1)]


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_every_question_is_well_posed(source):
    found = questions(source)
    told = [f"{q.where}: {complaint}" for q in found for complaint in complaints(q)]
    assert told == []
    answers = {question[RIGHT] for question in questions_of(number_of(source)).values()}
    # Who always ticks the same letter must not pass.
    assert len(found) < 3 or len(answers) > 1


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_every_choice_has_a_reason_of_its_own(source):
    asked, told = questions(source), questions_of(number_of(source))
    assert [str(question.number) for question in asked] == [*told]
    for question in asked:
        said = told[str(question.number)]
        assert letters_of(said) == [letter for letter, _ in question.options], question.where
        assert said[RIGHT] in letters_of(said)
        reasons = [said[letter] for letter in letters_of(said)]
        assert len({*reasons}) == len(reasons)
        assert all(len(reason.split()) >= 6 and reason.endswith((".", ")")) for reason in reasons)


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_below_each_question_is_the_cell_that_answers(source):
    cells = jupytext.read(source, fmt="py:percent").cells
    found = [
        (cell.source, cells[place + 1].source)
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown" and looks_like_a_question(cell.source)
    ]
    for number, (_, code) in enumerate(found, start=1):
        assert code == f'quiz("{number_of(source)}", {number}, "?")'


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_each_right_answer_gives_marks(source, capsys):
    notebook = number_of(source)
    check = getattr(ppo_course, f"check_quiz_{notebook}")
    asked = questions_of(notebook)
    right = "".join(question[RIGHT] for question in asked.values())
    check(lambda: right, seed=1)
    check(lambda: tuple(right.upper()))
    assert "Well done!" in capsys.readouterr().out
    for place, question in enumerate(asked.values()):
        for letter in (*letters_of(question), "?"):
            if letter == question[RIGHT]:
                continue
            wrong = right[:place] + letter + right[place + 1 :]
            with pytest.raises(ExerciseError) as caught:
                check(lambda wrong=wrong: wrong)
            assert caught.value.keys == ("some-wrong",)
            assert caught.value.share == pytest.approx((len(right) - 1) / len(right))
            # Its own reason, and not the right one's.
            assert question.get(letter, "no answer yet") in str(caught.value)
            assert question[question[RIGHT]] not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "key"),
    [("", "other-number"), ("abcab", "other-number"), (3, "no-text"), ("cbbz", "no-choice")],
)
def test_what_is_no_answer_is_told(answer, key):
    with pytest.raises(ExerciseError) as caught:
        ppo_course.check_quiz_03(lambda: answer)
    assert caught.value.keys == (key,)


def test_a_choice_is_told_why(capsys):
    for choice, verdict in (("b", "(b) No."), ("(C)", "(c) Yes.")):
        quiz("03", 1, choice)
        assert capsys.readouterr().out.startswith(verdict)
    for choice in ("?", "e", "", None, *string.digits):
        quiz("03", 1, choice)
        assert "one of a, b, c, d" in capsys.readouterr().out
    with pytest.raises(ValueError, match="questions 1 to 4"):
        quiz("03", 5, "a")
    with pytest.raises(ValueError, match="no quiz"):
        quiz("3", 1, "a")


def computed(source):
    """The functions `question_K` of a notebook's module in tests/quiz."""
    module = importlib.import_module(f"quiz.nb_{number_of(source)}")
    return {
        int(name.removeprefix("question_")): function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("question_")
    }


@pytest.mark.wide(5)
@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_every_answer_is_the_one_that_is_computed(source):
    functions, asked = computed(source), questions_of(number_of(source))
    assert {*map(str, functions)} == {*asked}
    for number, question in asked.items():
        letter = functions[int(number)]()
        assert letter == question[RIGHT], f"{source.stem}, {number}: ({letter}) is right"


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_no_answer_is_merely_stated(source):
    for function in computed(source).values():
        (definition,) = ast.parse(inspect.getsource(function)).body
        returned = [node.value for node in ast.walk(definition) if isinstance(node, ast.Return)]
        assert returned
        assert not all(isinstance(value, ast.Constant) for value in returned) or any(
            isinstance(node, ast.If | ast.IfExp) for node in ast.walk(definition)
        ), f"{function.__qualname__} only states its answer"


# --------------------------------------------------------- the tests above notice what they should

GOOD = """\
**Question 1.** How large is
$1 + 1$?

- (a) 1
- (b) 2,
  as one sees
- (c) 3"""


def test_a_question_is_read_whole():
    question = read_question(markdown(GOOD))
    assert question.number == 1
    assert question.text == "How large is\n$1 + 1$?"
    assert question.options == [("a", "1"), ("b", "2, as one sees"), ("c", "3")]
    assert list(complaints(question)) == []


def markdown(text):
    from course import Text

    return Text("here", text)


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("**Question 1.**", "Question 1."),
        ("- (c) 3", "- (c)"),
        ("- (c) 3", "- (c) 3\n\n<details>"),
    ],
)
def test_a_question_of_another_form_is_noticed(change, to):
    text = GOOD.replace(change, to)
    assert looks_like_a_question(text)
    with pytest.raises(AssertionError, match="has not the form"):
        read_question(markdown(text))


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("(c) 3", "(c) 1", "two options are the same"),
        ("(c) 3", "(d) 3", "lettered"),
        ("$1 + 1$?", "$1 + 1$.", "question mark"),
    ],
)
def test_an_ill_posed_question_is_noticed(change, to, said):
    told = list(complaints(read_question(markdown(GOOD.replace(change, to)))))
    assert any(said in complaint for complaint in told)

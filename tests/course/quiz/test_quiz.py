"""The quiz questions of the notebooks: their form, and their answers against computed ones."""

import ast
import importlib
import inspect
import re
from typing import NamedTuple

import pytest
from course import WITH_EXERCISES, markdown_cells

HEADING = "## What have you understood?"

#: A question's cell, whole. Anything else that looks like a question is an error.
FORM = re.compile(
    r"\*\*Question (?P<number>\d+)\.\*\* (?P<text>\S.*?)\n\n"
    r"(?P<options>(?:- \([a-f]\) \S[^\n]*\n(?: +\S[^\n]*\n)*)+)\n"
    r"<details><summary>Answer</summary>\n\n"
    r"\*\*\((?P<answer>[a-f])\)\*\* (?P<explanation>\S.*?)\n\n"
    r"</details>",
    re.DOTALL,
)
OPTION = re.compile(r"^- \(([a-f])\) (.+?)(?=^- \([a-f]\) |\Z)", re.DOTALL | re.MULTILINE)


class Question(NamedTuple):
    where: str
    number: int
    text: str
    options: list[tuple[str, str]]
    answer: str
    explanation: str


def read_question(cell):
    match = FORM.fullmatch(cell.text.strip())
    assert match, f"{cell.where}: a question that has not the form of the others:\n{cell.text}"
    options = [
        (letter, " ".join(text.split())) for letter, text in OPTION.findall(match["options"])
    ]
    return Question(
        cell.where,
        int(match["number"]),
        match["text"],
        options,
        match["answer"],
        " ".join(match["explanation"].split()),
    )


def looks_like_a_question(text):
    return bool(re.search(r"question\s+\d+\s*\.", text, re.IGNORECASE)) or bool(
        re.search(r"<summary>\s*answer\s*</summary>", text, re.IGNORECASE)
    )


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
    if question.answer not in letters:
        yield f"the answer ({question.answer}) is none of the options"
    if len(question.explanation.split()) < 4:
        yield "the answer has no explanation"
    if re.match(r"(and|or|,)? *\*\*\([a-f]\)\*\*", question.explanation):
        yield "there are two answers"
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
    # Who always ticks the same letter must not pass.
    assert len(found) < 3 or len({question.answer for question in found}) > 1


def computed(source):
    """The functions `question_K` of a notebook's module in tests/quiz."""
    module = importlib.import_module(f"quiz.nb_{source.stem[:2]}")
    return {
        int(name.removeprefix("question_")): function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("question_")
    }


@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda path: path.stem)
def test_every_answer_is_the_one_that_is_computed(source):
    functions, asked = computed(source), questions(source)
    assert set(functions) == {question.number for question in asked}
    for question in asked:
        letter = functions[question.number]()
        assert letter == question.answer, f"{question.where}: ({letter}) is right"


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
- (c) 3

<details><summary>Answer</summary>

**(b)** One and one make two.

</details>"""


def test_a_question_is_read_whole():
    question = read_question(markdown(GOOD))
    assert question.number == 1
    assert question.text == "How large is\n$1 + 1$?"
    assert question.options == [("a", "1"), ("b", "2, as one sees"), ("c", "3")]
    assert question.answer == "b"
    assert list(complaints(question)) == []


def markdown(text):
    from course import Text

    return Text("here", text)


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("**Question 1.**", "Question 1."),
        ("<details>", "<details open>"),
        ("\n\n</details>", ""),
        ("- (c) 3", "- (c)"),
        ("**(b)**", "(b)"),
        ("</summary>\n\n", "</summary>\n"),  # Jupyter would then show the asterisks
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
        ("**(b)**", "**(e)**", "none of the options"),
        ("One and one make two.", "Yes.", "no explanation"),
        ("One and", "**(c)** One and", "two answers"),
        ("$1 + 1$?", "$1 + 1$.", "question mark"),
    ],
)
def test_an_ill_posed_question_is_noticed(change, to, said):
    told = list(complaints(read_question(markdown(GOOD.replace(change, to)))))
    assert any(said in complaint for complaint in told)

"""Student and solution versions of a notebook, generated from its source."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

SCRIPT = Path(__file__).parents[3] / "notebooks" / "build.py"

EXERCISE = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: the author's own
#     name: authors-kernel
# ---

# %% [markdown]
# # Squares, λ × 2
#
# Fill in the function.

# %%
# %matplotlib inline
import math

# %% nbgrader={"grade": false, "grade_id": "square", "locked": false, "schema_version": 3, \
"solution": true, "task": false}
def square(x):
    if x > 0:
        ### BEGIN SOLUTION
        secret = x * x
        return secret
        ### END SOLUTION
    return math.inf

# %% nbgrader={"grade": true, "grade_id": "check", "locked": true, "points": 1, \
"schema_version": 3, "solution": false, "task": false}
assert square(2) == 4
### BEGIN HIDDEN TESTS
assert square(13) == 169
### END HIDDEN TESTS

# %%
square(3)

# %%
square(3)
"""


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_build", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_source(tmp_path, EXERCISE)
    return tmp_path


def write_source(root: Path, text: str) -> None:
    (root / "source").mkdir(exist_ok=True)
    (root / "source" / "01_squares.py").write_text(text, encoding="utf-8")


def generated(root: Path, version: str) -> Path:
    return root / version / "01_squares.ipynb"


def code(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def read(root: Path, version: str) -> list[nbformat.NotebookNode]:
    return nbformat.read(generated(root, version), as_version=4).cells


def run(build: ModuleType, root: Path, *options: str) -> int:
    return build.main(["--root", str(root), *options])


@pytest.mark.slow  # of all notebooks; `make check` compares them with what is there
def test_two_generations_are_byte_equal(tmp_path):
    texts = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        write_source(root, EXERCISE)
        # A process each: nothing depends on the seed of Python's hashes.
        subprocess.run([sys.executable, SCRIPT, "--root", root], check=True, capture_output=True)
        texts.append([generated(root, v).read_bytes() for v in ("student", "solution")])
    assert texts[0] == texts[1]


def test_cell_ids_are_unique_and_survive_an_inserted_cell(build, root):
    run(build, root)
    before = [cell.id for cell in nbformat.read(generated(root, "student"), 4).cells]
    write_source(root, EXERCISE.replace("# %%\n# %mat", "# %%\nprint('new')\n\n# %%\n# %mat"))
    run(build, root)
    after = [cell.id for cell in nbformat.read(generated(root, "student"), 4).cells]
    assert len(set(after)) == len(after) == len(before) + 1
    assert [identity for identity in after if identity in before] == before


def test_a_stub_replaces_the_solution_and_nothing_of_it_leaks(build, root):
    run(build, root)
    assert "secret" not in code(generated(root, "student"))
    text = generated(root, "student").read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert "169" not in text  # nor do hidden tests
    assert (
        "    if x > 0:\n        assert False, 'Not implemented yet'\n    return math.inf"
    ) in code(generated(root, "student"))


def test_the_answer_is_folded_away_below_the_check_and_is_the_solution(build, root):
    run(build, root)
    cells = nbformat.read(generated(root, "student"), as_version=4).cells
    (answer,) = [index for index, cell in enumerate(cells) if "<details>" in cell.source]
    assert cells[answer].cell_type == "markdown"
    assert "assert square(2)" in cells[answer - 1].source
    head, _, rest = cells[answer].source.partition("\n\n```python\n")
    assert head == "<details><summary>The answer, if you are stuck for long</summary>"
    answered, _, tail = rest.partition("\n```\n\n")
    assert tail == "</details>"
    # The same text as the cell of the solution version.
    assert answered in [cell.source for cell in read(root, "solution")]
    assert "<details>" not in generated(root, "solution").read_text(encoding="utf-8")


def test_tags_survive(build, root):
    write_source(root, EXERCISE.replace("# %%\nsquare(3)", '# %% tags=["definitions"]\nsquare(3)'))
    run(build, root)
    for version in ("student", "solution"):
        tags = [cell.metadata.get("tags") for cell in read(root, version)]
        assert tags.count(["definitions"]) == 2


def test_the_solution_version_is_filled_in_without_marks(build, root):
    run(build, root)
    text = generated(root, "solution").read_text(encoding="utf-8")
    assert "BEGIN" not in text
    assert "END" not in text
    assert "nbgrader" not in text
    assert "        secret = x * x\n        return secret\n    return math.inf" in code(
        generated(root, "solution")
    )


@pytest.mark.parametrize("version", ["student", "solution"])
def test_a_generated_notebook_is_valid_and_carries_no_trace_of_its_author(build, root, version):
    run(build, root)
    notebook = nbformat.read(generated(root, version), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "authors-kernel" not in generated(root, version).read_text(encoding="utf-8")
    assert "%matplotlib inline" in notebook.cells[1].source.splitlines()
    assert all(
        not cell.outputs and cell.execution_count is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


def test_check_notices_a_stale_file_and_writes_nothing(build, root, capsys):
    assert run(build, root, "--check") == 1
    assert not (root / "student").exists()
    assert run(build, root) == 0
    assert run(build, root, "--check") == 0

    path = generated(root, "student")
    stale = path.read_text(encoding="utf-8").replace("Squares", "Cubes")
    path.write_text(stale, encoding="utf-8")
    capsys.readouterr()
    assert run(build, root, "--check") == 1
    message = capsys.readouterr().err
    assert str(path) in message
    assert str(generated(root, "solution")) not in message
    assert path.read_text(encoding="utf-8") == stale


def test_a_generated_notebook_without_source_is_named_and_kept(build, root, capsys):
    run(build, root)
    left_over = generated(root, "student").rename(root / "student" / "00_renamed.ipynb")
    assert run(build, root) == 1
    assert str(left_over) in capsys.readouterr().err
    assert left_over.exists()


def test_an_unchanged_notebook_is_not_written_again(build, root, capsys):
    run(build, root)
    capsys.readouterr()
    run(build, root)
    assert capsys.readouterr().out == ""


def test_no_source_is_no_error(build, tmp_path, capsys):
    assert run(build, tmp_path) == 0
    assert run(build, tmp_path, "--check") == 0
    assert "no notebook sources" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        # nbgrader would see no region in these, and hand the solution out.
        ("### BEGIN SOLUTION", "### Begin solution", "'### BEGIN SOLUTION' expected"),
        ("        ### BEGIN SOLUTION\n", "", "'### BEGIN SOLUTION' expected"),
        ("        ### END SOLUTION\n", "", "'### END SOLUTION' is missing"),
        ("### END SOLUTION", "### BEGIN SOLUTION", "'### END SOLUTION' expected"),
        ('"solution": true', '"solution": false', "non-solution cell"),
        ('"grade_id": "check"', '"grade_id": "square"', "Duplicate grade id"),
    ],
)
def test_a_mistake_in_a_source_is_one_message(build, root, capsys, right, wrong, message):
    assert right in EXERCISE
    write_source(root, EXERCISE.replace(right, wrong, 1))
    assert run(build, root) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "01_squares.py" in captured.err
    assert captured.err.count("\n") == 1
    assert not (root / "student").exists()

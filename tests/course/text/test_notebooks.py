"""The notebooks, run as a reader runs them: in a kernel, from top to bottom, without a keyboard."""

import base64
import importlib.util

import nbformat
import pytest
from course import MAP, SOURCES
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellExecutionError
from notebook_run import NOTEBOOKS, NotebookRun

LIGHTNING = "09_lightning"
NEEDS_LIGHTNING = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="the extra `lightning` is not installed"
)
NAMES = [
    pytest.param(path.stem, marks=NEEDS_LIGHTNING) if path.stem == LIGHTNING else path.stem
    for path in SOURCES
]
EXERCISES = [name for name in NAMES if name != MAP]
PPO, CAPSTONE = "03_ppo_clip", "11_write_ppo"
# What draws them, in this order: a word of each cell.
PICTURES = [
    "without clipping",
    "workspace_grid(",
    "times_used",
    "titles = {",
    "learning_curve(",
    "report.figure(",
    "policy_map(",
    "critic_map(",
]


@pytest.fixture(scope="module", autouse=True)
def _short_and_alone(tmp_path_factory):
    """Short runs; nothing of the user's Jupyter, and no network that one could install from."""
    home = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTING_MODE", "on")
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(home))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        yield


@pytest.fixture(scope="module")
def kernel():
    """One for all notebooks but 03: each would import torch anew."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)


def test_the_solution_of_03(tmp_path):
    """Looked at in one test: several workers would each run it."""
    solution = NotebookRun("solution", PPO, tmp_path).run(), tmp_path
    the_solution_runs_from_top_to_bottom(solution)
    the_solution_warns_of_nothing(solution)
    the_solution_installs_nothing(solution)
    the_solution_shows_its_pictures(solution)
    the_solution_shows_the_video(solution)
    the_solution_writes_into_the_outputs_of_tests(solution)
    drawing_with_replacement_misses_a_share_of_1_over_e(solution)


def the_solution_runs_from_top_to_bottom(solution):
    notebook, _ = solution
    assert [cell.execution_count for cell in notebook.cells] == list(
        range(1, len(notebook.cells) + 1)
    )
    assert "Well done!" in notebook.text("stdout")


@pytest.mark.parametrize(
    "name",
    [
        # Its check trains for a minute.
        pytest.param(p.stem, marks=pytest.mark.slow) if p.stem == CAPSTONE else p.stem
        for p in SOURCES
        if p.stem not in (PPO, LIGHTNING)
    ],
)
def test_every_solution_runs_from_top_to_bottom(name, tmp_path, kernel):
    """As 03 above: no keyboard, no screen, no network; experiments shortened by TESTING_MODE.

    The same is asked of 09 in test_claims_09.py, where it is run for more.
    """
    notebook = NotebookRun("solution", name, tmp_path, kernel=kernel).run()
    counts = [cell.execution_count for cell in notebook.cells]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    assert notebook.cells[1].outputs == []  # nothing was installed
    assert len(notebook.outputs("image/png")) >= (0 if name == MAP else 2)


def the_solution_warns_of_nothing(solution):
    notebook, _ = solution
    warnings = [line for line in notebook.text("stderr").splitlines() if "Warning" in line]
    assert warnings == []


def the_solution_installs_nothing(solution):
    notebook, _ = solution
    assert notebook.cells[0].outputs == []


def the_solution_shows_its_pictures(solution):
    notebook, _ = solution
    pictures = {
        next(word for word in PICTURES if word in cell.source): output.data["image/png"]
        for cell in notebook.cells
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    }
    assert list(pictures) == PICTURES
    for picture in pictures.values():
        assert base64.b64decode(picture).startswith(b"\x89PNG")


def the_solution_shows_the_video(solution):
    notebook, _ = solution
    html = next(html for html in notebook.outputs("text/html") if "<video" in html)
    head, _, rest = html.partition("data:video/mp4;base64,")
    assert "<video" in head
    video = base64.b64decode(rest.partition('"')[0])
    assert video[4:8] == b"ftyp"


def the_solution_writes_into_the_outputs_of_tests(solution):
    _, folder = solution
    assert [path.name for path in folder.iterdir()] == ["outputs-testing"]
    runs = sorted((folder / "outputs-testing" / "CartPole-v1").iterdir())
    assert [run.name.split("_")[0] for run in runs] == [f"ppo-clip-S{n}" for n in (0, 12, 13, 14)]
    seeds, *own = runs
    assert all((run / "metrics.csv").is_file() for run in (seeds / "seed_0", *own))
    assert (own[0] / "video" / "best.mp4").is_file()


def drawing_with_replacement_misses_a_share_of_1_over_e(solution):
    notebook, _ = solution
    line = next(
        line for line in notebook.text("stdout").splitlines() if "Drawn with replacement" in line
    )
    share = float(line.split()[3].rstrip("%"))
    assert share == pytest.approx(36.7, abs=0.5)


@pytest.mark.wide(4)
@pytest.mark.parametrize("name", EXERCISES)
def test_the_student_version_stops_at_the_first_exercise(name, tmp_path, kernel):
    notebook = NotebookRun("student", name, tmp_path, kernel=kernel)
    with pytest.raises(CellExecutionError) as caught:
        notebook.run()
    assert "Not implemented yet" in str(caught.value)
    stopped = next(cell for cell in notebook.cells if "error" in kinds(cell))
    exercises = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.metadata.get("nbgrader", {}).get("solution")
    ]
    # The exercise only defines a function: it is the check in the next cell that stops.
    assert notebook.cells.index(stopped) == exercises[0] + 1
    assert stopped.outputs[-1].ename == "ExerciseError"
    assert len(stopped.outputs[-1].traceback) == 2  # the message alone


def kinds(cell):
    return [output.output_type for output in cell.outputs]


@pytest.fixture(params=NAMES)
def setup_cell(request, monkeypatch):
    """The setup cell where nothing is installed, and what it would install."""
    source = nbformat.read(NOTEBOOKS / "student" / f"{request.param}.ipynb", 4).cells
    source = next(cell.source for cell in source if cell.cell_type == "code")
    installed = []
    monkeypatch.setattr("easypip.easyinstall", installed.append)
    monkeypatch.setattr("subprocess.run", lambda command, **_: installed.append(command[-1]))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    return source, installed, request.param


def test_without_the_package_the_setup_cell_says_where_to_name_it(setup_cell):
    source, installed, _ = setup_cell
    with pytest.raises(ModuleNotFoundError, match="say in PPO_BBRL where to install it from"):
        exec(source, {})
    assert installed == []


def test_without_the_package_the_setup_cell_installs_what_is_named(setup_cell):
    source, installed, name = setup_cell
    address = "git+https://example.org/course.git"
    assert 'PPO_BBRL = ""' in source
    exec(source.replace('PPO_BBRL = ""', f'PPO_BBRL = "{address}"'), {})
    package = "ppo-bbrl[lightning]" if name == LIGHTNING else "ppo-bbrl"
    assert installed == ["easypip", f"{package} @ {address}"]


def test_without_lightning_the_setup_cell_of_its_notebook_says_so_in_a_line(monkeypatch):
    cells = nbformat.read(NOTEBOOKS / "student" / f"{LIGHTNING}.ipynb", 4).cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "lightning" in name else 1)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ppo-bbrl\[lightning\]'$"):
        exec(source, {})

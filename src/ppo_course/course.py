"""The course as files: notebooks to fill in, or a course that nbgrader grades.

Each notebook of a graded course is an assignment of its own,
`source/03_ppo_clip/03_ppo_clip.ipynb`. A file that is there already and says something else is left
as it is, and named: it may be the teacher's own, or a student's work.
"""

from collections.abc import Sequence
from pathlib import Path

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.console import say
from ppo_bbrl.system.copies import write_unless_edited
from ppo_course.address import with_address

#: the second says what must hold where the first cannot be loaded
CONFIGS = ("nbgrader_config.py", "nbgrader_config.json")

_PACKAGE = Path(__file__).parent
# In a wheel they are in the package; in a checkout, `notebooks` is at the top.
_PLACES = (_PACKAGE / "notebooks", _PACKAGE.parents[1] / "notebooks")


def notebooks() -> Path:
    """The folder with the notebooks: `source`, `student` and nbgrader's configuration.

    Raises:
        UserError: if this installation has none.
    """
    for place in _PLACES:
        if (place / "source").is_dir():
            return place
    raise UserError("this installation of ppo-bbrl has no notebooks; a wheel and a checkout do")


def write_course(
    folder: Path,
    *,
    graded: bool = False,
    only: Sequence[str] = (),
    overwrite: bool = False,
    address: str = "",
    root: Path | None = None,
) -> int:
    """Write the notebooks of the course, and say what to do next.

    Args:
        folder: made when it is missing.
        graded: a course for nbgrader, which needs the extra `course`; otherwise the notebooks to
            fill in, with the checks of the exercises.
        only: numbers or names that the wanted notebooks begin with; default: all.
        overwrite: replace what was edited.
        address: what the setup cells install the package from where it is missing.
        root: where the notebooks come from; default: `notebooks()`.

    Returns:
        How many files were kept because they differ.

    Raises:
        UserError: for a notebook that does not exist, a bad address, or without the extra.
    """
    root = root or notebooks()
    kind, suffix = ("source", "py") if graded else ("student", "ipynb")
    paths = sorted((root / kind).glob(f"*.{suffix}"))
    wanted = [path for path in paths if not only or path.stem.startswith(tuple(only))]
    for word in only:
        if not word or not any(path.stem.startswith(word) for path in paths):
            names = ", ".join(path.stem for path in paths)
            raise UserError(f"no notebook begins with {word or repr(word)}; they are {names}")
    if graded:
        files = _graded(folder, wanted)
    else:
        files = {folder / path.name: path.read_text(encoding="utf-8") for path in wanted}
    files = {
        path: with_address(text, address) if path.suffix == ".ipynb" else text
        for path, text in files.items()
    }
    kept = write_unless_edited(files, overwrite=overwrite)
    if graded:
        say(f"Boundary: {_boundary()}")
        say(f"Next: cd {folder} && nbgrader generate_assignment {wanted[0].stem}")
    else:
        say(f"Next: pip install jupyterlab && jupyter lab {folder / wanted[0].name}")
    return len(kept)


def _graded(folder: Path, sources: Sequence[Path]) -> dict[Path, str]:
    """What the files of a graded course should contain."""
    try:
        from ppo_course.sources import BuildError, read_source, render, student_version  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UserError(
            f"a graded course needs the extra `course` ({error.name} is missing): "
            "pip install 'ppo-bbrl[course]'"
        ) from error
    here = notebooks()
    files = {folder / name: (here / name).read_text(encoding="utf-8") for name in CONFIGS}
    for path in sources:
        try:
            notebook = read_source(path)
            student_version(notebook, name=path.name)  # raises where nbgrader would stumble
        except BuildError as error:
            raise UserError(str(error)) from error
        name = path.stem
        files[folder / "source" / name / f"{name}.ipynb"] = render(notebook)
    return files


def _boundary() -> str:
    """What keeps the code of submissions from this machine, in one line."""
    from ppo_course.grading.boundary import BoundaryError, find  # noqa: PLC0415 - the extra is there

    try:
        return str(find())
    except BoundaryError as error:
        return f"THERE IS NONE, and no submission can be graded. {error}"

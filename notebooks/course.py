"""Makes an nbgrader course from the notebooks' sources.

    python notebooks/course.py FOLDER            a new course, or the newer sources for an old one
    python notebooks/course.py FOLDER --only 03  some of the notebooks

Each notebook is an assignment of its own, `source/03_ppo_clip/03_ppo_clip.ipynb`. A file that is
there already and says something else is left as it is, and named: it may be the teacher's own.
With `--overwrite` it is replaced.
"""

import argparse
import sys
from pathlib import Path

from build import BuildError, read_source, render, student_version

from ppo_bbrl.system.files import write_file
from ppo_course.grading.boundary import BoundaryError, find

HERE = Path(__file__).parent
#: the second says what must hold where the first cannot be loaded
CONFIGS = ("nbgrader_config.py", "nbgrader_config.json")


def course_files(folder: Path, sources: list[Path]) -> dict[Path, str]:
    """What the files of a course in `folder` should contain.

    Raises:
        BuildError: if a source is no notebook, or its exercises are marked wrongly.
    """
    files = {folder / name: (HERE / name).read_text(encoding="utf-8") for name in CONFIGS}
    for path in sources:
        notebook = read_source(path)
        student_version(notebook, name=path.name)  # raises where nbgrader would stumble
        name = path.stem
        files[folder / "source" / name / f"{name}.ipynb"] = render(notebook)
    return files


def boundary() -> str:
    """What keeps the code of submissions from this machine, in one line."""
    try:
        return str(find())
    except BoundaryError as error:
        return f"THERE IS NONE, and no submission can be graded. {error}"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the course; made when it is missing")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NN", help="numbers or names")
    parser.add_argument("--overwrite", action="store_true", help="replace what was edited")
    parser.add_argument("--root", type=Path, default=HERE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    sources = [
        path
        for path in sorted((options.root / "source").glob("*.py"))
        if path.stem.startswith(tuple(options.only))
    ]
    if not sources:
        print(f"no notebook source begins with {' or '.join(options.only)}", file=sys.stderr)
        return 1
    try:
        files = course_files(options.folder, sources)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1

    kept = 0
    for path, text in files.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if path.exists() and not options.overwrite:
            print(f"{path}: kept, it differs (--overwrite replaces it)", file=sys.stderr)
            kept += 1
            continue
        write_file(path, text)
        print(f"wrote {path}")
    print(f"Boundary: {boundary()}")
    print(f"Next: cd {options.folder} && nbgrader generate_assignment {sources[0].stem}")
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes the student and the solution version of every notebook from its source.

    python notebooks/build.py            writes what changed
    python notebooks/build.py --check    writes nothing; exits 1 and names what is out of date
    python notebooks/build.py --address git+https://…    with it in the setup cells, to hand out

`course.py` makes a graded course from the same sources.

What a source is, and what becomes of it: `ppo_course.sources`.
"""

import argparse
import sys
from pathlib import Path

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.files import write_file
from ppo_course.address import with_address
from ppo_course.sources import (
    BuildError,
    read_source,
    references,
    render,
    solution_version,
    student_version,
)


def generate(root: Path, address: str = "") -> dict[Path, str]:
    """What every generated file under `root` should contain, with an address to install from."""
    files, sources = {}, []
    for path in sorted((root / "source").glob("*.py")):
        source = read_source(path)
        sources.append(source)
        filename = f"{path.stem}.ipynb"
        files[root / "solution" / filename] = render(solution_version(source))
        files[root / "student" / filename] = render(student_version(source, name=path.name))
    files = {path: with_address(text, address) for path, text in files.items()}
    package = root.parent / "src" / "ppo_course"
    if package.is_dir():
        files[package / "references.json"] = references(sources)
    return files


def stale(files: dict[Path, str]) -> list[Path]:
    """The files that are missing or contain something else."""
    return [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_bytes() != text.encode()
    ]


def orphans(root: Path, files: dict[Path, str]) -> list[Path]:
    """The notebooks in the generated folders that no source stands behind."""
    found = [*(root / "solution").glob("*.ipynb"), *(root / "student").glob("*.ipynb")]
    return sorted(path for path in found if path not in files)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 and name what is out of date"
    )
    parser.add_argument(
        "--address",
        default="",
        metavar="ADDRESS",
        help="what the setup cells install the package from: git+https://…, or that of a wheel",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(__file__).parent,
        metavar="FOLDER",
        help="the folder that holds source/, student/ and solution/ (default: this script's)",
    )
    options = parser.parse_args(arguments)
    root: Path = options.root

    try:
        files = generate(root, options.address)
    except (BuildError, UserError) as error:
        print(error, file=sys.stderr)
        return 1

    if not files:
        print(f"no notebook sources in {root / 'source'}")
    outdated = stale(files)
    for path in outdated:
        if options.check:
            print(f"{path}: out of date; run `make notebooks`", file=sys.stderr)
        else:
            write_file(path, files[path])
            print(f"wrote {path}")
    # Not deleted here: it might be a student's work saved under a new name.
    lost = orphans(root, files)
    for path in lost:
        print(f"{path}: no source; delete it, or move it elsewhere", file=sys.stderr)

    return 1 if lost or (options.check and outdated) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes an nbgrader course from the notebooks' sources, as `ppo-bbrl course --graded` does.

    python notebooks/course.py FOLDER            a new course, or the newer sources for an old one
    python notebooks/course.py FOLDER --only 03  some of the notebooks

A file that is there already and says something else is left as it is, and named: it may be the
teacher's own. With `--overwrite` it is replaced.
"""

import argparse
import sys
from pathlib import Path

from ppo_bbrl.errors import UserError
from ppo_course.course import write_course


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the course; made when it is missing")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="numbers or names")
    parser.add_argument("--overwrite", action="store_true", help="replace what was edited")
    parser.add_argument("--address", default="", help="what the setup cells install from")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        kept = write_course(
            options.folder,
            graded=True,
            only=options.only,
            overwrite=options.overwrite,
            address=options.address,
            root=options.root,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())

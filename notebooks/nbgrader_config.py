"""The configuration of the course, read by every nbgrader command in this folder.

docs/teaching.md of ppo-bbrl tells how to run the course. ppo-bbrl needs to be installed here, with
the extra `course`.
"""

import os
import sys
from pathlib import Path

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    GetGrades,
    IgnorePattern,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

try:
    from ppo_course.grading.collecting import before_autograde
    from ppo_course.grading.pages import FeedbackExporter
    from ppo_course.grading.preprocessors import GradeApart, HideTests, RestoreCells
    from ppo_course.grading.reading import SafeExporter
except Exception as error:
    # nbgrader would go on with steps of its own, and run what students wrote as it is.
    if "autograde" in sys.argv:
        sys.exit(
            f"nothing was graded: ppo-bbrl is not installed here, or not as it should: {error}"
        )
    raise

c = get_config()  # noqa: F821 - nbgrader provides it

# nbgrader starts `alembic`, which lies beside it, where no virtual environment is active too.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))

c.CourseDirectory.course_id = "ppo"

# What a student finds where the solution was.
c.ClearSolutions.code_stub = {"python": "assert False, 'Not implemented yet'"}
c.ClearSolutions.text_stub = "What I tried, what I saw, and what I conclude:"

# Files under another name, in a folder too deep, in an encoding of Windows: nbgrader looks for one
# place alone.
before_autograde(Path(__file__).parent, *sys.argv)

# `nbgrader zip_collect` on what Moodle gives as "Download all submissions", in folders or not. The
# number is Moodle's for the participant. Modules that are handed in come along.
c.FileNameCollectorPlugin.named_regexp = (
    r".*/(?P<first_name>[^/]+?)(?: (?P<last_name>[^/]+))?_(?P<student_id>\d+)_assignsubmission_file"
    r"(?:_?/|_)(?P<file_id>.+)$"
)
c.FileNameCollectorPlugin.valid_ext = [".ipynb", ".py"]

# As nbgrader has it, with RestoreCells in the place of ClearOutput and DeduplicateIds: what one
# marks by hand stays, and a cell that a student copied does not end the grading of everybody.
c.Autograde.sanitize_preprocessors = [
    RestoreCells,
    OverwriteKernelspec,
    OverwriteCells,
    CheckCellMetadata,
]

# Nothing is graded where GradeApart is not among the steps, or where there is no boundary for it.
# nbgrader_config.json says this too, for when this file cannot be loaded. The reader of submissions
# follows no links, and takes none that is too large.
c.Autograde.exporter_class = SafeExporter

# As nbgrader has it, with GradeApart in the place of Execute: each graded cell runs in a process of
# its own, with nothing of the student's notebook but what it needs.
c.Autograde.autograde_preprocessors = [
    GradeApart,
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]

# As nbgrader has it, and without the hidden tests: who hands in again would know their numbers.
c.GenerateFeedback.preprocessors = [GetGrades, HideTests, CSSHTMLHeaderPreprocessor]

# Nothing that students wrote runs in the browser of who looks at it.
c.HTMLExporter.filters = {"markdown2html": "ppo_course.grading.pages.markdown2html"}
c.GenerateFeedback.exporter_class = FeedbackExporter

# For one graded cell with the student's code that it needs.
# Seconds of processor time; by the clock, three times as many and 15, and those besides in which a
# busy machine kept it waiting.
c.GradeApart.seconds = 20.0
c.GradeApart.memory = 2048  # MiB
# "none" is for who runs all of nbgrader in a container or machine that is thrown away.
c.GradeApart.boundary = "auto"

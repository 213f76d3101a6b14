"""What a teacher hands out installs the package by itself: `PPO_BBRL=<address>`."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest

from ppo_bbrl.errors import UserError
from ppo_course.address import EMPTY, with_address
from ppo_course.course import write_course

ROOT = Path(__file__).parents[3]
GIT = "git+https://example.org/course.git@v1"
WHEEL = "https://example.org/ppo_bbrl-0.1.0-py3-none-any.whl#sha256=00ff"
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"


def setup_cell(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize("address", [GIT, WHEEL, "file:///tmp/a%20b/ppo_bbrl-1.whl"])
@pytest.mark.parametrize("graded", [False, True])
def test_the_setup_cell_of_a_course_has_the_address(address, graded, tmp_path):
    assert write_course(tmp_path, graded=graded, only=["09"], address=address) == 0
    (path,) = tmp_path.rglob("*.ipynb")
    nbformat.validate(nbformat.read(path, as_version=4))
    assert f'\nPPO_BBRL = "{address}"\n' in setup_cell(path)


@pytest.mark.slow  # builds all notebooks twice
def test_the_build_writes_the_address_and_a_plain_one_takes_it_out(tmp_path):
    source = tmp_path / "source" / "00_start_here.py"
    source.parent.mkdir()
    source.write_bytes((ROOT / "notebooks" / "source" / source.name).read_bytes())

    def build(*options: str) -> int:
        command = [sys.executable, ROOT / "notebooks" / "build.py", "--root", tmp_path, *options]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert build("--address", GIT) == 0
    for version in ("student", "solution"):
        assert GIT in setup_cell(tmp_path / version / "00_start_here.ipynb")
    assert build("--check") == 1
    assert build() == 0
    assert build("--check") == 0
    assert EMPTY in setup_cell(tmp_path / "student" / "00_start_here.ipynb")


@pytest.mark.parametrize(
    "address",
    [
        "../dist/ppo_bbrl-0.1.0-py3-none-any.whl",  # pip needs file://
        "https://example.org/ppo-bbrl",  # a page
        "ppo-bbrl",
        'git+https://example.org/"; import os; "',
        "git+https://example.org/a b",
        "git+https://example.org/\\",
        "git+https://example.org/a\n",
        " ",
    ],
)
def test_what_is_no_address_is_one_line_before_any_file(address, tmp_path):
    with pytest.raises(UserError, match="PPO_BBRL") as caught:
        write_course(tmp_path / "course", only=["00"], address=address)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "course").exists()


def test_a_notebook_without_the_line_is_told():
    with pytest.raises(UserError, match="no line"):
        with_address(json.dumps({"cells": []}), GIT)


def test_make_hands_the_address_on():
    for target in (["notebooks"], ["course", "DIR=x"]):
        for given, there in ((["PPO_BBRL=" + GIT], True), ([], False)):
            command = ["make", "--dry-run", "--always-make", *target, *given]
            told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            assert (f"--address '{GIT}'" in told.stdout) == there, (target, given)


@pytest.mark.slow
def test_a_handed_out_notebook_installs_a_wheel_where_the_package_is_missing(tmp_path):
    """In a virtual environment that has what the package needs, and not the package."""
    copied = tmp_path / "copied"
    command = ["git", "checkout-index", "--all", f"--prefix={copied}/"]
    subprocess.run(command, cwd=ROOT, check=True)
    (copied / "dist").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=copied, check=True, capture_output=True)
    (wheel,) = (copied / "dist").glob("*.whl")
    write_course(tmp_path / "course", only=["01"], address=wheel.as_uri())
    cell = setup_cell(tmp_path / "course" / "01_workspace.ipynb")

    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"

    def run(code: str) -> str:
        command = [python, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    folder = run("import sysconfig; print(sysconfig.get_path('purelib'))")
    here = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    others = tmp_path / "others"
    others.mkdir()
    for path in here.iterdir():  # pip would be content with the package's own metadata
        if not path.name.startswith(("ppo_bbrl", "__editable__")) and path.suffix != ".pth":
            (others / path.name).symlink_to(path)
    (Path(folder) / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    assert run("from importlib.util import find_spec; print(find_spec('ppo_bbrl'))") == "None"
    assert run(f"{cell}\nimport ppo_bbrl; print(ppo_bbrl.__file__)").startswith(folder)
    # Once more: it is there now.
    assert run(f"import socket; socket.socket = None\n{cell}\nimport ppo_course") == ""

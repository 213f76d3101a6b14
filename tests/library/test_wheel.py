"""The wheel has what a user without a checkout needs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of what the wheel installs; built from a copy, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("src", "configs", "notebooks"):
        skip = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "dist").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.slow
def test_the_wheel_trains_by_name_and_makes_the_course(installed):
    def call(*words):
        command = [sys.executable, "-m", "ppo_bbrl", *words]
        environment = os.environ | {"PYTHONPATH": str(installed)}
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    short = ["algorithm.max_epochs=2", "algorithm.eval_interval=300", "algorithm.nb_evals=2"]
    call("train", "cartpole", *short)
    assert list(Path("outputs").rglob("best.mp4"))
    call("init")
    assert len(list(Path("configs").iterdir())) == len(list((ROOT / "configs").glob("*.yaml")))
    call("course", "mine")
    call("course", "graded", "--graded", "--only", "01")
    notebooks = {path.name for path in (ROOT / "notebooks" / "student").iterdir()}
    assert {path.name for path in Path("mine").iterdir()} == notebooks

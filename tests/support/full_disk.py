"""Runs on disks that are too small or become full, in a mount namespace of its own.

Started as `unshare -rm python full_disk.py CASE …`; prints what came of each case as JSON.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ppo_bbrl import PPOClip, run
from ppo_bbrl.cli.commands import main
from ppo_bbrl.runs.best_policy import load_policy
from ppo_bbrl.runs.checkpoints import Checkpoints

WORDS = [
    "gym_env.env_name=CartPole-v1", "algorithm.max_epochs=6", "algorithm.n_steps=16",
    "algorithm.n_envs=2", "algorithm.eval_interval=32", "algorithm.nb_evals=2",
    "algorithm.opt_epochs=2", "algorithm.max_eval_steps=20", "save_every=1", "base_dir=run",
]  # fmt: skip
RUN = Path("outputs/run")


def call(*words: Any) -> tuple[int, str, list[str]]:
    """Exit status, output and lines of errors of `ppo-bbrl WORDS`."""
    sys.argv = ["ppo-bbrl", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue().splitlines()
    return 0, out.getvalue(), err.getvalue().splitlines()


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Any:
    """A disk of this size in place of a folder."""
    folder.mkdir(parents=True)
    size = f"size={kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    path = folder / "rubbish"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))
    return path


def whole() -> dict[str, Any]:
    """Which files are there, and what those that must be whole hold; raises if one is not."""
    policies = {name: load_policy(RUN / name).steps for name in ("best", "last")
                if (RUN / name / "policy.pt").exists()}  # fmt: skip
    found = [*(RUN / "checkpoints").glob("iteration-*.pt")]
    checkpoint = Checkpoints(RUN).newest().iterations if found else 0
    files = [path.name for path in Path("outputs").rglob("*") if path.is_file()]
    empty = [path.name for path in RUN.rglob("*.*") if path.is_file() and not path.stat().st_size]
    return {"policies": policies, "checkpoint": checkpoint, "files": files, "empty": empty}


def too_small(kilobytes: int) -> dict[str, Any]:
    """`ppo-bbrl train` from start to end on a disk that is too small."""
    with small_disk(Path("outputs"), kilobytes):
        status, out, err = call("train", *WORDS)
        return {"status": status, "out": out, "err": err, **whole()}


def log_alone() -> dict[str, Any]:
    """Only the disk of TensorBoard's events is full."""
    with small_disk(Path("events"), 8):
        fill(Path("events"))
        status, out, err = call("train", *WORDS, "logger.log_dir=events")
        return {"status": status, "out": out, "err": err, **whole()}


def full_after(rollouts: int) -> dict[str, Any]:
    """The disk fills up in the run; later there is room, and the run goes on."""
    from ppo_bbrl.config import load_config

    def weights(algo: Any) -> list[float]:
        return [float(one.double().sum()) for one in algo.train_policy.state_dict().values()]

    algo = PPOClip(load_config({}, WORDS))
    run(algo)
    algo.close()
    expected = weights(algo)
    shutil.rmtree("outputs")
    with small_disk(Path("outputs"), 4096):
        algo = PPOClip(load_config({}, WORDS))
        update, rubbish = algo.losses, []

        def losses(*args: Any) -> Any:
            if algo.epoch == rollouts and not rubbish:
                rubbish.append(fill(Path("outputs")))
            return update(*args)

        vars(algo)["losses"] = losses
        run(algo)
        algo.close()
        told = {"through": weights(algo) == expected, **whole()}
        rubbish[0].unlink()
        again = PPOClip.resume(RUN)
        first = again.next_iteration
        run(again)
        again.close()
        rows = (RUN / "metrics.csv").read_text().count("\n")
        return told | {"from": first, "resumed": weights(again) == expected, "rows": rows}


CASES = {"small": too_small, "log": log_alone, "after": full_after}

if __name__ == "__main__":
    torch.set_num_threads(1)
    came = {}
    for case in sys.argv[1:]:
        name, _, number = case.partition(":")
        one: Any = CASES[name]
        came[case] = one(int(number)) if number else one()
        shutil.rmtree("outputs", ignore_errors=True)
        shutil.rmtree("events", ignore_errors=True)
    print(json.dumps(came))

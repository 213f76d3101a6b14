"""Files that were cut, changed or zeroed are never loaded as something else; old ones still are."""

import os
import random
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from killing import settings, train

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.config.loading import load_saved_config
from ppo_bbrl.errors import UserError
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.runs.archives import read_archive
from ppo_bbrl.runs.best_policy import load_policy
from ppo_bbrl.runs.checkpoints import Checkpoints
from ppo_bbrl.system import seals
from ppo_bbrl.system.seals import DamagedError

OLD = Path(__file__).parents[1] / "support" / "runs_of_0_1"
RUN = Path("outputs/killed")


def damages(content):
    """Cut at 100 offsets, 300 bytes changed, 100 blocks zeroed."""
    chance = random.Random(0)
    for length in range(0, len(content), max(1, len(content) // 100)):
        yield content[:length]
    for _ in range(300):
        place = chance.randrange(len(content))
        yield (
            content[:place]
            + bytes([content[place] ^ chance.randrange(1, 256)])
            + content[place + 1 :]
        )
    for _ in range(100):
        place = chance.randrange(len(content) - 64)
        yield content[:place] + bytes(64) + content[place + 64 :]
    yield content + b"\0"  # longer


@cache
def files_of_a_run():
    train(settings("CartPole-v1", "killed", architecture={"actor_hidden_size": [4]}))
    return {path.relative_to(RUN): path.read_bytes() for path in RUN.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def a_run():
    for path, content in files_of_a_run().items():
        (RUN / path).parent.mkdir(parents=True, exist_ok=True)
        (RUN / path).write_bytes(content)


@pytest.mark.parametrize("name", ["best/policy.pt", "last/policy.pt"])
def test_a_damaged_policy_is_refused(name):
    path = RUN / name
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="a damaged file"):
            load_policy(path.parent)


def test_a_damaged_policy_of_version_0_1_is_refused_or_unchanged():
    """The checksums of its zip file cover weights and numbers."""
    shutil.copytree(OLD / "cartpole", "old")
    whole = load_policy("old/best")
    path = Path("old/best/policy.pt")
    refused = 0
    for damaged in list(damages(path.read_bytes()))[::4]:
        path.write_bytes(damaged)
        try:
            loaded = load_policy("old/best")
        except UserError:
            refused += 1
        else:
            assert (loaded.reward, loaded.steps) == (whole.reward, whole.steps)
            assert all(map(torch.equal, loaded.state.values(), whole.state.values()))
    assert refused > 100


@pytest.mark.parametrize("name", ["config.yaml", "best/config.yaml"])
def test_a_damaged_configuration_is_refused_or_unchanged(name):
    path = RUN / name
    whole, refused = load_saved_config(path), 0
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            assert load_saved_config(path) == whole
        except UserError:
            refused += 1
    assert refused > 480


def test_whatever_is_damaged_the_run_goes_on_from_the_checkpoint_before():
    """`config.yaml` is not needed, and written anew; so are the policies."""
    before, newest = sorted((RUN / "checkpoints").glob("*.pt"))
    content = newest.read_bytes()
    for damaged in damages(content):
        newest.write_bytes(damaged)
        with pytest.raises(DamagedError):
            read_archive(newest)
    for damaged in list(damages(content))[::50]:
        newest.write_bytes(damaged)
        with pytest.warns(UserWarning, match=f"{newest.name}: a damaged checkpoint"):
            assert Checkpoints(RUN).newest().path == before
    for name in ("config.yaml", "best/config.yaml", "best/policy.pt", "last/policy.pt"):
        (RUN / name).write_bytes(b"\0")
    with pytest.warns(UserWarning, match=f"{newest.name}: a damaged checkpoint"):
        algo = PPOClip.resume(RUN)
    ppo_bbrl.run(algo)
    algo.close()
    for name in ("config.yaml", "best/config.yaml"):
        assert load_saved_config(RUN / name) == algo.cfg
    for which in ("best", "last"):
        assert load_policy(RUN / which).steps > 0


def going_on():
    algo = PPOClip.resume(RUN, ["algorithm.max_epochs=8"])
    run(algo)
    algo.close()
    return algo


@pytest.mark.parametrize("content", [b"steps,\xff\n1,2\n", b"\0" * 99 + b"\n", b'"' * 200_000])
def test_a_damaged_table_is_put_aside_and_the_run_goes_on(content):
    """A log that fails never ends a run; what can still be read in it is not lost."""
    (RUN / "metrics.csv").write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"metrics.csv.*metrics\.damaged\.csv|rows are lost"):
        algo = going_on()
    assert algo.epoch == 7
    assert read_metrics(RUN)["steps"].is_monotonic_increasing
    kept = RUN / "metrics.damaged.csv"
    assert kept.read_bytes() == content if kept.exists() else content.startswith(b'"')


def test_a_pipe_in_the_place_of_the_table_does_not_hold_the_run_up():
    (RUN / "metrics.csv").unlink()
    os.mkfifo(RUN / "metrics.csv")
    with pytest.warns(RuntimeWarning, match="not a regular file"):
        algo = going_on()
    assert algo.epoch == 7


def test_a_change_on_purpose():
    """Whoever deletes the first line takes the seal off."""
    path = RUN / "config.yaml"
    seal, _, text = path.read_text().partition("\n")
    assert re.fullmatch(r"# ppo-bbrl format 2 sha256 [0-9a-f]{64}", seal)
    path.write_text(f"{seal}\n{text.replace('seed: 3', 'seed: 4')}")
    with pytest.raises(UserError, match=r"changed since it was written .*delete its first line"):
        load_saved_config(path)
    path.write_text(text.replace("seed: 3", "seed: 4"))
    assert load_saved_config(path).algorithm.seed == 4


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_a_run_of_version_0_1(name):
    """It can be used and drawn; it has no checkpoint to go on from."""
    for which in ("best", "last"):
        policy = ppo_bbrl.load(OLD / name, which=which)
        action = policy.predict(policy.observation_space.sample())
        assert policy.action_space.contains(action)
        assert policy.saved.steps > 0
    assert len(read_metrics(OLD / name)) > 0
    assert load_saved_config(OLD / name / "config.yaml").save_every == 100  # today's default
    with pytest.raises(UserError, match="no checkpoint to go on from"):
        PPOClip.resume(OLD / name)


def test_a_folder_of_seeds_is_none_of_a_run():
    Path("many/seed_3/checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"several seeds.*many/seed_3"):
        PPOClip.resume("many")


def test_the_files_of_a_newer_version(monkeypatch):
    """They are refused by the number of their format, and not as damaged."""
    monkeypatch.setattr(seals, "FORMAT", 1)
    newer = "it has format 2, and this version reads 1 to 1: a newer ppo-bbrl has written it"
    for read in (
        lambda: load_policy(RUN / "best"),
        lambda: load_saved_config(RUN / "config.yaml"),
        lambda: PPOClip.resume(RUN),
    ):
        with pytest.raises(UserError, match=newer):
            read()

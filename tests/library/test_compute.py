"""What a run computes with: threads, compiler, device; and that a run keeps what was chosen."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from omegaconf import OmegaConf
from probe_envs import config

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.system import compute
from ppo_bbrl.system.compute import (
    available_cores,
    check_rollout,
    choose_compile,
    choose_device,
    choose_threads,
    compiler,
    core_numbers,
    threads,
)

ENOUGH = 10**9  # optimiser steps that repay any compilation


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


# --------------------------------------------------------------------- more than there is


@pytest.mark.parametrize(
    "override",
    [
        "compute.threads=1000000",
        "algorithm.n_steps=1000000",  # × n_envs
        "algorithm.architecture.actor_hidden_size=[65536, 65536, 65536, 65536, 65536, 65536]",
        "algorithm.architecture.critic_hidden_size=[65536, 65536, 65536, 65536, 65536, 65536]",
    ],
)
def test_what_would_take_the_machine_down_is_refused(override, monkeypatch):
    """Before an environment is made: the process would be killed, and others with it."""
    monkeypatch.setattr("ppo_bbrl.episodic.EnvAgent", lambda *_, **__: pytest.fail("too late"))
    cfg = load_config(config("Chance"), ["algorithm.n_envs=100000", override])
    if "n_steps" not in override:
        cfg.algorithm.n_envs = 1
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        PPOClip(cfg)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not say its memory")
def test_the_size_of_observations_counts():
    settings = load_config(config("Chance")).algorithm
    small = Box(0, 1, (8,), np.uint8)
    large = SimpleNamespace(shape=(10**6, 10**7), dtype=small.dtype)  # a Box would need as much
    check_rollout(settings)
    check_rollout(settings, small)
    with pytest.raises(ConfigError, match="GB"):
        check_rollout(settings, large)


# -------------------------------------------------------------------------------- pure functions


@pytest.mark.parametrize(
    ("batch_size", "width", "cores", "expected"),
    [
        (1, 1, 16, 1),  # never none
        (256, 64, 2, 1),  # the course notebook's: a second thread costs more than it brings
        (1024, 64, 2, 1),
        (4096, 64, 2, 2),
        (4096, 64, 1, 1),
        (256, 1024, 2, 2),
        (65536, 1024, 4, 4),
    ],
)
def test_threads_follow_from_sizes(batch_size, width, cores, expected):
    assert choose_threads(batch_size=batch_size, width=width, cores=cores) == expected


def test_more_work_never_gets_fewer_threads():
    chosen = [choose_threads(batch_size=2**i, width=64, cores=8) for i in range(20)]
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(1, 9))


def test_a_core_is_available():
    assert available_cores() >= 1


def test_processes_of_torchrun_share_the_cores(monkeypatch):
    """Else each would take threads and workers for all of them."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        shares.append(core_numbers())
    assert shares == [[0, 2, 4], [1, 3]]
    assert available_cores() == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert core_numbers() == [3]


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with threads(before):
            assert torch.get_num_threads() == before
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_threads_are_given_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_nothing_is_compiled():
    assert compiler() is None
    chosen, why = choose_compile(ENOUGH)
    assert not chosen
    assert "no C++ compiler" in why


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ["g++", "clang++", "own-compiler"])
def test_a_compiler_on_the_path_is_found(name, monkeypatch, tmp_path):
    if name == "own-compiler":
        monkeypatch.setenv("CXX", name)
    program = tmp_path / name
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    assert compiler() == str(program)
    assert choose_compile(ENOUGH)[0]


def test_a_short_run_is_not_compiled(monkeypatch):
    monkeypatch.setattr(compute, "compiler", lambda: "g++")
    assert not choose_compile(100)[0]
    assert "100 optimiser steps" in choose_compile(100)[1]
    assert choose_compile(ENOUGH)[0]
    assert "\n" not in choose_compile(ENOUGH)[1]


def test_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"compute\.device = 'cuda'"):
        choose_device("cuda")


# -------------------------------------------------------------------------------- in a run


def trained(source):
    """A run of a configuration, ended."""
    algo = PPOClip(load_config(source))
    run(algo)
    algo.close()
    return algo


def weights(algo):
    return [p.detach() for a in (algo.train_policy, algo.critic_agent) for p in a.parameters()]


def test_a_run_says_why_it_is_not_compiled(capsys):
    trained(config("Chance"))
    told = [line for line in capsys.readouterr().out.splitlines() if "not compiled" in line]
    (line,) = told
    assert "12 optimiser steps" in line
    assert "compute.compile" in line


@pytest.mark.usefixtures("no_compiler")
def test_a_run_without_a_compiler_says_so(monkeypatch, capsys):
    monkeypatch.setattr(compute, "_MINIBATCHES_TO_REPAY", 1)
    algo = trained(config("Chance"))
    told = [line for line in capsys.readouterr().out.splitlines() if "compil" in line]
    assert len(told) == 1
    assert "no C++ compiler" in told[0]
    assert algo.cfg.compute.compile == "never"


def test_a_run_that_was_told_not_to_compile_says_nothing(capsys):
    trained(config("Chance") | {"compute": {"compile": "never"}})
    assert "compil" not in capsys.readouterr().out


def test_threads_of_the_configuration_hold_in_the_loop_alone():
    before = torch.get_num_threads()
    algo = PPOClip(config("Chance") | {"compute": {"threads": before + 1}})
    seen = [torch.get_num_threads() for _ in algo.iter_partial_episodes(17)]
    algo.close()
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.wide(1)
@pytest.mark.parametrize("compiled", [False, True])
def test_what_auto_chose_is_kept_and_repeats_the_run(compiled, monkeypatch):
    """Bit for bit, also where auto would choose something else by then."""
    if compiled:
        # Traced, but not handed to the C++ compiler: what counts here is who chose.
        monkeypatch.setattr("ppo_bbrl.fast.compiled._backend", lambda _: {"backend": "eager"})
        monkeypatch.setattr(compute, "_MINIBATCHES_TO_REPAY", 1)
        monkeypatch.setattr(compute, "compiler", lambda: "g++")
    first = trained(config("Chance", eval_interval=100))
    kept = OmegaConf.load(first.folder.config)
    assert kept.compute.compile == ("always" if compiled else "never")
    assert isinstance(kept.compute.threads, int)
    assert kept.compute.device == "cpu"
    monkeypatch.setattr(compute, "_MINIBATCHES_TO_REPAY", ENOUGH if compiled else 1)
    again = trained(first.folder.config)
    assert again.base_dir != first.base_dir
    assert again.cfg.compute == first.cfg.compute
    assert again.best_reward == first.best_reward
    for one, other in zip(weights(first), weights(again), strict=True):
        assert torch.equal(one, other)

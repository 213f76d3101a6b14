"""Runs that are killed go on from their last checkpoint as if nothing had happened."""

import csv
import gc
import os
import random
import shutil
import signal
import time
from functools import cache, partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from killing import (
    assert_same,
    counted_calls,
    events,
    go_on,
    in_a_process,
    result,
    settings,
    train,
)
from probe_envs import Chance
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import DiscretePolicy, EpisodicAlgo, PPOClip, VAgent, run
from ppo_bbrl.agents.attributes import attributes_of
from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.errors import ConfigError, StateError, UserError
from ppo_bbrl.fast import compiled
from ppo_bbrl.runs import archives, resuming
from ppo_bbrl.runs.checkpoints import KEPT, Checkpoints
from ppo_bbrl.system import files

RUN = Path("outputs/killed")
COMPILER = compiled._backend
SMALL = {"actor_hidden_size": [8], "critic_hidden_size": [8]}
MEMORY = {"architecture": SMALL | {"memory": "gru", "memory_size": 8}}
#: the environment; whether the update is compiled; further settings of `algorithm` and `gym_env`
CASES = {
    "discrete": ("CartPole-v1", "never", {}, {}),
    "continuous": ("Pendulum-v1", "never", {}, {}),
    "recurrent": ("CartPole-v1", "never", MEMORY, {}),
    "discrete, compiled": ("CartPole-v1", "always", {}, {}),
}
#: the kinds of the slow tests
ALL = {
    **CASES,
    "recurrent, continuous": ("Pendulum-v1", "never", MEMORY, {}),
    "continuous, compiled": ("Pendulum-v1", "always", {}, {}),
    "recurrent, compiled": ("CartPole-v1", "always", MEMORY, {}),
    "normalised": (
        "Pendulum-v1", "never", {"normalize_observation": True, "normalize_reward": True}, {},
    ),
    "async": ("CartPole-v1", "never", {}, {"vectorization": "async"}),
    "MuJoCo": ("Hopper-v5", "never", {}, {}),
}  # fmt: skip


def settings_of(case, base_dir):
    env_name, compiling, algorithm, gym_env = ALL[case]
    made = settings(env_name, base_dir, compiling, **algorithm)
    made["gym_env"] |= gym_env
    return made


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """Traced in one piece, as it would be compiled; and time does not matter."""
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    monkeypatch.setattr(resuming, "_OLD", 1e9)


@cache
def of_whole(case="discrete"):
    """The result of a run that nobody interrupts."""
    return result(train(settings_of(case, "whole")))


@cache
def calls_of_whole(case):
    """How many calls of functions it makes after its first checkpoint."""
    with counted_calls() as calls:
        train(settings_of(case, "counted"))
    return calls[0]


def written(folder=RUN):
    return sorted(path.name for path in (folder / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_goes_on(case):
    """Three times at random moments, the second time while it goes on."""
    expected = of_whole(case)
    cfg, chance = settings_of(case, "killed"), random.Random(case)
    calls = calls_of_whole(case)
    assert in_a_process(lambda: train(cfg), chance.randrange(calls))
    assert written()
    for _ in range(2):
        in_a_process(lambda: go_on(RUN), chance.randrange(calls))
    assert_same(result(go_on(RUN)), expected)
    assert_same(result(go_on(RUN)), expected)  # of a run that is over, nothing changes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:MuJoCo. compiler attribute:UserWarning")
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("case", ALL)
def test_fifty_kills(case, number):
    """At random moments after the first checkpoint: 50 of 50 end as the run that was not killed."""
    if case == "MuJoCo":
        pytest.importorskip("mujoco", reason="mujoco is not installed: gymnasium[mujoco]")
    expected = of_whole(case)
    cfg, chance = settings_of(case, "killed"), random.Random(f"{case} {number}")
    assert in_a_process(lambda: train(cfg), chance.randrange(calls_of_whole(case)))
    assert_same(result(go_on(RUN)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["discrete, compiled", "continuous, compiled"])
def test_a_run_that_torch_s_compiler_has_compiled_is_killed(case, monkeypatch):
    """Each run in a process of its own: a fork of one that compiles takes its threads along."""
    monkeypatch.setattr(compiled, "_backend", COMPILER)
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    calls = Path("calls")

    def to_the_end(start, name):
        with counted_calls() as counted:
            algo = start()
        calls.write_text(str(counted[0]), encoding="utf-8")
        torch.save(result(algo), name)

    # The second one finds what the first has compiled, as those that are killed do.
    for name in ("first", "whole"):
        run_whole = partial(train, settings_of(case, name))
        assert not in_a_process(partial(to_the_end, run_whole, name))
    expected = torch.load("whole", weights_only=False)
    chance, n_calls = random.Random(case), int(calls.read_text(encoding="utf-8"))
    for number in range(3):
        shutil.rmtree(RUN, ignore_errors=True)
        shutil.rmtree("outputs/tblogs/killed", ignore_errors=True)
        moment = chance.randrange(n_calls * 9 // 10)  # the compiler makes more or fewer calls
        assert in_a_process(lambda: train(settings_of(case, "killed")), moment)
        name = f"killed{number}"
        assert not in_a_process(lambda name=name: to_the_end(lambda: go_on(RUN), name))
        assert_same(torch.load(name, weights_only=False), expected)


MOMENTS = ("_reach_the_disk", "replace", "unlink", "half")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("n", [1, 2])
def test_a_run_that_is_killed_while_it_writes_a_checkpoint(moment, n, monkeypatch):
    """Whatever is on the disk then: the checkpoint before it, or that one."""
    expected = of_whole()

    def killed(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def work():
        write, count = archives.write_file, 0

        def among(path, content, root=None):
            nonlocal count
            count += path.name.startswith("iteration-")
            if path.name.startswith("iteration-00000000") and count > n:
                if moment == "half":

                    def half(path, content):
                        with path.open("wb") as file:
                            file.write(content[: len(content) // 2])
                        killed()

                    monkeypatch.setattr(Path, "write_bytes", half)
                else:
                    owner = files if moment.startswith("_") else Path
                    monkeypatch.setattr(owner, moment, killed)
            write(path, content, root=root)

        monkeypatch.setattr(archives, "write_file", among)
        train(settings("CartPole-v1", "killed"))

    assert in_a_process(work)
    assert written()
    assert_same(result(go_on(RUN)), expected)
    assert len(written()) == KEPT
    assert not list((RUN / "checkpoints").glob(".*"))


def test_a_killed_run_has_rows_after_its_checkpoint_once():
    """Those in metrics.csv and those of TensorBoard are removed, and come again."""
    train(settings("CartPole-v1", "killed"))
    newest = Checkpoints(RUN).newest()
    newest.path.unlink()  # as if it had been killed in iteration 6
    assert newest.iterations == 6
    algo = PPOClip.resume(RUN)
    table = list(csv.reader((RUN / "metrics.csv").read_text().splitlines()))
    assert len(table) == 1 + 3  # the fourth one waits
    assert algo.next_iteration == 4
    run(algo)
    algo.close()
    assert_same(result(algo), of_whole())
    assert len(list(Path("outputs/tblogs/killed").iterdir())) == 2


def test_the_last_two_checkpoints_stay_and_the_damaged_one_is_left_out():
    whole = of_whole()
    train(settings("CartPole-v1", "killed"))
    assert written() == ["iteration-000000004.pt", "iteration-000000006.pt"]
    newest = RUN / "checkpoints" / "iteration-000000006.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="iteration-000000006.pt: a damaged checkpoint"):
        algo = go_on(RUN)
    assert_same(result(algo), whole)
    for path in (RUN / "checkpoints").glob("*.pt"):
        path.write_bytes(b"PK")
    told = pytest.warns(UserWarning, match="a damaged checkpoint")
    with told, pytest.raises(UserError, match="every checkpoint is damaged"):
        PPOClip.resume(RUN)


@pytest.mark.parametrize("save_every", [0, 1])
def test_save_every(save_every):
    cfg = settings("CartPole-v1", "killed") | {"save_every": save_every}
    train(cfg)
    assert written() == ["iteration-000000005.pt", "iteration-000000006.pt"] * save_every
    if not save_every:
        with pytest.raises(UserError, match=r"no checkpoint .* save_every"):
            PPOClip.resume(RUN)
    with pytest.raises(ConfigError, match="save_every = -1"):
        PPOClip(cfg | {"save_every": -1})


def test_long_iterations_have_a_checkpoint_each(monkeypatch):
    """Unless that took more than a hundredth of the time."""
    monkeypatch.setattr(resuming, "_OLD", 0.0)
    monkeypatch.setattr(resuming, "_SHARE", 1e9)
    train(settings("CartPole-v1", "killed") | {"save_every": 100})
    assert written() == ["iteration-000000005.pt", "iteration-000000006.pt"]
    shutil.rmtree("outputs")
    monkeypatch.setattr(resuming, "_SHARE", 1e-9)
    train(settings("CartPole-v1", "killed") | {"save_every": 100})
    assert written() == ["iteration-000000001.pt", "iteration-000000006.pt"]


def test_what_may_change_when_a_run_goes_on():
    """More rollouts, another learning rate; what cannot change is refused by name."""
    train(settings("CartPole-v1", "killed"))
    algo = PPOClip.resume(RUN, ["algorithm.max_epochs=8", "optimizer.lr=0.5"])
    run(algo)
    algo.close()
    assert algo.epoch == 7
    assert algo.policy_optimizer.param_groups[0]["lr"] == 0.5
    assert "max_epochs: 8" in (RUN / "config.yaml").read_text()
    for wrong in ("algorithm.seed=7", "algorithm.sed=7", "base_dir=other"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            PPOClip.resume(RUN, [wrong])
    assert_same(result(go_on(RUN)), result(algo))
    with pytest.raises(UserError, match="does not exist"):
        PPOClip.resume("outputs/none")


def test_a_run_that_was_moved_goes_on_where_it_is():
    train(settings("CartPole-v1", "task/killed"))
    Path("elsewhere").mkdir()
    shutil.move("outputs/task/killed", "elsewhere/moved")
    algo = PPOClip.resume("elsewhere/moved", ["algorithm.max_epochs=7"])
    run(algo)
    algo.close()
    assert algo.folder.path == Path("elsewhere/moved").absolute()
    assert algo.cfg.base_dir == "moved"
    assert list(Path("elsewhere/tblogs/moved").iterdir())
    assert len(events("outputs/tblogs/task/killed")) > 0


def test_another_process_trains_the_run():
    algo = PPOClip(settings("CartPole-v1", "killed"))
    run(algo)

    def work():
        with pytest.raises(UserError, match="another process trains this run"):
            PPOClip.resume(RUN)

    assert not in_a_process(work)
    algo.close()
    assert not in_a_process(lambda: PPOClip.resume(RUN).close())


class Unknown(Chance):
    """Has something whose state nobody can save."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rows = iter(())


gym.register("Unknown-v0", Unknown)


def test_environments_whose_state_cannot_be_saved_begin_anew():
    """With a warning that names them; everything else goes on."""
    train(settings("Unknown-v0", "killed") | {"gym_env": {"env_name": "Unknown-v0"}})
    kept = Checkpoints(RUN).newest()
    assert set(kept.fresh) == {"train_env", "eval_env"}
    with pytest.warns(UserWarning, match=r"train_env and eval_env begin .* Unknown-v0: .*rows"):
        algo = PPOClip.resume(RUN, ["algorithm.max_epochs=8"])
    assert algo.nb_steps > 0
    assert algo._workspace is None
    run(algo)
    algo.close()
    with pytest.warns(UserWarning, match="fresh episodes"):
        again = PPOClip.resume(RUN)
    assert torch.equal(
        again.policy_optimizer.state_dict()["state"][0]["exp_avg"],
        algo.policy_optimizer.state_dict()["state"][0]["exp_avg"],
    )
    again.close()


def test_other_agents_are_refused():
    train(settings("CartPole-v1", "killed"))
    other = PPOClip(settings("CartPole-v1", "other", architecture={"actor_hidden_size": [3]}))
    before = written(), (RUN / "metrics.csv").read_text()
    with pytest.raises(StateError, match="train_policy"):
        PPOClip.resume(RUN, train_policy=other.train_policy)
    assert (written(), (RUN / "metrics.csv").read_text()) == before
    other.close()


def test_an_algorithm_of_ones_own_may_have_checkpoints():
    """Without `save_every` it has none."""
    assert "save_every" in EpisodicAlgo({"gym_env": {"env_name": "CartPole-v1"}}).cfg


def test_a_signal_waits_for_the_end_of_the_iteration(monkeypatch):
    """What is saved goes on as if nothing had happened, in this program and in another one."""
    expected = of_whole()
    algo = PPOClip(settings("CartPole-v1", "killed") | {"save_every": 100})
    update, count = PPOClip.update, 0

    def interrupted(self, rollout):
        nonlocal count
        count += 1
        if count == 3:
            signal.raise_signal(signal.SIGINT)
        return update(self, rollout)

    monkeypatch.setattr(PPOClip, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(algo)
    assert algo.last_checkpoint.name == "iteration-000000003.pt"
    shutil.copytree(RUN, "outputs/copy")
    run(algo)  # the cell of a notebook once more
    algo.close()
    assert_same(result(algo), expected)
    assert result(go_on(Path("outputs/copy")))[1].equals(expected[1])


def test_a_second_signal_and_a_long_iteration_do_not_wait(monkeypatch):
    def twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    def endless(*_):
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("ppo_bbrl.episodic.GRACE", 0.1)
    for update in (twice, endless):
        monkeypatch.setattr(PPOClip, "update", update)
        algo = PPOClip(settings("CartPole-v1", "killed"))
        with pytest.raises(KeyboardInterrupt):
            run(algo)
        algo.close()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_loop_that_is_left_does_not_lose_the_signal():
    algo = PPOClip(settings("CartPole-v1", "killed"))

    def left():
        for _ in algo.iter_partial_episodes(4):
            signal.raise_signal(signal.SIGINT)
            break
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        left()
    algo.close()


class Bent(nn.Module):
    """Without weights, as activations are."""

    def forward(self, x):
        return x.abs()


@pytest.mark.wide(1)
@pytest.mark.parametrize("name", ["train_policy", "critic_agent"])
def test_agents_of_ones_own_are_to_be_given_again(name):
    """They may have the weights of those of the configuration, and act otherwise."""
    made = {"train_policy": (DiscretePolicy, 2), "critic_agent": (VAgent,)}
    kind, *sizes = made[name]

    def mine(activation):
        return {name: kind(4, [64, 64], *sizes, activation=activation)}

    algo = PPOClip(settings("CartPole-v1", "killed"), **mine(nn.Tanh()))
    run(algo)
    algo.close()
    with pytest.raises(StateError, match=rf"{name}: the run's was .*\.resume\(RUN, {name}="):
        PPOClip.resume(RUN)
    for other in (nn.ReLU(), Bent()):
        with pytest.raises(StateError, match=rf"{name}: model\.1 is Tanh\(\) in the state, but"):
            PPOClip.resume(RUN, **mine(other))
    PPOClip.resume(RUN, **mine(nn.Tanh())).close()


def test_another_setting_of_a_layer_is_told():
    def mine(slope):
        return {"train_policy": DiscretePolicy(4, [8], 2, activation=nn.LeakyReLU(slope))}

    algo = PPOClip(settings("CartPole-v1", "killed"), **mine(0.5))
    run(algo)
    algo.close()
    with pytest.warns(UserWarning, match=r"LeakyReLU\(negative_slope=0.5\) in the state"):
        PPOClip.resume(RUN, **mine(0.1)).close()


def test_algorithms_of_one_program_share_the_lock():
    """As when the cell of a notebook is run again; one that is gone does not take it along."""
    train(settings("CartPole-v1", "killed"))
    first, algo = (PPOClip.resume(RUN, ["algorithm.max_epochs=8"]) for _ in range(2))

    def work():
        with pytest.raises(UserError, match="another process trains this run"):
            PPOClip.resume(RUN)

    first.close()
    del first
    gc.collect()
    assert not in_a_process(work)
    run(algo)
    algo.close()
    assert not in_a_process(lambda: PPOClip.resume(RUN).close())


def test_two_algorithms_of_one_program_do_not_train_the_same_run():
    train(settings("CartPole-v1", "killed"))
    first, second = (PPOClip.resume(RUN, ["algorithm.max_epochs=9"]) for _ in range(2))
    for workspace in second.iter_partial_episodes():
        second.update(second.record(workspace))
        for again in (lambda: run(first), lambda: PPOClip.resume(RUN)):
            with pytest.raises(UserError, match="another algorithm of this program"):
                again()
        break
    with pytest.raises(UserError, match="resume the run again"):
        run(first)
    PPOClip.resume(RUN).close()
    for algo in (first, second):
        algo.close()


def test_a_layer_that_was_frozen_stays_frozen():
    """That it does not learn is no number, and went unsaid."""
    algo = PPOClip(settings("CartPole-v1", "killed"))
    algo.train_policy.model[0].requires_grad_(False)
    run(algo)
    algo.close()
    again = PPOClip.resume(RUN, ["algorithm.max_epochs=8"])
    before = [weight.clone() for weight in again.train_policy.parameters()]
    run(again)
    again.close()
    same = [
        torch.equal(*pair) for pair in zip(before, again.train_policy.parameters(), strict=True)
    ]
    assert same == [True, True, *[False] * (len(same) - 2)]


@pytest.mark.wide(1)
@pytest.mark.parametrize("flags", [None, {"stochastic": True}])
def test_evaluations_act_as_they_did_before(flags):
    """A policy that is evaluated with its noise is one that the program has chosen."""

    def evaluated(algo):
        policy = algo.train_policy
        algo.eval_policy = policy if flags is None else KWAgentWrapper(policy, **flags)
        return algo

    def made(name, max_epochs=6):
        cfg = settings("CartPole-v1", name)
        cfg["algorithm"] |= {"eval_interval": 0, "max_epochs": max_epochs}
        return cfg

    whole = evaluated(PPOClip(made("whole")))
    run(whole)
    first = evaluated(PPOClip(made("killed", 3)))
    run(first)
    first.close()
    second = PPOClip.resume(RUN, ["algorithm.max_epochs=6"])
    run(second)
    for one, other in zip(whole.eval_rewards, second.eval_rewards, strict=True):
        assert torch.equal(one, other)
    for algo in (whole, second):
        algo.close()


def test_an_evaluated_policy_that_no_file_contains_is_named():
    algo = PPOClip(settings("CartPole-v1", "killed"))
    run(algo)
    content = archives.read_archive(algo.last_checkpoint)
    algo.close()
    for evaluated in ({"agent": "mine.Greedy"}, {"flags": {"delete": True}}, {"flags": 3}):
        changed = content | {"own": content["own"] | {"evaluated": evaluated}}
        archives.write_archive(algo.last_checkpoint, changed, root=RUN.absolute())
        with pytest.warns(UserWarning, match=r"eval_policy: .* set it again, algo\.eval_policy = "):
            PPOClip.resume(RUN).close()


class Student(EpisodicAlgo):
    """REINFORCE on parts of episodes, with a key and an optimiser of its own."""

    def __init__(self, cfg):
        super().__init__(cfg, autoreset=True)
        self.train_policy = DiscretePolicy(4, [8], 2)
        self.eval_policy = KWAgentWrapper(self.train_policy, stochastic=False)
        self.optimizer = torch.optim.Adam(self.train_policy.parameters(), self.cfg.algorithm.rate)

    def state_parts(self):
        return super().state_parts() | {"optimizer": self.optimizer}

    def learn(self):
        for workspace in self.iter_partial_episodes():
            obs, action = (workspace.get_full(name) for name in ("env/env_obs", "action"))
            log_prob = self.train_policy.dist(obs).log_prob(action)
            self.optimizer.zero_grad()
            (-log_prob * workspace.get_full("env/reward")).mean().backward()
            self.optimizer.step()
            self.evaluate()
        self.close()
        return self


def test_an_algorithm_of_ones_own_goes_on_from_its_checkpoints():
    """Its configuration has keys of its own, and not those of PPO."""

    def made(name, max_epochs):
        algorithm = {"n_envs": 2, "n_steps": 8, "nb_evals": 2, "eval_interval": 20, "rate": 0.01}
        return {
            "base_dir": name,
            "save_every": 1,
            "gym_env": {"env_name": "CartPole-v1"},
            "algorithm": algorithm | {"max_epochs": max_epochs},
        }

    whole = Student(made("whole", 6)).learn()
    Student(made("killed", 3)).learn()
    with pytest.raises(ConfigError, match=r"algorithm\.seed = 5"):
        Student.resume(RUN, ["algorithm.seed=5"])
    again = Student.resume(RUN, ["algorithm.max_epochs=6"]).learn()
    assert again.epoch == 5
    assert_same_weights(whole, again)


def assert_same_weights(one, other):
    both = (algo.train_policy.parameters() for algo in (one, other))
    assert all(map(torch.equal, *both))


class Centred(DiscretePolicy):
    """Keeps a running mean where torch's state does not."""

    def __init__(self):
        super().__init__(4, [8], 2)
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def dist(self, obs):
        if torch.is_grad_enabled():
            self.mean = 0.9 * self.mean + 0.1 * obs.detach().reshape(-1, 4).mean(0)
        return super().dist(obs - self.mean)


def whole_and_half(make_policy):
    """A run of six iterations; `RUN` is the same one after three."""
    whole = PPOClip(settings("CartPole-v1", "whole"), train_policy=make_policy())
    run(whole)
    cfg = settings("CartPole-v1", "killed")
    cfg["algorithm"]["max_epochs"] = 3
    half = PPOClip(cfg, train_policy=make_policy())
    run(half)
    half.close()
    return whole


def test_buffers_that_torch_does_not_save_go_on():
    def mine():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Centred()

    whole = whole_and_half(mine)
    second = PPOClip.resume(RUN, ["algorithm.max_epochs=6"], train_policy=mine())
    run(second)
    assert_same_weights(whole, second)
    for algo in (whole, second):
        algo.close()


class Fading(DiscretePolicy):
    """Numbers that change while it learns, in no buffer."""

    def __init__(self, noise=1.0):
        super().__init__(4, [8], 2)
        self.noise, self.seen, self.shift = noise, {"steps": 0}, np.zeros(4)
        self.chance = np.random.default_rng(0)

    def dist(self, obs):
        if torch.is_grad_enabled():
            self.noise *= self.chance.uniform(0.98, 1)
            self.seen["steps"] += len(obs)
            self.shift = 0.9 * self.shift + 0.1 * obs.detach().reshape(-1, 4).mean(0).numpy()
        shift = torch.as_tensor(self.shift, dtype=obs.dtype)
        return Categorical(logits=self.model(obs - shift) * (1 + self.noise))


def fading(**how):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Fading(**how)


def test_what_an_agent_of_ones_own_counts_goes_on():
    """Torch's state knows weights and buffers alone."""
    whole = whole_and_half(fading)
    second = PPOClip.resume(RUN, ["algorithm.max_epochs=6"], train_policy=fading())
    assert second.train_policy.noise < 1
    assert isinstance(second.train_policy.shift, np.ndarray)
    run(second)
    assert second.train_policy.noise == whole.train_policy.noise
    assert second.train_policy.seen == whole.train_policy.seen
    assert_same_weights(whole, second)


def test_an_agent_that_begins_otherwise_or_counts_nothing_is_told():
    cfg = settings("CartPole-v1", "killed")
    cfg["algorithm"]["max_epochs"] = 2
    first = PPOClip(cfg, train_policy=fading())
    run(first)
    first.close()
    told = r"_policy: its attribute noise began the run with 1\.0, and here with 0\.5"
    with pytest.warns(UserWarning, match=told) as warned:
        PPOClip.resume(RUN, train_policy=fading(noise=0.5)).close()
    assert str(warned[0].message).startswith("train_policy")
    other = fading()
    other.seen = object()
    other.dist = DiscretePolicy.dist.__get__(other)
    with pytest.raises(StateError, match=r"train_policy: its attribute seen changed in the run"):
        PPOClip.resume(RUN, train_policy=other)


def test_plain_attributes_are_those_that_are_none_of_every_agent():
    policy = fading()
    policy.register_buffer("mean", torch.zeros(4))
    policy.inner = nn.Module()
    found = attributes_of(policy)
    assert {*found} == {"noise", "seen", "shift", "chance", "n_actions"}


def test_a_state_brings_back_what_had_not_changed_in_it():
    """Into an algorithm that has learned meanwhile."""
    fresh, learned = (
        PPOClip(settings("CartPole-v1", name), train_policy=fading())
        for name in ("whole", "killed")
    )
    loop = learned.iter_partial_episodes(9)
    for _ in range(2):
        learned.update(learned.record(next(loop)))
    loop.close()
    assert learned.train_policy.noise < 1
    learned.load_state_dict(fresh.state_dict())
    assert learned.train_policy.noise == learned.old_policy.noise == 1
    assert not learned.train_policy.shift.any()
    assert_same_weights(fresh, learned)

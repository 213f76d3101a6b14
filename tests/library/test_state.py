"""State: a run that takes over the state of another one goes on as if it were that one."""

import copy
import enum
import pickle
import random
import re
from collections import deque
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from probe_envs import Chance, config
from states_testing import assert_same_rows, same, stepped, through_a_file
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import DiscretePolicy, EpisodicAlgo, PPOClip, run, shared_agents
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.plain_data import Reader, Writer
from ppo_bbrl.errors import StateError
from ppo_bbrl.fast import compiled
from ppo_bbrl.fast.compiled import CompiledUpdate
from ppo_bbrl.plots import read_metrics

EPOCHS = 4


class Keeping(PPOClip):
    """Keeps its state after each iteration."""

    def evaluate(self, force=False):
        best = super().evaluate(force)
        vars(self).setdefault("states", []).append(self.state_dict())
        return best


def cfg(
    env_name="Chance",
    compiling="never",
    optimizer=None,
    wrappers=(),
    base_dir="run",
    **algorithm,
):
    algorithm = {"max_epochs": EPOCHS, "eval_interval": 100} | algorithm
    made = config(env_name, **algorithm)
    made["gym_env"]["wrappers"] = list(wrappers)
    made["optimizer"] |= optimizer or {}
    made["base_dir"] = base_dir
    made["compute"] = {"compile": compiling, "threads": 1}
    return made


def result(algo):
    """Weights, metrics and counters after a run."""
    algo.close()
    table = read_metrics(algo.base_dir).drop(columns="steps_per_second").dropna(axis=1, how="all")
    agents = (algo.train_policy, algo.critic_agent, algo.best_policy)
    weights = [tensor.clone() for agent in agents for tensor in agent.state_dict().values()]
    counts = algo.nb_steps, algo.epoch, algo.best_reward, algo.running_reward
    return weights, table, counts, algo.eval_rewards


def assert_goes_on(expected, algo):
    """The rest of a run is the end of the whole one, to the last bit."""
    run(algo)
    weights, table, counts, rewards = expected
    got = result(algo)
    assert all(map(torch.equal, got[0], weights))
    assert all(map(torch.equal, got[3], rewards))
    assert len(got[3]) == len(rewards)
    assert got[2] == counts
    rest = table.tail(len(got[1])).reset_index(drop=True)
    assert got[1].equals(rest[list(got[1])])


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2))
        self.heads = nn.ModuleList((nn.Linear(8, 2), nn.Linear(8, 1)))

    def forward(self, x):
        latent = self.trunk(x).tanh()
        return Categorical(logits=self.heads[0](latent)), self.heads[1](latent).squeeze(-1)


def trunk():
    """Two heads of one network that draws and has statistics."""
    torch.manual_seed(0)
    return dict(zip(("train_policy", "critic_agent"), shared_agents(Trunk()), strict=True))


SCHEDULES = {"learning_rate_schedule": "linear", "clip_range_schedule": "linear"}
CASES = {
    "CartPole, vectorised": (cfg("CartPole-v1"), dict),
    "Pendulum, sync": (cfg("Pendulum-v1", eval_interval=60), dict),
    "CartPole, compiled": (cfg("CartPole-v1", compiling="always"), dict),
    "Pendulum, compiled": (cfg("Pendulum-v1", compiling="always", **SCHEDULES), dict),
    "schedules and a stop": (cfg(**SCHEDULES, target_kl=1e-5, clip_range_vf=0.1), dict),
    "shared trunk": (cfg(), trunk),
    "curiosity": (cfg("Pendulum-v1", curiosity="rnd"), dict),
    "memory": (cfg(n_envs=4, batch_size=32, architecture={"memory": "lstm"}), dict),
    "shared memory": (
        cfg(
            "Pendulum-v1",
            batch_size=32,
            architecture={"memory": "gru", "shared_memory": True},
        ),
        dict,
    ),
    "an environment that draws from its spaces": (cfg("Sampling"), dict),
    "another optimiser": (
        cfg(optimizer={"classname": "torch.optim.RMSprop", "momentum": 0.5}),
        dict,
    ),
    "rows of a log that are averaged": (cfg() | {"logger": {"modulo": 100}}, dict),
}


@pytest.mark.wide(4)
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_from_the_state_of_another(case, monkeypatch):
    """After a random iteration; and taking states changes nothing in the run that gives them."""
    # The compiled step without a compiler: traced in one piece, as it would be compiled.
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    settings, agents = CASES[case]
    first = Keeping(settings, **agents())
    run(first)
    expected = result(first)
    is_compiled = settings["compute"]["compile"] == "always"
    drawn = random.Random(case).randrange(EPOCHS - 1)
    for iteration in range(EPOCHS - 1) if case == "Pendulum, sync" else [drawn]:
        second = PPOClip(settings, **agents())
        second.load_state_dict(through_a_file(first.states[iteration]))
        assert_goes_on(expected, second)
        assert isinstance(second._engine, CompiledUpdate) == is_compiled
    if not is_compiled:
        assert_goes_on(expected, PPOClip(settings, **agents()))
        first.load_state_dict(first.states[drawn])  # back to where it was
        run(first)
        assert all(map(torch.equal, result(first)[0], expected[0]))


class Counting(Chance):
    """Its rewards hang on what was before this episode, and on torch's global generator."""

    episodes = 0

    def observe(self):
        self.episodes += self.t == 0
        return super().observe()

    def reward(self, action):
        return self.episodes + float(torch.rand(()))


class Backward(Keeping):
    """Reads the weights from before the last update when it estimates advantages."""

    def compute_targets(self, rollout):
        advantage, returns = super().compute_targets(rollout)
        old = sum(weight.sum() for agent in self.old for weight in agent.parameters())
        return advantage + old, returns

    @property
    def old(self):
        return self.old_policy, self.old_critic_agent


def test_what_only_some_runs_look_at_goes_on():
    """Old weights; evaluation environments that remember; the generator that environments know."""
    gym.register("Counting-v0", Counting, disable_env_checker=True)
    settings = cfg("Counting-v0", normalize_advantage=False, eval_interval=1)
    first, second = Backward(settings), Backward(settings)
    run(first)
    second.load_state_dict(first.states[1])
    assert_goes_on(result(first), second)
    del gym.registry["Counting-v0"]


@pytest.mark.slow
@pytest.mark.parametrize("env_name", ["CartPole-v1", "Pendulum-v1"])
def test_a_run_goes_on_with_an_update_that_is_really_compiled(env_name):
    settings = cfg(env_name, compiling="always")
    first = Keeping(settings)
    run(first)
    second = PPOClip(settings)
    second.load_state_dict(first.states[1])
    assert_goes_on(result(first), second)


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one():
    """In the middle of episodes, with the count of iterations; a run without any left is none."""
    settings = cfg(eval_interval=1)
    longer = PPOClip(settings)
    run(longer)
    shorter = PPOClip(cfg(eval_interval=1, max_epochs=2))
    run(shorter)
    second = PPOClip(cfg(eval_interval=1, max_epochs=2))
    second.load_state_dict(shorter.state_dict())
    run(second)
    assert second.nb_steps == shorter.nb_steps
    second.cfg.algorithm.max_epochs = EPOCHS
    assert_goes_on(result(longer), second)


def test_a_state_from_before_the_first_iteration_and_one_that_was_only_loaded():
    plain = PPOClip(cfg())
    run(plain)
    expected = result(plain)
    first, second = PPOClip(cfg()), PPOClip(cfg())
    run(second)  # has other weights, streams, counts and a best policy
    second.load_state_dict(first.state_dict())
    third = PPOClip(cfg())
    third.load_state_dict(second.state_dict())
    assert_goes_on(expected, third)
    best = expected[0]
    second.load_state_dict(first.state_dict())
    assert second.best_policy is None
    run(second)
    second.close()
    assert all(map(torch.equal, second.best_policy.state_dict().values(), best[-len(best) // 3 :]))


def test_a_state_is_a_copy():
    """What either of the two runs does afterwards changes neither it nor the other one."""
    first = Keeping(cfg())
    run(first)
    state = copy.deepcopy(first.states[0])
    assert same(state, first.states[0])
    second = PPOClip(cfg())
    second.load_state_dict(first.states[0])
    run(second)
    assert same(state, first.states[0])
    assert not same(state["train_policy"], first.state_dict()["train_policy"])
    assert second.best_policy is not first.best_policy
    first.close()
    second.close()


# ------------------------------------------------------------------------------------- refused


class Mine(DiscretePolicy):
    pass


def replaced(key, value):
    def change(algo):
        state = algo.state_dict()
        *path, last = key.split("/")
        inner = state
        for step in path:
            inner = inner[step]
        inner[last] = value
        return state

    return change


OTHERS = {
    "n_envs": cfg(n_envs=2),
    "seed": cfg(seed=4),
    "env_name": cfg("ConstantReward"),
    "actor_hidden_size": cfg(
        architecture={"actor_hidden_size": [8], "critic_hidden_size": [16]},
    ),
    "optimizer.classname": cfg(optimizer={"classname": "torch.optim.SGD"}),
    "optimizer.weight_decay": cfg(optimizer={"weight_decay": 0.1}),
    "gym_env.wrappers": cfg(wrappers=["FlattenObservation"]),
}


def ran(settings, **agents):
    algo = PPOClip(settings, **agents)
    run(algo)
    algo.close()
    return algo


@pytest.mark.wide(3)
@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_configuration_is_refused_by_name(name):
    other, algo = ran(OTHERS[name]), ran(cfg())
    before = algo.state_dict()
    with pytest.raises(StateError, match=name):
        algo.load_state_dict(other.state_dict())
    assert same(algo.state_dict(), before)
    fresh = PPOClip(cfg(base_dir="fresh"))
    with pytest.raises(StateError, match=name):
        fresh.load_state_dict(other.state_dict())
    fresh.close()
    assert not Path("outputs/fresh").exists()


def test_a_state_of_other_agents_or_optimisers_is_refused_by_name():
    algo = ran(cfg())
    before = algo.state_dict()
    with pytest.raises(StateError, match="train_policy is a Mine"):
        algo.load_state_dict(ran(cfg(), train_policy=Mine(3, [16], 2)).state_dict())
    with pytest.raises(StateError, match=r"train_policy: .*weight is \[8, 3\]"):
        algo.load_state_dict(ran(cfg(), train_policy=DiscretePolicy(3, [8], 2)).state_dict())
    with pytest.raises(StateError, match="critic_optimizer"):
        algo.load_state_dict(ran(cfg(), **trunk()).state_dict())
    other = ran(cfg())
    other.policy_optimizer = torch.optim.SGD(other.train_policy.parameters(), lr=np.float64(1))
    with pytest.raises(StateError, match="policy_optimizer is a SGD"):
        algo.load_state_dict(other.state_dict())
    assert same(algo.state_dict(), before)


@pytest.mark.wide(4)
@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("seeds/minibatches", torch.zeros(3), "seeds"),
        ("counters/nb_steps", "many", "nb_steps"),
        ("train_env/row/reward", torch.zeros(7), "reward"),
        ("train_env/envs", {"object": "SyncEnvs"}, "Chance"),
        ("policy_optimizer/param_groups", [], "policy_optimizer"),
        ("log/pending", None, "log"),
        ("log", {"newest": 3}, "pending"),
        ("more", {}, "more"),
        ("best_policy/weights", {}, "best_policy"),
    ],
)
def test_of_a_damaged_state_nothing_is_taken(key, value, named):
    """Whichever part it is that does not fit, those before it are as they were."""
    algo = ran(cfg())
    before = algo.state_dict()
    state = replaced(key, value)(ran(cfg(max_epochs=2)))
    with pytest.raises(StateError, match=named):
        algo.load_state_dict(state)
    assert same(algo.state_dict(), before)


def test_a_state_is_not_loaded_into_a_loop_that_is_running():
    algo = PPOClip(cfg())
    state = algo.state_dict()
    for _ in algo.iter_partial_episodes(17):
        with pytest.raises(StateError, match="loop"):
            algo.load_state_dict(state)
        break
    algo.load_state_dict(state)
    algo.close()


# -------------------------------------------------------------------------------- environments


def agent(env_name, **kwargs):
    return EnvAgent(env_name, 3, **kwargs).seed(5)


WRAPPERS = {
    "none": (),
    "statistics": (gym.wrappers.NormalizeObservation, gym.wrappers.NormalizeReward),
    "frames": (
        lambda env: gym.wrappers.FrameStackObservation(env, 3),
        gym.wrappers.FlattenObservation,
    ),
    "episodes": (gym.wrappers.RecordEpisodeStatistics, gym.wrappers.TimeAwareObservation),
    "delayed": (lambda env: gym.wrappers.DelayObservation(env, 2),),
}


@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize(
    ("env_name", "wrapper"),
    [
        *((name, "none") for name in ("CartPole-v1", "FrozenLake-v1", "Acrobot-v1", "Odd-v0")),
        *(("MountainCarContinuous-v0", wrapper) for wrapper in WRAPPERS),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_environments_go_on_from_the_state_of_others(env_name, wrapper, autoreset):
    """Also in the middle of episodes, whether or not those others have ever been reset."""
    limit = {"env_args": {"max_episode_steps": 9}} if env_name.startswith("Mount") else {}
    how = {"autoreset": autoreset, "wrappers": WRAPPERS[wrapper], **limit}
    first, fresh, used = (agent(env_name, **how) for _ in range(3))
    for env, n in ((first, 25), (used, 4)):
        env._reset()
        stepped(env, n, seed=n)
    state = through_a_file(first.state_dict())
    expected = stepped(first, 30, seed=1)
    first.close()
    assert not first.state_dict()["envs"]["attributes"].get("closed")
    for env in (fresh, used):
        env.load_state_dict(copy.deepcopy(state))
        assert same(env.state_dict(), state)
        assert_same_rows(stepped(env, 30, seed=1), expected)
        env.close()


def test_environments_made_alike_are_in_the_same_state():
    """To the last generator, also those that nobody draws from: states can be compared."""
    first, second = (EnvAgent("Chance-v0", 3, vectorization="sync") for _ in range(2))
    for env in (first, second):
        env.seed(5)._reset()
    assert same(first.state_dict(), second.state_dict())
    first.close()
    second.close()


class Phase(enum.Enum):
    UP = 1
    DOWN = -1


class Board:
    """An object of a class of one's own."""

    def __init__(self):
        self.cells, self.spec = np.zeros((2, 3), np.int16, order="F"), 0


class Odd(Chance):
    """Its state lies in all sorts of attributes, some of which are one object."""

    def __init__(self):
        self.phase, self.board = Phase.UP, Board()
        self.cells = self.board.cells
        self.history, self.dice = deque(maxlen=3), random.Random(0)
        self.old = np.random.RandomState(1)
        self.noise = torch.Generator().manual_seed(2)
        self.move = self.down

    def down(self, value):
        return value

    def observe(self):
        seen = super().observe()
        self.phase = Phase(-self.phase.value)
        self.cells[1] += self.dice.randrange(5) + self.board.spec
        self.board.spec += 1
        self.history.append((float(seen[0]), {"last": self.board.cells.copy()}))
        self.own = self.observation_space
        drawn = self.own.sample()[0] + self.old.normal() + torch.rand(1, generator=self.noise)[0]
        total = self.board.cells.sum() + len(self.history) + self.history[0][1]["last"].sum()
        return np.array([seen[0] * self.phase.value, total, drawn], np.float32)


def odd():
    env = Odd()
    env.observation_space = gym.spaces.Box(-1, 1, (3,))  # of its own, from which it draws
    return env


gym.register("Odd-v0", odd, disable_env_checker=True)


class Speaking(Chance):
    """What it has, only it can say."""

    def __init__(self):
        self.secret = (count for count in range(100))
        self.count = 0

    def observe(self):
        self.count = next(self.secret)
        return super().observe() + self.count

    def state_dict(self):
        return {"count": self.count, "t": self.t}

    def load_state_dict(self, state):
        self.count, self.t = state["count"], state["t"]
        self.secret = iter(range(self.count + 1, 100))


def test_an_environment_may_speak_for_itself():
    gym.register("Speaking-v0", Speaking, disable_env_checker=True)
    first, second = agent("Speaking-v0"), agent("Speaking-v0")
    for env, n in ((first, 5), (second, 2)):
        env._reset()
        stepped(env, n, seed=1)
    second.load_state_dict(through_a_file(first.state_dict()))
    assert_same_rows(stepped(second, 5, seed=1), stepped(first, 5, seed=1))
    assert first.envs.envs[0].unwrapped.count == 10
    del gym.registry["Speaking-v0"]


class Hiding(Chance):
    def __init__(self, secret=None):
        self.parts = {"inner": [0, secret]}


@pytest.mark.parametrize(
    ("secret", "named"),
    [
        (iter(()), r"parts\['inner'\]\[1\]"),
        (np.array([object()]), "parts"),
        (np.zeros(2, np.longdouble), "parts"),
        (memoryview(b""), "memoryview"),
    ],
)
def test_state_that_is_no_plain_data_is_refused_by_its_place(secret, named):
    """It would be another run that goes on, without a word."""
    gym.register("Hiding-v0", Hiding, disable_env_checker=True)
    algo = PPOClip(cfg("Hiding-v0"))
    algo.train_env.envs.envs[1].unwrapped.parts["inner"][1] = secret
    with pytest.raises(StateError, match=rf"Hiding-v0: envs.*\[1\].*{named}"):
        algo.state_dict()
    algo.close()
    del gym.registry["Hiding-v0"]


def test_two_views_of_one_array_are_refused():
    board = np.zeros((3, 3))
    with pytest.raises(ValueError, match="memory"):
        Writer().write([board, board[0]])
    assert Writer().write([board[0].copy(), board])


def test_plain_data_is_what_it_was():
    """Types, the order in memory, and what is the same object in two places."""
    shared = [1]
    values = {
        "numbers": (np.float32(0.1), np.int8(-3), np.bool_(True), 2**100, None, 1.5, "π"),
        "arrays": [np.asfortranarray(np.eye(3, dtype=np.uint16)), np.array([b"SF"]), np.zeros(0)],
        "containers": [{1, 2}, frozenset("a"), b"\xff", deque([1], maxlen=2), {(1, 2): "pair"}],
        "twice": [shared, shared],
        "generator": np.random.Generator(np.random.MT19937(3)),
    }
    values["itself"] = values
    read = Reader().read(through_a_file(Writer().write(values)))
    for name in ("numbers", "containers"):
        assert read[name] == values[name]
        assert list(map(type, read[name])) == list(map(type, values[name]))
    for old, new in zip(values["arrays"], read["arrays"], strict=True):
        assert (old == new).all()
        assert (old.dtype, old.strides, old.shape) == (new.dtype, new.strides, new.shape)
    assert read["containers"][3].maxlen == 2
    assert read["twice"][0] is read["twice"][1]
    assert read["itself"] is read
    old, new = values["generator"], read["generator"]
    assert (old.integers(2**60, size=9) == new.integers(2**60, size=9)).all()
    assert old.spawn(1)[0].random() == new.spawn(1)[0].random()


def test_environments_of_another_kind_are_refused_and_stay_as_they_are():
    first = agent("Odd-v0")
    first._reset()
    for how in ({}, {"wrappers": (gym.wrappers.FlattenObservation,)}):
        second = agent("Odd-v0", **how)
        second._reset()
        before = second.state_dict()
        state = first.state_dict()
        if not how:
            second.envs.envs[2].unwrapped.board = None
            before = second.state_dict()
        with pytest.raises(StateError, match=r"Odd-v0: .*envs\["):
            second.load_state_dict(state)
        assert same(second.state_dict(), before)


def test_a_module_that_holds_environments_gives_weights_alone():
    """Otherwise saving bbrl's agent of environments and policy would save environments."""
    algo = PPOClip(cfg())
    assert not [name for name in algo.train_agent.state_dict() if "env" in name]
    algo.close()


# ------------------------------------------------------------------------ algorithms of one's own


class Reinforce(EpisodicAlgo):
    """A student's: its networks and its choices come from torch's global generator."""

    def __init__(self, settings, **kwargs):
        super().__init__(settings, **kwargs)
        self.train_policy = DiscretePolicy(3, [4], 2)
        self.bonus = nn.Linear(1, 1)
        self.seen = []

    def state_parts(self):
        return super().state_parts() | {"bonus": self.bonus}

    def learn(self, workspaces, stop=-1):
        """The state after iteration `stop`."""
        state = None
        for workspace in workspaces:
            with torch.no_grad():
                for weight in (*self.train_policy.parameters(), *self.bonus.parameters()):
                    weight.add_(0.1 * torch.randn_like(weight))
            self.seen.append(workspace["env/env_obs"])
            self.evaluate()
            if self.epoch == stop:
                state = self.state_dict()
        return state


@pytest.mark.parametrize("autoreset", [True, False])
def test_an_algorithm_of_ones_own_goes_on(autoreset):
    """With the parts that it adds, over partial episodes and over whole ones."""
    settings = cfg(max_epochs=5)
    first, second = (Reinforce(settings, autoreset=autoreset) for _ in range(2))
    loop = EpisodicAlgo.iter_partial_episodes if autoreset else EpisodicAlgo.iter_episodes
    state = first.learn(loop(first), stop=1)
    second.load_state_dict(through_a_file(state))
    second.learn(loop(second))
    assert len(second.seen) == 3
    assert all(map(torch.equal, first.seen[2:], second.seen))
    assert same(first.state_dict(), second.state_dict())
    first.close()
    second.close()


def test_the_program_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "state.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"cfg": OmegaConf.create(cfg())}
    exec(compile(program.replace("== 20", "== 1"), "state.md", "exec"), names)
    assert names["second"].nb_steps == names["first"].nb_steps
    for algo in (names["first"], names["second"]):
        algo.close()


def test_weights_are_aligned_in_memory_as_in_the_run_that_went_on():
    """The last bits that a convolution gives depend on it, hence those of the whole run."""

    def alignment(algo):
        weights = [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]
        return [weight.data_ptr() % 64 for weight in weights]

    first, second = (PPOClip(cfg("Pendulum-v1", n_steps=8)) for _ in range(2))
    run(first)  # log_std, a single number, lies before the network
    expected = alignment(first)
    assert any(expected)
    second.load_state_dict(first.state_dict())
    second.cfg.algorithm.max_epochs = EPOCHS + 1
    seen = [alignment(second) for _ in second.iter_partial_episodes(9)]
    assert seen == [expected]
    first.close()
    second.close()


def test_a_copy_of_an_algorithm_is_one_before_there_are_files():
    """Afterwards two would write to the same; one line says what goes on instead."""
    first = PPOClip(cfg())
    second = copy.deepcopy(first)
    for algo in (first, second):
        run(algo)
    assert first.folder.path != second.folder.path
    assert same(first.train_policy.state_dict(), second.train_policy.state_dict())
    for copied in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(StateError, match=r"load_state_dict\(algo\.state_dict\(\)\)"):
            copied(first)
    asynchronous = PPOClip(cfg() | {"gym_env": {"env_name": "Chance-v0", "vectorization": "async"}})
    with pytest.raises(StateError, match="cannot be copied"):
        copy.deepcopy(asynchronous)
    asynchronous.close()

"""Several runs in threads of one process: each is what it is alone."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import bbrl.agents
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from probe_envs import config
from torch import nn
from torch.distributions import Categorical, Independent, Normal

from ppo_bbrl import DiscretePolicy, PPOClip, run, seeded, shared_agents
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.evaluation import evaluate
from ppo_bbrl.hub import PPO2
from ppo_bbrl.seeding import RandomStream

SEEDS = (1, 2)


@pytest.fixture(autouse=True)
def threads_take_turns_often():
    """Thousands of times a second, so that what two threads share is mixed up at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Foreign(bbrl.agents.Agent):
    """As the notebook of BBRL writes a policy; with dropout."""

    def __init__(self):
        super().__init__("policy")
        self.model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **_):
        dist = Categorical(logits=self.model(self.get(("env/env_obs", t))))
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(self.get(("action", t))))
        else:
            self.set(("action", t), dist.sample() if stochastic else dist.probs.argmax(-1))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


class OtherDist(DiscretePolicy):
    def dist(self, obs):
        return Categorical(logits=3 * self.logits(obs))


def one_model():
    policy, critic = shared_agents(PPO2(2, 8, 3, 0.2))
    return {"train_policy": policy, "critic_agent": critic}


KINDS = {
    "discrete": ("Seen-v0", dict),
    "gaussian": ("SeenBox-v0", dict),
    "a subclass": ("Seen-v0", lambda: {"train_policy": OtherDist(2, [8], 3)}),
    "another's": ("Seen-v0", lambda: {"train_policy": Foreign()}),
    "one model": ("Seen-v0", one_model),
}


class Seen(gym.Env):
    """Draws its observations; an episode has 20 steps."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.see(), {}

    def see(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.t += 1
        seen = self.see()
        return seen, float(np.sum(action) * seen[0]), False, self.t >= 20, {}


class SeenBox(Seen):
    action_space = Box(-1, 1, (2,), np.float32)


MEETING = threading.Barrier(2)


class Meets(Seen):
    """Every step waits for one of the other run."""

    def step(self, action):
        MEETING.wait(timeout=20)
        return super().step(action)


class Draws(Seen):
    """An environment that draws from torch's global generator."""

    def see(self):
        return torch.rand(2).numpy()


for env in (Seen, SeenBox, Meets, Draws):
    gym.register(f"{env.__name__}-v0", env, disable_env_checker=True)


def train(env_name, seed, agents=dict, each=lambda _: None):
    """Weights of policy and critic after a short training."""
    cfg = config(env_name, seed=seed, n_envs=2, max_epochs=6, eval_interval=50)
    with seeded(cfg):
        made = agents()
    algo = PPOClip(cfg, **made)
    for workspace in algo.iter_partial_episodes(17):
        algo.update(algo.record(workspace))
        algo.evaluate()
        each(algo)
    algo.close()
    return weights(algo.train_policy, algo.critic_agent)


def weights(*agents):
    parts = [parameter.detach().flatten() for agent in agents for parameter in agent.parameters()]
    return torch.cat(parts).clone()


@pytest.mark.wide(2)
@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_in_two_threads_are_what_each_is_alone(kind):
    """As with n_jobs=2 of Optuna: from building to the last evaluation."""
    alone = [train(*KINDS[kind][:1], seed, KINDS[kind][1]) for seed in SEEDS]
    assert not torch.equal(*alone)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(train, KINDS[kind][0], seed, KINDS[kind][1]) for seed in SEEDS]
        together = [job.result() for job in jobs]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_runs_of_different_kinds_are_what_each_is_alone():
    """One with agents of its own, which need torch's global generator, beside one that does not."""
    kinds = (KINDS["discrete"], KINDS["one model"])
    alone = [train(env_name, 1, agents) for env_name, agents in kinds]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(train, env_name, 1, agents) for env_name, agents in kinds]
        together = [job.result() for job in jobs]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_the_packages_agents_never_wait_for_another_run():
    """Two runs whose environments wait for each other in every step would hang for ever."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(no_evaluations, seed) for seed in SEEDS]
        together = [job.result() for job in jobs]
    assert not torch.equal(*together)


def no_evaluations(seed):
    cfg = config("Meets-v0", seed=seed, n_envs=2)
    algo = PPOClip(cfg)
    run(algo)
    algo.close()
    return weights(algo.train_policy)


@pytest.fixture
def drawing():
    """Another thread draws from torch's global generator all the time, and seeds it."""
    go_on = threading.Event()
    go_on.set()

    def draw():
        while go_on.is_set():
            torch.manual_seed(0)
            torch.rand(3)

    thread = threading.Thread(target=draw)
    yield thread.start
    go_on.clear()
    thread.join()


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_another_threads_chance_changes_nothing(kind, drawing):
    alone = train(KINDS[kind][0], 1)
    drawing()  # from before the run is built
    assert torch.equal(train(KINDS[kind][0], 1), alone)


def test_a_run_in_a_thread_leaves_the_main_threads_chance_alone():
    """With the package's agents; what needs the global generator says that it borrows it."""
    cfg = config("Seen-v0", n_envs=2, max_epochs=6)
    algo = PPOClip(cfg)  # weights are drawn here
    torch.manual_seed(5)
    expected = torch.rand(1000)
    thread = threading.Thread(target=run, args=(algo,))
    thread.start()
    drawn = 0
    while thread.is_alive() or drawn < 10:
        torch.manual_seed(5)
        assert torch.equal(torch.cat([torch.rand(1) for _ in range(1000)]), expected)
        drawn += 1
    thread.join()
    algo.close()


@pytest.mark.wide(2)
@pytest.mark.parametrize("kind", ["discrete", "gaussian", "another's", "one model"])
def test_an_evaluation_in_another_thread_changes_nothing(kind):
    """Of the policy that is learning: its modes, its noise, its workspace are one thread's each."""
    env_name, agents = KINDS[kind]
    alone = train(env_name, 1, agents)
    started, go_on = threading.Event(), threading.Event()
    go_on.set()
    errors = []

    def evaluations(algo):
        env = EnvAgent(env_name, 3, autoreset=False)
        try:
            while go_on.is_set():
                for policy in (algo.eval_policy, algo.train_policy):
                    evaluate(policy, env, np.random.SeedSequence(7), max_steps=20)
                started.set()
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            errors.append(error)
            started.set()
        env.close()

    threads = []

    def each(algo):
        if not threads:
            threads.append(threading.Thread(target=evaluations, args=(algo,)))
            threads[0].start()
            started.wait(20)

    try:
        beside = train(env_name, 1, agents, each)
    finally:
        go_on.clear()
        threads[0].join()
    assert not errors
    assert torch.equal(beside, alone)


def test_a_fork_beside_a_run_can_run_itself():
    """A lock that another thread holds when a process forks would be held for ever in the copy."""
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with RandomStream(0).active():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(20)
    child = os.fork()
    if not child:  # nothing but the end of the process may follow
        signal.alarm(10)
        with RandomStream(1).active():
            os._exit(0)
    leave.set()
    thread.join()
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_an_environment_that_draws_from_torch_is_repeated():
    assert torch.equal(train("Draws-v0", 1), train("Draws-v0", 1))
    assert not torch.equal(train("Draws-v0", 1), train("Draws-v0", 2))


def test_weights_of_ones_own_agents_can_be_the_seeds():
    """Made before the run, they were torch's global generator's, whatever the seed."""
    for _ in range(2):
        torch.rand(1)
        made = []
        for seed in (3, 3, 4):
            with seeded(config("Seen-v0", seed=seed)):
                made.append(weights(nn.Linear(4, 2)))
        assert torch.equal(made[0], made[1])
        assert not torch.equal(made[0], made[2])
    state = torch.get_rng_state()
    with seeded(config("Seen-v0")):
        policy = DiscretePolicy(2, [16], 3)
    assert torch.equal(torch.get_rng_state(), state)
    algo = PPOClip(config("Seen-v0"), train_policy=policy)
    algo.close()
    # Not the numbers of the package's own agents again, of which the critic is one here.
    assert not torch.equal(policy.model[0].weight, algo.critic_agent.model[0].weight)


def test_a_run_keeps_which_weights_it_was_given():
    """The seed alone does not repeat such a run."""
    cfg = config("Seen-v0") | {"extra": {"mine": 1}}
    algo = PPOClip(cfg, train_policy=OtherDist(2, [8], 3))
    assert algo.cfg.extra == {"mine": 1, "weights_given": ["train_policy"]}
    algo.close()
    again = PPOClip(algo.cfg)  # with the package's agents
    assert again.cfg.extra == {"mine": 1}
    assert algo.cfg.extra.weights_given == ["train_policy"]
    again.close()
    assert cfg["extra"] == {"mine": 1}


def test_a_gaussian_of_ones_own_in_two_threads():
    """A distribution that torch samples, where numbers of two normals come from one pair."""

    class Own(SeenBox):
        pass

    def own():
        class Policy(type(shared_agents(PPO2(2, 8, 2))[0])):
            def dist(self, obs):
                return Independent(Normal(self.dist_and_value(obs)[0].logits, 1.0), 1)

        return {"train_policy": Policy(PPO2(2, 8, 2))}

    alone = [train("SeenBox-v0", seed, own) for seed in SEEDS]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(train, "SeenBox-v0", seed, own) for seed in SEEDS]
        for job, expected in zip(jobs, alone, strict=True):
            assert torch.equal(job.result(), expected)

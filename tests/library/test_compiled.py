"""The compiled update against the eager one: same losses, same weights, same optimisers.

Compiling takes seconds. What only concerns the step itself is checked with it traced and run by
torch ("eager" backend); a few tests, and all of them under the marker slow, go through Inductor.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import bbrl.agents
import pytest
import torch
from probe_envs import config
from torch import nn

from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.agents.shared import evaluate_both
from ppo_bbrl.fast import compiled
from ppo_bbrl.fast.compiled import CompiledUpdate
from ppo_bbrl.fast.compiled_step import Networks, changing_coefficients, make_step
from ppo_bbrl.fast.flat import FlatWeights
from ppo_bbrl.ppo import TrainingFailedError
from ppo_bbrl.update import ppo_losses

ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5, "weight_decay": 0.1}
ADAM = {"classname": "torch.optim.Adam", "lr": 3e-3, "weight_decay": 0.05, "betas": [0.8, 0.99]}


@pytest.fixture
def traced(monkeypatch):
    """The step is traced, then run by torch operation by operation."""
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})


def algorithm(env_name, how, optimizer=None, agents=None, **settings):
    """An algorithm whose update is compiled always or never."""
    cfg = config(env_name, **settings) | {"compute": {"compile": how, "threads": 1}}
    cfg["optimizer"] = optimizer or cfg["optimizer"]
    return PPOClip(cfg, **({} if agents is None else agents()))


def parameters(algo):
    return [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]


def both(env_name, n=3, **settings):
    """Two algorithms, eager and compiled, after n updates each on the same rollouts.

    Returns the algorithms and the pairs of reports.
    """
    eager, fast = (algorithm(env_name, how, **settings) for how in ("never", "always"))
    rows, reports = eager.cfg.algorithm.n_steps + 1, []
    for workspace, _ in zip(eager.iter_partial_episodes(rows), range(n), strict=False):
        rollout = eager.record(workspace)
        fast.epoch = eager.epoch
        reports.append((eager.update(rollout), fast.update(rollout)))
    assert isinstance(fast._engine, CompiledUpdate)
    for algo in (eager, fast):
        algo.close()
    return eager, fast, reports


def assert_same_report(one, other):
    assert one.n_minibatches == other.n_minibatches
    assert one.stopped_early == other.stopped_early
    assert one.metrics.keys() == other.metrics.keys()
    for name, value in one.metrics.items():
        told = f"{name}: {value} and {other.metrics[name]}"
        # Relative to the size; what cancels out to almost nothing counts as of size 0.1.
        error = abs(float(value) - float(other.metrics[name]))
        assert error <= 1e-5 * max(abs(float(value)), 0.1), told


def assert_same_weights(one, other, tolerance=1e-4):
    for mine, theirs in zip(parameters(one), parameters(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def assert_agree(env_name, n=3, **settings):
    eager, fast, reports = both(env_name, n, **settings)
    assert_same_report(*reports[0])
    assert_same_weights(eager, fast)
    before = algorithm(env_name, "never", **settings)
    changes = [
        float((new - old).abs().max().detach())
        for new, old in zip(parameters(fast), parameters(before), strict=True)
    ]
    assert min(changes) > 5e-4, "the weights have learned"
    before.close()
    return eager, fast, reports


# Chance ends its episodes after four steps: a fifth of all rows is no transition.
MATRIX = {
    "plain": ("Chance", {}),
    "everything": (
        "Chance",
        {
            "optimizer": ADAMW,
            "normalize_advantage": True,
            "clip_range_vf": 0.1,
            "entropy_coef": 0.3,
            "critic_coef": 0.7,
            "policy_coef": 1.3,
            "batch_size": 13,
            "learning_rate_schedule": "linear",
            "clip_range_schedule": "linear",
        },
    ),
    "everything, continuous": (
        "LoggedBox",
        {
            "optimizer": ADAM,
            "normalize_advantage": True,
            "clip_range_vf": 0.1,
            "entropy_coef": 0.1,
            "max_grad_norm": None,
            "batch_size": 13,
        },
    ),
    "almost one minibatch": ("Chance", {"batch_size": 60, "clip_range_vf": 0.1}),
    "one minibatch": ("Chance", {"batch_size": 0, "optimizer": ADAM}),
    "larger than the rollout": ("Chance", {"batch_size": 1000, "normalize_advantage": True}),
    "tight clipping of gradients": ("Chance", {"max_grad_norm": 0.01}),
    "unlimited gradients": ("Chance", {"max_grad_norm": None}),
    "Adam with eps": (
        "LoggedBox",
        {"optimizer": {"classname": "torch.optim.Adam", "lr": 1e-2, "eps": 1e-3}},
    ),
    "tanh": (
        "Chance",
        {
            "architecture": {
                "actor_hidden_size": [9, 7],
                "critic_hidden_size": [5],
                "activation": "tanh",
            }
        },
    ),
    "discrete observations": ("FrozenLake-v1", {}),
    "pictures": ("Pixels", {}),
    "Pendulum": ("Pendulum-v1", {"normalize_advantage": True}),
}


@pytest.mark.wide(2)
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "case",
    [
        "everything",
        "everything, continuous",
        "almost one minibatch",
        "one minibatch",
        "larger than the rollout",
    ],
)
def test_traced_and_eager_agree(case):
    env_name, settings = MATRIX[case]
    assert_agree(env_name, **settings)


def compiled_and_eager_agree(case):
    env_name, settings = MATRIX[case]
    eager, _, reports = assert_agree(env_name, **settings)
    size = eager.cfg.algorithm.n_envs * eager.cfg.algorithm.n_steps
    assert reports[0][0].n_minibatches < eager.cfg.algorithm.opt_epochs * -(-size // 13)


def test_compiled_and_eager_agree():
    """With minibatches that do not divide the rollout, and autoreset steps left out.

    Those with discrete actions are below: compiling takes seconds.
    """
    compiled_and_eager_agree("everything, continuous")


@pytest.mark.slow
@pytest.mark.parametrize("case", MATRIX)
def test_compiled_and_eager_agree_whatever_the_settings(case):
    env_name, settings = MATRIX[case]
    # Not many more: sooner or later some value lies within a rounding error of the end of its clip
    # range, where the gradient jumps.
    assert_agree(env_name, n=5, max_epochs=8, **settings)


# ------------------------------------------------------------------------------- early stop

STOPS = {
    "target_kl": 2e-3,
    "opt_epochs": 8,
    "optimizer": {"classname": "torch.optim.Adam", "lr": 2e-2},
}


def check_early_stop(**settings):
    _, _, reports = assert_agree("Chance", n=5, max_epochs=5, **(STOPS | settings))
    assert any(one.stopped_early and one.n_minibatches > 1 for one, _ in reports)
    for one, other in reports:
        assert (one.n_minibatches, one.stopped_early) == (other.n_minibatches, other.stopped_early)
        assert one.metrics.keys() == other.metrics.keys()


@pytest.mark.usefixtures("traced")
def test_distributions_check_their_arguments_as_before(monkeypatch):
    """Torch turns that off in the whole process when it compiles for the first time."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    both("CartPole-v1", n=1)
    with pytest.raises(ValueError, match="scale"):
        torch.distributions.Normal(0.0, -1.0)


@pytest.mark.usefixtures("traced")
def test_target_kl_stops_at_the_same_minibatch():
    check_early_stop()


@pytest.mark.slow
def test_target_kl_stops_at_the_same_minibatch_compiled():
    check_early_stop()


@pytest.mark.usefixtures("traced")
def test_a_stop_before_the_first_step_leaves_everything_as_it_was():
    eager, fast, _ = both("Chance", n=1)
    fast.cfg.algorithm.target_kl = eager.cfg.algorithm.target_kl = 1e-9
    before = [parameter.clone() for parameter in parameters(fast)]
    moments = copy.deepcopy(fast.policy_optimizer.state_dict()["state"])
    far = next(eager.iter_partial_episodes(17))
    rollout = eager.record(far)
    rollout.log_prob.sub_(1.0)
    reports = [algo.update(rollout) for algo in (eager, fast)]
    assert_same_report(*reports)
    assert reports[1].n_minibatches == 0
    assert reports[1].stopped_early
    assert not any(name.startswith("grad_norm/") for name in reports[1].metrics)
    for parameter, old in zip(parameters(fast), before, strict=True):
        assert torch.equal(parameter, old)
    for index, state in fast.policy_optimizer.state_dict()["state"].items():
        for name, value in state.items():
            assert torch.equal(value, moments[index][name])
    for algo in (eager, fast):
        algo.close()


# ------------------------------------------------------------------------------- optimisers


def assert_same_optimizers(one, other):
    for name in ("policy_optimizer", "critic_optimizer"):
        mine, theirs = (getattr(algo, name).state_dict() for algo in (one, other))
        assert mine["param_groups"] == theirs["param_groups"]
        assert mine["state"].keys() == theirs["state"].keys()
        for index, state in mine["state"].items():
            assert state.keys() == theirs["state"][index].keys()
            for key, value in state.items():
                torch.testing.assert_close(value, theirs["state"][index][key], rtol=1e-4, atol=1e-6)


def step_by_hand(algo):
    for number, parameter in enumerate(parameters(algo)):
        parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
    algo.policy_optimizer.step()
    algo.critic_optimizer.step()


@pytest.mark.wide(1)
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("optimizer", [ADAM, ADAMW])
def test_the_optimisers_of_torch_are_where_they_would_be(optimizer):
    """Whoever steps by hand after a compiled update goes on as after an eager one."""
    eager, fast, _ = both("Chance", optimizer=optimizer)
    assert_same_optimizers(eager, fast)
    for algo in (eager, fast):
        step_by_hand(algo)
    assert_same_optimizers(eager, fast)
    assert_same_weights(eager, fast)


@pytest.mark.usefixtures("traced")
def test_the_compiled_update_goes_on_where_an_eager_one_stopped():
    """The moments and the number of steps so far are taken over, as after a resume."""
    eager, fast = (algorithm("Chance", "never", optimizer=ADAMW) for _ in range(2))
    for workspace in eager.iter_partial_episodes(17):
        rollout = eager.record(workspace)
        if eager.epoch == 1:
            fast.cfg.compute.compile = "always"
        eager.update(rollout)
        fast.update(rollout)
    assert isinstance(fast._engine, CompiledUpdate)
    assert_same_weights(eager, fast)
    assert_same_optimizers(eager, fast)


@pytest.mark.usefixtures("traced")
def test_a_copy_of_a_compiled_policy_is_a_copy():
    """The best policy, which is kept while training goes on."""
    _, fast, _ = both("Chance")
    kept = copy.deepcopy(fast.train_policy)
    step_by_hand(fast)
    for old, new in zip(kept.parameters(), fast.train_policy.parameters(), strict=True):
        assert not torch.equal(old, new)
        assert old.untyped_storage().nbytes() == old.numel() * old.element_size()


# ------------------------------------------------------------------------------- several at once


@pytest.mark.slow
def test_two_compiled_algorithms_in_one_process_do_not_share_their_step():
    """What torch.compile keeps by code object must not serve another network or other settings."""
    compiled_and_eager_agree("everything")
    other = {"actor_hidden_size": [5], "critic_hidden_size": [6]}
    assert_agree("Chance", architecture=other, entropy_coef=0.9, batch_size=20, clip_range_vf=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_many_compiled_algorithms_in_one_process():
    """torch.compile gives up a function that it has compiled eight times."""
    for size in range(1, 11):
        hidden = {"actor_hidden_size": [size], "critic_hidden_size": [1]}
        algo = algorithm("Chance", "always", architecture=hidden, opt_epochs=1, max_epochs=1)
        run(algo)
        algo.close()
        assert isinstance(algo._engine, CompiledUpdate)


@pytest.mark.usefixtures("traced")
def test_a_rollout_without_transitions_teaches_nothing():
    _, fast, _ = both("Chance", n=1)
    rollout = fast.record(next(fast.iter_partial_episodes(17)))
    empty = rollout.select(torch.zeros(0, dtype=torch.int64))
    before = [parameter.clone() for parameter in parameters(fast)]
    report = fast.update(empty)
    assert report.n_minibatches == 0
    assert set(report.metrics) == {"clip_range", "learning_rate"}
    assert all(map(torch.equal, before, parameters(fast)))


@pytest.mark.usefixtures("traced")
def test_not_a_number_is_no_step_as_in_the_eager_update():
    """It is told, and the weights of before are still there to be saved."""
    eager, fast, _ = both("Chance", n=1)
    rollout = eager.record(next(eager.iter_partial_episodes(17)))
    rollout.advantage[:] = torch.nan
    rollout.log_prob[:] = torch.nan
    for algo in (eager, fast):
        before = [parameter.clone() for parameter in parameters(algo)]
        with pytest.raises(TrainingFailedError):
            algo.update(rollout)
        assert all(map(torch.equal, before, parameters(algo)))


def shared_layer():
    """Two agents that have a layer in common, each with a head of its own."""
    torch.manual_seed(0)
    policy, critic = DiscretePolicy(3, [4], 2), VAgent(3, [4])
    critic.model[0] = policy.model[0]
    return {"train_policy": policy, "critic_agent": critic}


@pytest.mark.usefixtures("traced")
def test_agents_that_share_a_layer_have_one_optimiser_and_one_norm():
    """Two of each would step the layer twice, and clip its gradient twice."""
    _, fast, reports = assert_agree("Chance", agents=shared_layer, max_grad_norm=0.1)
    assert fast.train_policy.model[0].weight is fast.critic_agent.model[0].weight
    norms = {name for name in reports[0][1].metrics if name.startswith("grad_norm/")}
    assert norms == {"grad_norm/shared"}


# ------------------------------------------------------------------------------- falling back


class OwnPolicy(bbrl.agents.Agent):
    """As a student writes it."""

    def __init__(self):
        super().__init__()
        self.prefix = ""
        self.model = nn.Linear(3, 2)

    def with_prefix(self, prefix):
        self.prefix = prefix
        return self

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False):
        dist = torch.distributions.Categorical(logits=self.model(self.get(("env/env_obs", t))))
        if not predict_proba:
            self.set(("action", t), dist.sample() if stochastic else dist.mode)
        else:
            log_prob = dist.log_prob(self.get(("action", t)))
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


class OwnForward(VAgent):
    def forward(self, t, **kwargs):
        super().forward(t, **kwargs)


class LooksAtNumbers(DiscretePolicy):
    """Whose branch no tracer can follow."""

    def logits(self, obs):
        return super().logits(obs * 2.0 if float(obs.sum()) > 0 else obs)


class Fixed(DiscretePolicy):
    """One layer does not learn."""

    def __init__(self, *args):
        super().__init__(*args)
        self.model[0].weight.requires_grad_(False)


FALLBACKS = {
    "own policy": ({"agents": lambda: {"train_policy": OwnPolicy()}}, "OwnPolicy has a forward"),
    "own critic": (
        {"agents": lambda: {"critic_agent": OwnForward(3, [4])}},
        "OwnForward has a forward",
    ),
    "SGD": ({"optimizer": {"classname": "torch.optim.SGD", "lr": 1e-3}}, "SGD has no flat"),
    "amsgrad": ({"optimizer": ADAM | {"amsgrad": True}}, "amsgrad"),
    "fixed parameters": (
        {"agents": lambda: {"train_policy": Fixed(3, [4], 2)}},
        "Fixed has parameters that are fixed",
    ),
    "cannot be traced": (
        {"agents": lambda: {"train_policy": LooksAtNumbers(3, [4], 2)}},
        "torch.compile failed",
    ),
}


@pytest.mark.wide(3)
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("case", FALLBACKS)
def test_what_cannot_be_compiled_is_learned_eagerly_after_one_line(case, capsys):
    settings, reason = FALLBACKS[case]
    results = []
    for how in ("always", "never"):
        torch.manual_seed(0)
        algo = algorithm("Chance", how, **settings)
        run(algo)
        algo.close()
        results.append([parameter.detach() for parameter in parameters(algo)])
        assert algo.cfg.compute.compile == "never"
    told = capsys.readouterr().out.splitlines()
    (line,) = [line for line in told if "not compiled" in line]
    assert reason in line
    began = any("Compiling" in line for line in told)
    assert began == ("torch.compile failed" in line)
    assert len(line) < 300
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_compiler_that_fails_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": fails})
    algo = algorithm("Chance", "always")
    run(algo)
    algo.close()
    told = [line for line in capsys.readouterr().out.splitlines() if "not compiled" in line]
    assert len(told) == 1
    assert "no working compiler" in told[0]


def test_what_a_cpp_compiler_objects_to_is_told_without_its_command(monkeypatch, capsys):
    """The command, its paths and its output fill pages."""
    from torch._inductor.exc import CppCompileError

    def refuses(*_):
        output = "/tmp/c1.cpp: In function:\n/tmp/c1.cpp:12:5: error: no such function\n more {"
        raise CppCompileError(["g++", "/tmp/c1.cpp", *["-I/usr/include"] * 99], output)

    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": refuses})
    algo = algorithm("Chance", "always")
    run(algo)
    algo.close()
    told = [line for line in capsys.readouterr().out.splitlines() if "not compiled" in line]
    said = "torch.compile failed: C++ compile error: no such function"
    assert told == [f"The update is not compiled: {said}."]


@pytest.mark.slow
def test_compiling_without_a_compiler_falls_back():
    """A process of its own, as torch remembers the compiler that it once found."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_compiled import algorithm; from ppo_bbrl import run\n"
        "hidden = {'actor_hidden_size': [23], 'critic_hidden_size': [29]}\n"
        "algo = algorithm('Chance', 'always', architecture=hidden); run(algo); algo.close()\n"
    )
    Path("empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[1] / "support")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **{name: value for name, value in os.environ.items() if name != "CXX"},
            "PATH": str(Path("empty").resolve()),
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "TORCHINDUCTOR_CACHE_DIR": str(Path("cache").resolve()),
        },
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "not compiled" in line]
    assert "C++ compiler" in line or "compile" in line


# --------------------------------------------------------------------------------- accelerators


@pytest.mark.parametrize("whole", [True, False])
def test_a_step_never_asks_an_accelerator_for_a_number(whole, monkeypatch):
    """Meta tensors have no numbers: whatever would wait for a GPU's answer raises on them.

    Nor do they mix with those of the CPU: what a step makes must lie where its inputs do.
    """
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    policy, critic = DiscretePolicy(4, [8], 2).to("meta"), VAgent(4, [8]).to("meta")
    flat = FlatWeights(
        policy, critic, *(torch.optim.AdamW(agent.parameters()) for agent in (policy, critic))
    )
    settings = algorithm("Chance", "never", max_grad_norm=0.5)._settings

    def losses(minibatch):
        both = evaluate_both(policy, critic, minibatch.variables)
        names = ("log_prob", "entropy", "value")
        return ppo_losses(minibatch, settings=settings, **dict(zip(names, both, strict=True)))

    step = make_step(Networks(policy, critic, losses), flat, settings, whole=whole)
    n = 6

    def meta(*shape, dtype=torch.float32):
        return torch.empty(shape, dtype=dtype, device="meta")

    facts = step(
        flat=flat.weights,
        kept_gradient=flat.gradient,
        moment1=flat.moment1,
        moment2=flat.moment2,
        changing=meta(4 + len(changing_coefficients(settings))),
        index=meta(n, dtype=torch.int64),
        mask=meta(n),
        data={
            "variables": {"env/env_obs": meta(n, 4), "action": meta(n, dtype=torch.int64)},
            **{name: meta(n) for name in ("log_prob", "value", "advantage", "returns")},
        },
    )
    assert facts.is_meta
    assert facts.dim() == 1


# --------------------------------------------------------------------------------- what it reads


class Reads(DiscretePolicy):
    """Whose logits depend on what stands elsewhere."""

    def __init__(self, *args):
        super().__init__(*args)
        self.options = {"temperature": 1.0}
        self.dropout = nn.Dropout(0.5)
        self.dropout.eval()

    def logits(self, obs):
        return self.dropout(super().logits(obs)) / self.options["temperature"] * ELSEWHERE["factor"]


ELSEWHERE = {"factor": 1.0}


def hotter(algo):
    algo.train_policy.options["temperature"] = 5.0


def elsewhere(algo):
    del algo
    ELSEWHERE["factor"] = 5.0


def other_activation(algo):
    algo.critic_agent.model.activation = "tanh"


@pytest.mark.wide(1)
@pytest.mark.parametrize("change", [hotter, elsewhere, other_activation])
def test_what_agents_read_may_change(change, monkeypatch):
    """A compiled step has taken it for a constant: with agents of one's own, anything at all."""
    monkeypatch.setattr(compiled, "_backend", without_inductor)
    monkeypatch.setitem(ELSEWHERE, "factor", 1.0)
    own = change is not other_activation
    algos = []
    for how in ("never", "always"):
        torch.manual_seed(0)
        agents = (lambda: {"train_policy": Reads(3, [4], 2)}) if own else None
        algos.append(algorithm("Chance", how, agents=agents, max_epochs=4))
    eager, fast = algos
    for number, workspace in enumerate(eager.iter_partial_episodes(17)):
        rollout = eager.record(workspace)
        if number == 2:
            for algo in algos:
                change(algo)
        assert_same_report(eager.update(rollout), fast.update(rollout))
    assert isinstance(fast._engine, CompiledUpdate)
    assert_same_weights(eager, fast)


def without_inductor(_device):
    """As on a CPU, but the step is run by torch operation by operation."""
    return {
        "backend": "eager",
        "options": {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
    }


@pytest.mark.slow
def test_dropout_that_is_switched_off_later(monkeypatch):
    monkeypatch.setattr(compiled, "_backend", without_inductor)
    algo = algorithm("Chance", "always", agents=lambda: {"train_policy": Reads(3, [4], 2)})
    with torch.no_grad():
        algo.train_policy.model[-1].weight.mul_(100)
    for number, workspace in enumerate(algo.iter_partial_episodes(17)):
        rollout = algo.record(workspace)
        algo.train_policy.train(number == 0)
        kl = float(algo.update(rollout.select(torch.arange(20))).metrics["approx_kl"])
        assert (kl > 1e-3) == (number == 0)
    assert isinstance(algo._engine, CompiledUpdate)
    algo.close()


@pytest.mark.usefixtures("traced")
def test_a_step_that_cannot_be_compiled_anew_is_made_eagerly(capsys):
    """As when an attribute of an agent has another value each time: torch gives up in the end."""
    algo = algorithm("Chance", "always", max_epochs=4)
    steps = []
    for number, workspace in enumerate(algo.iter_partial_episodes(17)):
        rollout = algo.record(workspace)
        if number == 2:
            algo._engine._step = fails
        algo.update(rollout)
        steps.append({float(s["step"]) for s in algo.policy_optimizer.state.values()})
    assert steps == [{4.0}, {8.0}, {12.0}, {16.0}]
    told = [line for line in capsys.readouterr().out.splitlines() if "no longer compiled" in line]
    assert told == ["The update is no longer compiled: torch.compile failed: no working compiler."]
    assert algo.cfg.compute.compile == "never"
    algo.close()


def fails(*_, **__):
    raise RuntimeError("no working\ncompiler")


@pytest.mark.usefixtures("traced")
def test_hooks_on_parameters_are_run():
    """A compiled step would not call them: what has some is learned eagerly."""
    algo = algorithm("Chance", "always")
    seen = []
    for number, workspace in enumerate(algo.iter_partial_episodes(17)):
        if number == 1:
            algo.train_policy.model[0].weight.register_hook(seen.append)
        algo.update(algo.record(workspace))
        assert bool(seen) == (number >= 1)
    algo.close()

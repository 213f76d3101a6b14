"""The check of notebook 11's last step: the PPO learns, on probes and on CartPole."""

import contextlib
import io
import tempfile
from typing import Any

import torch

from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_course.instruments.judge import Settings
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent
from ppo_course.nb11_write_ppo.iteration import check_greedy, configuration
from ppo_course.probes import register_probes

EXERCISE = OwnCode("run", ("algo",))
GAMMA = 0.9
#: the critic's observation, its true value and how far a short run may be away
VALUES = {
    "ConstantReward": (1.0, 1.0, 0.15),
    "Discounting": (0.0, GAMMA, 0.15),
    "TruncatedOnly": (1.0, 1 / (1 - GAMMA), 0.8),
}
RETURNS = {"ActionDecides": 0.9, "ActionAndObservationDecide": 0.9}
ON_PROBES = Settings(
    discount_factor=GAMMA, gae=0.95, opt_epochs=5, batch_size=128, entropy_coef=0.0,
    max_grad_norm=0.5,
)  # fmt: skip
ON_CARTPOLE = Settings(
    discount_factor=0.98, gae=0.95, opt_epochs=6, batch_size=256, entropy_coef=0.0,
    max_grad_norm=0.5,
)  # fmt: skip
SOLVED, NEVER = 475, 10**6


def on_cartpole(seed: int) -> dict[str, Any]:
    """The configuration in which CartPole is learned: 37,000 steps."""
    cfg = configuration(ON_CARTPOLE, seed)
    cfg["algorithm"] |= {"n_envs": 16, "n_steps": 64, "max_epochs": 36}
    cfg["algorithm"] |= {"eval_interval": 12_000, "nb_evals": 10}
    return cfg


@torch.enable_grad()
@EXERCISE.check
def check_learning(
    ppo_class: Any, run: StudentCode, *, seed: int | None = None, cartpole: bool = True
) -> None:
    """Check that a student's `PPO(cfg)`, driven by `run(algo)`, learns.

    On probes the critic's values and the policy's returns are known; on CartPole, an evaluation of
    the greedy policy has to reach 475. Without CartPole, which tests of the notebook leave out,
    there is a single probe, too.
    """
    EXERCISE.own(ppo_class, run)
    _check_loop(ppo_class, run)
    register_probes()
    first = 0 if seed is None else seed
    for probe in (*VALUES, *RETURNS) if cartpole else ("TruncatedOnly",):
        _check_probe(ppo_class, run, probe, first)
    if not cartpole:
        return
    EXERCISE.credit(1, 2, "all probes are learned")
    algo = _trained(ppo_class, run, on_cartpole(first))
    best = float(algo.best_reward)
    told = {"seen": f"{best:.0f}, with the seed {first}", "expected": f"{SOLVED} at least"}
    EXERCISE.refuse(best < SOLVED, "not-solved", **told)


def _check_loop(ppo_class: Any, run: StudentCode) -> None:
    """Run a few iterations in which a recorder stands in for `learn`."""
    cfg = configuration(ON_PROBES, seed=5)
    cfg["algorithm"]["max_epochs"] = n_iterations = 3
    n_rows = cfg["algorithm"]["n_steps"] + 1
    events: list[tuple[str, Any]] = []

    def learn(_algo: Any, workspace: Any) -> dict[str, float]:
        events.append(("learn", workspace.time_size()))
        return {"kl": 0.1 * len(events), "entropy": 0.5}

    stands_in = lent(ppo_class, run, besides=("PPO", "run"), also={"learn": learn})
    with stands_in, _aside():
        init = getattr(ppo_class, "__init__", None)
        algo = EXERCISE.run("PPO.__init__", lambda: ppo_class(cfg), init)
        check_greedy(EXERCISE, algo)
        algo.logger = _NoLog()
        algo.logger.add_log = lambda *logged: events.append(("log", logged))
        algo.evaluate = lambda *_, **__: events.append(("evaluate", None))
        EXERCISE.call(run, algo)
        algo.close()
    kinds = [kind for kind, _ in events]
    EXERCISE.refuse("learn" not in kinds, "learn-not-called")
    rows = {value for kind, value in events if kind == "learn"}
    EXERCISE.refuse(rows != {n_rows}, "other-rows", seen=sorted(rows), expected=n_rows)
    told = {"seen": kinds.count("learn"), "expected": n_iterations}
    EXERCISE.refuse(kinds.count("learn") != n_iterations, "other-iterations", **told)
    EXERCISE.refuse("evaluate" not in kinds, "never-evaluates")
    EXERCISE.refuse(kinds.count("evaluate") != n_iterations, "evaluates-seldom")
    EXERCISE.refuse(kinds.index("evaluate") < kinds.index("learn"), "evaluates-first")
    logged = [value for kind, value in events if kind == "log"]
    names = {entry[0] for entry in logged if entry}
    EXERCISE.refuse(not {"kl", "entropy"} <= names, "not-logged", seen=", ".join(sorted(names)))
    EXERCISE.refuse(any(len(entry) != 3 for entry in logged), "logged-without-steps")
    steps = [entry[2] for entry in logged if entry[0] == "kl"]
    EXERCISE.refuse(steps != sorted(set(steps)), "logged-at-other-steps", seen=steps)


class _NoLog:
    """Takes whatever is logged; TensorBoard would begin a thread, which grading refuses."""

    def newest(self) -> dict[str, float]:
        """What a progress bar shows."""
        return {}

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _aside() -> contextlib.ExitStack:
    """A folder of its own, which is gone afterwards, and nothing on the screen."""
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    return stack


def _trained(ppo_class: Any, run: StudentCode, cfg: dict[str, Any]) -> Any:
    """A PPO after its run, without its progress bar; its files are gone afterwards."""
    with _aside():
        init = getattr(ppo_class, "__init__", None)
        algo = EXERCISE.run("PPO.__init__", lambda: ppo_class(cfg), init)
        algo.logger = _NoLog()
        try:
            EXERCISE.call(run, algo)
            if cfg["algorithm"]["eval_interval"] < NEVER:
                algo.evaluate(force=True)
        finally:
            algo.close()
    steps = cfg["algorithm"]["max_epochs"] * cfg["algorithm"]["n_steps"]
    steps *= cfg["algorithm"]["n_envs"]
    told = {"seen": algo.nb_steps, "expected": f"about {steps}"}
    EXERCISE.refuse(algo.nb_steps < 0.4 * steps, "few-steps", **told)
    return algo


def _check_probe(ppo_class: Any, run: StudentCode, probe: str, seed: int) -> None:
    cfg = configuration(ON_PROBES, seed, f"{probe}-v0")
    cfg["algorithm"] |= {"n_envs": 16, "n_steps": 16, "max_epochs": 11, "eval_interval": NEVER}
    cfg["optimizer"]["lr"] = 1e-2
    algo = _trained(ppo_class, run, cfg)
    if probe in VALUES:
        obs, truth, tolerance = VALUES[probe]
        with torch.no_grad():
            value = float(algo.critic(torch.tensor([obs])))
        far = abs(value - truth) > tolerance
        told = {"seen": f"V = {value:.3g}", "expected": f"V = {truth:.3g}"}
        EXERCISE.refuse(far, f"probe-value~{probe}", **told)
        return
    greedy = KWAgentWrapper(algo.train_policy, stochastic=False)
    report = algo.evaluate_policy(greedy, 20)
    mean = float(report.returns.mean())
    told = {"seen": f"a return of {mean:.2f}", "expected": "1"}
    EXERCISE.refuse(mean < RETURNS[probe], f"probe-return~{probe}", **told)

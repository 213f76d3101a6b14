"""What `check_gaussian_policy` runs a student's agent on: weights, observations, a workspace."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import Named
from ppo_course.mistakes import Exercise
from ppo_course.nb05_continuous.gaussians import WORDS, entropies, log_densities
from ppo_course.workspaces import RecordingWorkspace

ROW = 1  # of the three: who reads or writes another row than t is noticed
EXERCISE = Exercise("GaussianPolicy", (), WORDS)


class Case(NamedTuple):
    """One agent to be made, and the workspace it meets."""

    weights_seed: int  # of the weights and of what the agent samples
    log_std: Tensor  # `[D]`
    observations: Tensor  # `[3, N, features]`
    actions: Tensor  # `[3, N, D]`
    prefix: str  # of the variables that the agent writes

    def workspace(self, *, judged: bool = False) -> RecordingWorkspace:
        """One with the observations; where actions are to be judged, with those as well."""
        variables = {"env/env_obs": self.observations}
        if judged:
            variables["action"] = self.actions
        return RecordingWorkspace(variables)


def cases(seed: int | None) -> list[Case]:
    """Two agents with several components and different prefixes; one with a single component."""
    generator = source_of(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    drawn = []
    for n, d, features, prefix in (
        (7, 2, 3, "current_policy/"),
        (5, 3, 4, "old_policy/"),
        (6, 1, 2, "policy/"),
    ):
        if seed is not None:
            n += integer(generator, 1, 6)  # noqa: PLW2901
        # Away from 0: there a standard deviation is 1, and so is its square.
        log_std = 0.3 + 0.5 * torch.rand(d, generator=generator)
        log_std[::2] *= -1
        weights_seed = integer(generator, 0, 2**31)
        observations, actions = normal(3, n, features), normal(3, n, d)
        drawn.append(Case(weights_seed, log_std, observations, actions, prefix))
    return drawn


class AgentUnderTest:
    """A student's agent with known weights."""

    def __init__(self, policy_class: Callable[..., Any], case: Case) -> None:
        self.case = case
        features, d = case.observations.shape[-1], len(case.log_std)

        def make() -> Any:
            return policy_class(features, [8], d).with_prefix(case.prefix)

        self.policy = EXERCISE.call(_method(make, policy_class, "__init__"))
        model, log_std = (getattr(self.policy, name, None) for name in ("model", "log_std"))
        if not isinstance(model, nn.Module):
            raise EXERCISE.error("no-network")
        if not isinstance(log_std, nn.Parameter):
            raise EXERCISE.error("no-parameter")
        if list(log_std.shape) != [d]:
            expected = f"[{d}], one number for each component"
            raise EXERCISE.error("log-std-shape", seen=list(log_std.shape), expected=expected)
        # The means of a fresh network are almost 0, and mistakes with them would not be seen.
        draw_weights(self.policy.model, source_of(case.weights_seed), 0.6)
        with torch.no_grad():
            self.policy.log_std.copy_(case.log_std)

    def mean(self, observations: Tensor) -> Tensor:
        """`[..., D]`, without gradient."""
        with torch.no_grad():
            mean: Tensor = self.policy.model(observations)
        return mean

    def log_densities(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of each component, `[..., D]`; carries the gradient to the weights."""
        return log_densities(actions, self.policy.model(observations), self.policy.log_std)

    def entropies(self, observations: Tensor) -> Tensor:
        """Of each component, `[..., D]`; carries the gradient to the weights."""
        return entropies(self.policy.model(observations), self.policy.log_std)

    def dist(self, observations: Tensor) -> Any:
        """What the student's `dist` returns."""
        return EXERCISE.call(_method(self.policy.dist, type(self.policy), "dist"), observations)

    def forward(self, workspace: RecordingWorkspace, **kwargs: Any) -> None:
        """Run the agent on row `ROW`; the actions it draws are the same each time."""
        workspace.written = []

        def step() -> None:
            self.policy(workspace, t=ROW, **kwargs)

        EXERCISE.call(_method(step, type(self.policy), "forward"))


def _method(run: Callable[..., Any], policy_class: Any, method: str) -> Named:
    return Named(f"{EXERCISE.name}.{method}", run, getattr(policy_class, method, None))


def read(
    workspace: RecordingWorkspace, case: Case, variable: str, shape: list[int], told: str
) -> Tensor:
    """What the agent wrote into row t under a name, if it is there, and of this shape."""
    rows = [row for written, row in workspace.written if written == variable]
    if not rows:
        names = [f"`{written}`" for written in dict.fromkeys(n for n, _ in workspace.written)]
        bare = variable.removeprefix(case.prefix)
        EXERCISE.refuse(variable != bare and f"`{bare}`" in names, "no-prefix", variable=bare)
        known = {"action": "action-missing", "entropy": "entropy-missing"}
        also = "" if names else EXERCISE.words("forward-writes")[0]
        seen, expected = ", ".join(names) or "nothing", f"`{variable}`"
        words = {"variable": variable, "told": told, "also": also}
        raise EXERCISE.error(
            known.get(bare, "variable-missing"), seen=seen, expected=expected, **words
        )
    if rows != [ROW]:
        seen = ", ".join("all rows at once" if row is None else str(row) for row in rows)
        seen = f"t = {ROW}, written into row {seen}"
        raise EXERCISE.error("wrong-row", seen=seen, expected=f"row {ROW}", variable=variable)
    value = workspace.get(variable, ROW)
    if list(value.shape) != shape:
        components = variable != "action" and list(value.shape) == [*shape, len(case.log_std)]
        key = "each-component" if components else "variable-shape"
        raise EXERCISE.error(key, seen=list(value.shape), expected=shape, variable=variable)
    EXERCISE.refuse(not value.isfinite().all(), "not-finite", variable=variable)
    return value


def no_more_than(workspace: RecordingWorkspace, case: Case, *allowed: str, told: str) -> None:
    """Raise if the agent wrote a log-probability or an entropy that nobody asked for."""
    for name in (f"{case.prefix}logprob_predict", f"{case.prefix}entropy"):
        if name not in allowed and any(written == name for written, _ in workspace.written):
            raise EXERCISE.error("unasked", variable=name, told=told)

"""What `check_gaussian_policy` runs a student's agent on: weights, observations, a workspace."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.feedback import call, not_right
from ppo_course.nb05_continuous.gaussians import entropies, log_densities
from ppo_course.student_code import Named
from ppo_course.workspaces import RecordingWorkspace

NAME = "GaussianPolicy"
ROW = 1  # of the three: who reads or writes another row than t is noticed
DIST_METHODS = ("sample", "rsample", "log_prob", "entropy", "stddev", "mode")


class Case(NamedTuple):
    """One agent to be made, and the workspace it meets.

    Attributes:
        weights_seed: of the weights and of what the agent samples.
        log_std: `[D]`.
        observations: `[3, N, features]`.
        actions: `[3, N, D]`.
        prefix: of the variables that the agent writes.
    """

    weights_seed: int
    log_std: Tensor
    observations: Tensor
    actions: Tensor
    prefix: str

    def workspace(self, *, judged: bool = False) -> RecordingWorkspace:
        """One with the observations; where actions are to be judged, with those as well."""
        variables = {"env/env_obs": self.observations}
        if judged:
            variables["action"] = self.actions
        return RecordingWorkspace(variables)


def cases(seed: int | None) -> list[Case]:
    """Two agents with several components and different prefixes; one with a single component."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    drawn = []
    for n, d, features, prefix in (
        (7, 2, 3, "current_policy/"),
        (5, 3, 4, "old_policy/"),
        (6, 1, 2, "policy/"),
    ):
        if seed is not None:
            n += int(torch.randint(1, 6, (), generator=generator))  # noqa: PLW2901
        # Away from 0: there a standard deviation is 1, and so is its square.
        log_std = 0.3 + 0.5 * torch.rand(d, generator=generator)
        log_std[::2] *= -1
        drawn.append(
            Case(
                int(torch.randint(2**31, (), generator=generator)),
                log_std,
                normal(3, n, features),
                normal(3, n, d),
                prefix,
            )
        )
    return drawn


class AgentUnderTest:
    """A student's agent with known weights."""

    def __init__(self, policy_class: Callable[..., Any], case: Case) -> None:
        self.case = case
        features, d = case.observations.shape[-1], len(case.log_std)

        def make() -> Any:
            return policy_class(features, [8], d).with_prefix(case.prefix)

        self.policy = call(_method(make, policy_class, "__init__"), hint=_hint)
        self._check_parts(d)
        generator = torch.Generator().manual_seed(case.weights_seed)
        with torch.no_grad():
            # The means of a fresh network are almost 0, and mistakes with them would not be seen.
            for weight in self.policy.model.parameters():
                weight.copy_(0.6 * torch.randn(weight.shape, generator=generator))
            self.policy.log_std.copy_(case.log_std)

    def _check_parts(self, d: int) -> None:
        model, log_std = (getattr(self.policy, name, None) for name in ("model", "log_std"))
        keep = "keep the lines of __init__ as they were given"
        if not isinstance(model, nn.Module):
            raise not_right(NAME, "it has no network self.model", keep)
        if not isinstance(log_std, nn.Parameter):
            raise not_right(
                NAME, "self.log_std is no nn.Parameter, and so nothing would learn it", keep
            )
        if list(log_std.shape) != [d]:
            raise not_right(
                NAME,
                "self.log_std has the wrong shape",
                keep,
                f"  seen      {list(log_std.shape)}",
                f"  expected  [{d}], one number for each component",
            )

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
        ask = _method(self.policy.dist, type(self.policy), "dist")
        return call(ask, observations, hint=_hint)

    def forward(self, workspace: RecordingWorkspace, **kwargs: Any) -> None:
        """Run the agent on row `ROW`; the actions it draws are the same each time."""
        workspace.written = []

        def step() -> None:
            self.policy(workspace, t=ROW, **kwargs)

        call(_method(step, type(self.policy), "forward"), hint=_hint)


def _method(run: Callable[..., Any], policy_class: Any, method: str) -> Named:
    return Named(f"{NAME}.{method}", run, getattr(policy_class, method, None))


def _hint(error: Exception) -> str:
    text = str(error)
    if "parameter scale" in text:
        return (
            "Normal takes the mean first, then a positive standard deviation: σ is "
            "self.log_std.exp(), not self.log_std"
        )
    if isinstance(error, TypeError) and "keyword argument" in text:
        return (
            "keep the first line of forward: it is called with t, stochastic, predict_proba and "
            "compute_entropy"
        )
    if isinstance(error, KeyError) and "no variable 'action'" in text:
        # The action is missing only where the agent is to act.
        return (
            "while it acts (predict_proba=False) it reads an action that nobody has taken yet: are "
            "`if` and `else` exchanged?"
        )
    if isinstance(error, KeyError) and "in the workspace" in text:
        return 'the names are "env/env_obs" and "action", with t: self.get(("action", t))'
    if "must match the size" in text or "expand" in text:
        return "log_std is [D] and the mean [B, D]: they go together as they are"
    if isinstance(error, NameError) and "'dist'" in text:
        return "dist is a method of the class: dist = self.dist(obs), before the first `if`"
    if isinstance(error, TypeError) and "'Tensor' object is not callable" in text:
        return "a tensor has no brackets behind it: dist.mean is one, dist.sample() makes one"
    if "object has no attribute" in text and isinstance(error, AttributeError):
        return _attribute_hint(text)
    return ""


def _attribute_hint(text: str) -> str:
    """What to say about an attribute that is not there."""
    if "'probs'" in text or "'logits'" in text:
        return "a Gaussian has no probs; its most probable action is dist.mean"
    if "'function' object" in text or "'method' object" in text:
        return "brackets are missing behind a method: dist.sample(), dist.entropy()"
    if "'tuple' object has no attribute 'requires_grad'" in text:
        return 'name and row come first, then the value: self.set(("action", t), action)'
    if any(f"'Tensor' object has no attribute '{m}'" in text for m in DIST_METHODS):
        return "self.model(obs) is the mean alone; the distribution is self.dist(obs)"
    return "the class has self.model, self.log_std, self.prefix, self.get and self.set"


def read(
    workspace: RecordingWorkspace, case: Case, name: str, shape: list[int], told: str
) -> Tensor:
    """What the agent wrote into row t under a name.

    Raises:
        ExerciseError: if it is not there, in another row, or of another shape.
    """
    rows = [row for written, row in workspace.written if written == name]
    if not rows:
        names = [f"`{written}`" for written in dict.fromkeys(n for n, _ in workspace.written)]
        look = 'self.set((name, t), …) writes; with self.prefix, as in f"{self.prefix}entropy"'
        if name == "action":
            look = 'self.set(("action", t), …), without a prefix: the environment reads this name'
        bare = name.removeprefix(case.prefix)
        if bare == "entropy":
            look += "; `if compute_entropy` stands on its own, after `if` and `else`"
        if not names:
            look += "; forward writes, it does not return"
        if name != bare and f"`{bare}`" in names:
            raise not_right(NAME, f"it writes `{bare}` without its prefix", look)
        raise not_right(
            NAME,
            f"it does not write `{name}` ({told})",
            look,
            f"  seen      {', '.join(names) or 'nothing'}",
            f"  expected  `{name}`",
        )
    if rows != [ROW]:
        seen = ", ".join("all rows at once" if row is None else str(row) for row in rows)
        raise not_right(
            NAME,
            f"`{name}` is written into the wrong row",
            "forward(t) writes row t, once",
            f"  seen      t = {ROW}, written into row {seen}",
            f"  expected  row {ROW}",
        )
    value = workspace.get(name, ROW)
    if list(value.shape) != shape:
        components = name != "action" and list(value.shape) == [*shape, len(case.log_std)]
        raise not_right(
            NAME,
            f"`{name}` has a number for each component"
            if components
            else f"`{name}` has the wrong shape",
            "the components of an action are one event: Independent(…, 1), or a sum over them"
            if components
            else "B actions of D components are [B, D]; their log-probabilities and entropies [B]",
            f"  seen      {list(value.shape)}",
            f"  expected  {shape}",
        )
    if not value.isfinite().all():
        raise not_right(NAME, f"`{name}` holds inf or NaN", "σ is self.log_std.exp()")
    return value


def no_more_than(workspace: RecordingWorkspace, case: Case, *allowed: str, told: str) -> None:
    """Raise if the agent wrote a log-probability or an entropy that nobody asked for."""
    for name in (f"{case.prefix}logprob_predict", f"{case.prefix}entropy"):
        if name not in allowed and any(written == name for written, _ in workspace.written):
            raise not_right(
                NAME,
                f"it writes `{name}` unasked ({told})",
                "the log-probability belongs to predict_proba=True, the entropy to "
                "compute_entropy=True, each in the block of its own `if`",
            )

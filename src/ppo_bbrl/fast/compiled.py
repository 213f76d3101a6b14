"""The update as one compiled function: losses, gradients, clipping and optimiser.

It is fast because all weights are in one flat tensor, of which the parameters of both networks are
views, and the optimiser's moments in two more; because shapes never change, as minibatches are
padded and masked; and because values that change between calls (learning rate, clip range) are
passed as a tensor. It calls `PPOClip.losses`; there is no second copy of the losses.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl.agents.base import is_plain_critic, is_plain_policy, remembers
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.errors import one_line
from ppo_bbrl.fast.compiled_step import (
    Networks,
    bias_corrections,
    changing_coefficients,
    clipped_parts,
    make_step,
    parameter_index,
)
from ppo_bbrl.fast.flat import FlatWeights, NotFlatError
from ppo_bbrl.fast.unchanged import Unchanged
from ppo_bbrl.minibatches import Minibatch, Transitions, n_minibatches
from ppo_bbrl.overrides import checked_losses
from ppo_bbrl.system.console import say
from ppo_bbrl.update import KL_TOLERANCE, Losses, Objective, UpdateReport


class CannotCompileError(RuntimeError):
    """There is no compiled update for these agents or this optimiser; the message says why."""


class CompiledUpdate:
    """`Update` with its minibatch step compiled; same losses, same order of minibatches.

    Args:
        objective: the agents must be the package's or subclasses of these, the optimisers Adam or
            AdamW, whose moments become views of one flat tensor each.
        example: a rollout, for shapes and types.
        announcement: printed after the checks, before compiling, which takes seconds.

    Raises:
        CannotCompileError: if there is no compiled update for these agents or optimisers.
    """

    def __init__(
        self, objective: Objective, *, example: Transitions, announcement: str = ""
    ) -> None:
        learners, settings = objective.learners, objective.settings
        policy, critic = learners.policy, learners.critic
        if remembers(policy, critic):
            raise CannotCompileError(
                "agents with memory learn from sequences, which are split where episodes begin"
            )
        for agent, fits in ((policy, is_plain_policy(policy)), (critic, is_plain_critic(critic))):
            if not fits:
                raise CannotCompileError(f"{type(agent).__name__} has a forward of its own")
        self._networks = Networks(policy, critic, objective.losses)
        if type(example).minibatches is not Transitions.minibatches:
            raise CannotCompileError(f"{type(example).__name__} has minibatches of its own")
        if any(map(_has_hooks, self._networks.parameters())):
            raise CannotCompileError("parameters have hooks, which a compiled step would not run")
        # A rollout is largest if no episode ends in it; that of a custom loop may be larger.
        size = settings.n_envs * settings.n_steps
        if len(example) > size:
            size = 2 ** (len(example) - 1).bit_length()
        self._size, self._batch_size = size, min(settings.batch_size or size, size)
        self._data = {
            name: tensor.new_zeros((size, *tensor.shape[1:]))
            for name, tensor in _tensors(example).items()
        }
        self._fill(example)
        self._names, idle = _probe(self._networks, self._data, settings)
        if idle:
            raise CannotCompileError(f"{idle} takes no part in the losses")
        if "approx_kl" not in self._names:
            raise CannotCompileError("the losses give no metric approx_kl")
        try:
            self._flat = FlatWeights(*learners)
        except NotFlatError as error:
            raise CannotCompileError(str(error)) from error
        device = self._flat.weights.device
        self._index = torch.zeros(self._batch_size, dtype=torch.int64, device=device)
        self._mask = torch.zeros(self._batch_size, device=device)
        self._names += [f"grad_norm/{name}" for name in clipped_parts(self._flat, settings)]
        self._compiled_for = _constants(objective)
        how = _backend(device)
        if not _is_known(self._networks, objective.losses):
            # Let each call check whether it has to be recompiled.
            how.get("options", {}).pop("guard_filter_fn", None)
        step = make_step(self._networks, self._flat, settings, whole=self._batch_size == size)
        with _unchecked_distributions():
            self._step: Any = torch.compile(step, fullgraph=True, dynamic=False, **how)
        if announcement:
            say(announcement)
        # Compile now, with a step that changes nothing, because every KL exceeds its limit.
        ones = [1.0] * len(changing_coefficients(settings))
        nothing = torch.tensor([0.0, -torch.inf, *ones, 1.0, 1.0], device=device)
        self._run_step(nothing, torch.ones_like(self._mask))
        self._unchanged = Unchanged(self._networks)

    def fits(self, objective: Objective, transitions: Transitions) -> bool:
        """Whether everything that the compiled code takes as constant is unchanged."""
        learners = objective.learners
        return (
            self._networks.policy is learners.policy
            and self._networks.critic is learners.critic
            and self._flat.fits(*learners)
            and self._compiled_for == _constants(objective)
            and len(transitions) <= self._size
            and type(transitions).minibatches is Transitions.minibatches
            and all(
                tensor.shape[1:] == self._data[name].shape[1:]
                and tensor.dtype == self._data[name].dtype
                for name, tensor in _tensors(transitions).items()
            )
            and not any(map(_has_hooks, self._flat.parameters))
            and self._unchanged.holds()
        )

    def __call__(
        self,
        transitions: Transitions,
        objective: Objective,
        *,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Improve policy and critic on a rollout.

        Raises:
            CannotCompileError: if the step had to be recompiled, and that failed. Earlier steps
                keep their effect.
        """
        settings, count = objective.settings, len(transitions)
        if count == 0:
            return UpdateReport({}, 0, False)
        self._fill(transitions)
        limit = torch.inf if settings.target_kl is None else KL_TOLERANCE * settings.target_kl
        changing = torch.tensor(
            [
                self._flat.rate,
                limit,
                *(getattr(coefficients, name) for name in changing_coefficients(settings)),
                0.0,  # the bias corrections, set for each step below
                0.0,
            ],
            device=self._flat.weights.device,
        )
        done = self._flat.count
        n_steps = settings.opt_epochs * n_minibatches(count, self._batch_size)
        corrections = bias_corrections(self._flat.adam, done, n_steps).to(changing.device)
        history: list[Tensor] = []
        stopped_early = False
        minibatches = self._minibatches(count, objective, generator)
        try:
            for _, correction in zip(minibatches, corrections, strict=True):
                changing[-2:] = correction
                metrics = self._run_step(changing, self._mask)
                history.append(metrics)
                if settings.target_kl is not None:
                    stopped_early = bool(metrics[self._names.index("approx_kl")] > limit)
                    if stopped_early:
                        break
        finally:
            if len(history) > stopped_early:
                self._flat.count = done + len(history) - stopped_early
                self._flat.give_gradients()
        report = self._means(torch.stack(history), stopped_early)
        report["explained_variance"] = transitions.explained_variance()
        return UpdateReport(report, len(history) - stopped_early, stopped_early)

    def _fill(self, transitions: Transitions) -> None:
        n = len(transitions)
        for name, tensor in _tensors(transitions).items():
            self._data[name][:n] = tensor
            if n:  # padding like the rest: where all actions are forbidden, a loss is NaN
                self._data[name][n:] = tensor[:1]

    def _means(self, history: Tensor, stopped_early: bool) -> dict[str, Tensor]:
        """The mean of each metric over the minibatches; `history` is `[M, metrics]`."""
        metrics = dict(zip(self._names, history.mean(0).unbind(), strict=True))
        if stopped_early:  # the last minibatch has no gradient that was followed
            for column, name in enumerate(self._names):
                if name.startswith("grad_norm/"):
                    metrics[name] = history[:-1, column].mean()
                    if len(history) == 1:
                        del metrics[name]
        return metrics

    def _run_step(self, changing: Tensor, mask: Tensor) -> Tensor:
        """Make one step; a change in a custom agent's attributes may recompile it."""
        try:
            with _unchecked_distributions():
                metrics: Tensor = self._step(
                    flat=self._flat.weights,
                    kept_gradient=self._flat.gradient,
                    moment1=self._flat.moment1,
                    moment2=self._flat.moment2,
                    changing=changing,
                    index=self._index,
                    mask=mask,
                    data=_fields(self._data),
                )
        except Exception as error:  # training goes on whatever stops the compiler
            raise CannotCompileError(f"torch.compile failed: {_complaint(error)}") from error
        return metrics

    def _minibatches(
        self, count: int, objective: Objective, generator: torch.Generator
    ) -> Iterator[None]:
        """Set index and mask for each minibatch, in the order of `Transitions.minibatches`."""
        n_batches = n_minibatches(count, self._batch_size)
        if n_batches == 1:
            self._select(torch.arange(count))
        for epoch in range(objective.settings.opt_epochs):
            if epoch and objective.recompute is not None:
                self._fill(objective.recompute())
            if n_batches == 1:
                yield
                continue
            shuffled = torch.randperm(count, generator=generator)
            for part in shuffled.tensor_split(n_batches):
                self._select(part)
                yield

    def _select(self, part: Tensor) -> None:
        """Make these transitions the minibatch; the mask hides the padding after them."""
        self._index[: len(part)] = part
        self._index[len(part) :] = 0
        self._mask[: len(part)] = 1
        self._mask[len(part) :] = 0


def _tensors(transitions: Transitions) -> dict[str, Tensor]:
    """All tensors of a rollout by name, `[N, …]` each; the workspace variables come last."""
    return {
        "log_prob": transitions.log_prob,
        "value": transitions.value,
        "advantage": transitions.advantage,
        "returns": transitions.returns,
        **transitions.variables,
    }


def _fields(data: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of a `Minibatch`, from the result of `_tensors`."""
    own = ("log_prob", "value", "advantage", "returns")
    variables = {name: tensor for name, tensor in data.items() if name not in own}
    return {"variables": variables, **{name: data[name] for name in own}}


def _constants(objective: Objective) -> tuple[object, ...]:
    """Everything except weights that is constant in a compiled step."""
    settings = objective.settings
    return (
        objective.losses,
        settings.policy_coef,
        settings.critic_coef,
        settings.dual_clip,
        *changing_coefficients(settings),
        settings.max_grad_norm,
        settings.global_grad_norm,
        settings.normalize_advantage,
        settings.batch_size,
    )


def _has_hooks(parameter: nn.Parameter) -> bool:
    return bool(parameter._backward_hooks)


def _probe(
    networks: Networks, data: dict[str, Tensor], settings: AlgorithmConfig
) -> tuple[list[str], str]:
    """The names of the metrics, and of a parameter without a gradient, if there is one.

    Torch's optimisers skip such a parameter; in the flat gradient it would be 0.
    """
    # Use copies, so that normalisation statistics and random streams stay as they are.
    tensors = {name: one.detach().clone() for name, one in networks.named_buffers()}
    copies = [
        one.detach().clone().requires_grad_(one.requires_grad) for one in networks.parameters()
    ]
    weights = {name: copies[index] for name, index in parameter_index(networks).items()}
    given = dict.fromkeys(changing_coefficients(settings), 1.0)
    coefficients: dict[str, Any] = {"clip_range": None, "clip_range_vf": 0.0} | given
    minibatch = Minibatch(**_fields(data), **coefficients)
    with torch.random.fork_rng():
        given = torch.func.functional_call(
            networks, weights | tensors, (minibatch,), tie_weights=False
        )
    learns = any(one.requires_grad for one in copies)
    losses, metrics = checked_losses(given, learns=learns)
    names = [name for name, _ in networks.named_parameters()]
    learning = {name: one for name, one in zip(names, copies, strict=True) if one.requires_grad}
    idle = ""
    if learning:
        total: Any = sum(losses.values())
        gradients: Iterable[Tensor | None] = torch.autograd.grad(
            total, list(learning.values()), allow_unused=True
        )
        without = [name for name, one in zip(learning, gradients, strict=True) if one is None]
        idle = without[0] if without else ""
    return list(metrics), idle


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Distributions check no arguments in the `with` block, since their checks cannot be compiled.

    Torch turns the checks off for good when a process compiles for the first time.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _is_known(networks: Networks, losses: Losses) -> bool:
    """Whether all modules and losses are ours or torch's, which read what `Unchanged` compares."""
    modules = [type(module).__module__ for module in networks.modules()]
    modules.append(getattr(losses, "__module__", ""))
    return all(name.startswith(("ppo_bbrl.", "torch.nn.")) for name in modules)


def _complaint(error: Exception) -> str:
    """What a C++ compiler objects to, without the command that called it, or the whole message."""
    found = re.search(r"C\+\+ compile error.*?\berror: ([^\n]*)", str(error), re.DOTALL)
    return one_line(f"C++ compile error: {found[1]}" if found else error, 200)


def _backend(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"mode": "reduce-overhead"}  # CUDA graphs
    options: dict[str, Any] = {"cpp_wrapper": True}  # runs no Python between kernels
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    return {"options": options}

"""The update as one compiled function: losses, gradients, clipping and optimiser.

What makes it fast: all weights lie in one flat tensor, of which the parameters of both networks
are views, and so do the optimiser's moments; shapes never change, as minibatches are padded and
masked; what changes between calls (learning rate, clip range) comes as a tensor. The losses are
those of `update.py`; there is no second copy of them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.agents import copy_agent, estimates_tensors, judges_tensors
from ppo_bbrl.compiled_step import Pair, bias_corrections, make_step
from ppo_bbrl.console import say
from ppo_bbrl.errors import one_line
from ppo_bbrl.flat import FlatWeights, NotFlatError
from ppo_bbrl.learners import Learners
from ppo_bbrl.losses import explained_variance
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.update import KL_TOLERANCE, UpdateReport, loss_weights, minibatch_losses


class CannotCompileError(RuntimeError):
    """These agents or this optimiser have no compiled update; the message says why."""


class CompiledUpdate:
    """`update` with its minibatch step compiled; same losses, same order of minibatches.

    Args:
        learners: policies of the package or subclasses, critics likewise; Adam or AdamW, whose
            moments become views of one flat tensor.
        settings: the `algorithm` section of the configuration.
        example: a rollout, for shapes and types.
        announcement: printed when all is checked, before the seconds that compiling takes.

    Raises:
        CannotCompileError: if there is no compiled update for these agents or optimisers.
    """

    def __init__(
        self, learners: Learners, settings: Any, *, example: Rollout, announcement: str = ""
    ) -> None:
        policy, critic = learners.policy, learners.critic
        for agent, fits in ((policy, judges_tensors(policy)), (critic, estimates_tensors(critic))):
            if not fits:
                raise CannotCompileError(f"{type(agent).__name__} has a forward of its own")
        self._pair = Pair(policy, critic)
        if any(map(_has_hooks, self._pair.parameters())):
            raise CannotCompileError("parameters have hooks, which a compiled step would not run")
        # Rollouts without an end of an episode are the largest; another loop's may be larger.
        size = settings.n_envs * settings.n_steps
        if len(example) > size:
            size = 2 ** (len(example) - 1).bit_length()
        self._size, self._batch_size = size, min(settings.batch_size or size, size)
        self._data = {
            name: tensor.new_zeros((size, *tensor.shape[1:]))
            for name, tensor in _tensors(example).items()
        }
        self._fill(example)
        self._names, idle = _probe(self._pair, self._data)
        if idle:
            raise CannotCompileError(f"{idle} takes no part in the losses")
        try:
            self._flat = FlatWeights(*learners)
        except NotFlatError as error:
            raise CannotCompileError(str(error)) from error
        device = self._flat.weights.device
        self._index = torch.zeros(self._batch_size, dtype=torch.int64, device=device)
        self._mask = torch.zeros(self._batch_size, device=device)
        self._names += [f"grad_norm/{name}" for name in self._flat.parts]
        self._compiled_for = _constants(settings)
        how = _backend(device)
        if not _is_known(self._pair):  # each call is to look whether it must be compiled anew
            how.get("options", {}).pop("guard_filter_fn", None)
        self._step: Any = torch.compile(
            make_step(
                self._pair,
                self._flat,
                settings,
                whole=self._batch_size == size,
            ),
            fullgraph=True,
            dynamic=False,
            **how,
        )
        if announcement:
            say(announcement)
        # Compile now, by a step that changes nothing: its limit of the KL is below every KL.
        nothing = torch.tensor([0.0, 1.0, 1.0, -torch.inf, 1.0, 1.0], device=device)
        self._run_step(nothing, torch.ones_like(self._mask))
        self._modules = _attributes(self._pair)

    def fits(self, learners: Learners, settings: Any, rollout: Rollout) -> bool:
        """Whether nothing that was compiled in has changed since."""
        return (
            self._pair.policy is learners.policy
            and self._pair.critic is learners.critic
            and self._flat.fits(*learners)
            and self._compiled_for == _constants(settings)
            and len(rollout) <= self._size
            and all(
                tensor.shape[1:] == self._data[name].shape[1:]
                and tensor.dtype == self._data[name].dtype
                for name, tensor in _tensors(rollout).items()
            )
            and not any(map(_has_hooks, self._flat.parameters))
            and self._modules == _attributes(self._pair)
        )

    def __call__(
        self,
        rollout: Rollout,
        learners: Learners,
        settings: Any,
        *,
        clip_factor: float,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Improve policy and critic on a rollout.

        Raises:
            CannotCompileError: if the step had to be compiled anew, and could not be. Those that
                have been made stay.
        """
        count = len(rollout)
        if count == 0:
            return UpdateReport({}, 0, False)
        self._fill(rollout)
        limit = torch.inf if settings.target_kl is None else KL_TOLERANCE * settings.target_kl
        changing = torch.tensor(
            [
                self._flat.rate,
                settings.clip_range * clip_factor,
                settings.clip_range_vf * clip_factor,
                limit,
                0.0,  # of each step, below
                0.0,
            ],
            device=self._flat.weights.device,
        )
        done = self._flat.count
        n_steps = settings.opt_epochs * self._n_batches(count)
        corrections = bias_corrections(self._flat.adam, done, n_steps).to(changing.device)
        history: list[Tensor] = []
        stopped_early = False
        minibatches = self._minibatches(count, settings.opt_epochs, generator)
        try:
            for _, correction in zip(minibatches, corrections, strict=True):
                changing[-2:] = correction
                facts = self._run_step(changing, self._mask)
                history.append(facts)
                if settings.target_kl is not None:
                    stopped_early = bool(facts[self._names.index("approx_kl")] > limit)
                    if stopped_early:
                        break
        finally:
            if len(history) > stopped_early:
                self._flat.count = done + len(history) - stopped_early
                self._flat.give_gradients()
        metrics = self._means(torch.stack(history), stopped_early)
        metrics["explained_variance"] = explained_variance(
            value=rollout.value, target=rollout.target
        )
        return UpdateReport(metrics, len(history) - stopped_early, stopped_early)

    def _fill(self, rollout: Rollout) -> None:
        for name, tensor in _tensors(rollout).items():
            self._data[name][: len(rollout)] = tensor

    def _means(self, facts: Tensor, stopped_early: bool) -> dict[str, Tensor]:
        """The mean of each metric over the minibatches that it describes; facts: `[M, metrics]`."""
        metrics = dict(zip(self._names, facts.mean(0).unbind(), strict=True))
        if stopped_early:  # the last minibatch has no gradient that was followed
            for column, name in enumerate(self._names):
                if name.startswith("grad_norm/"):
                    metrics[name] = facts[:-1, column].mean()
                    if len(facts) == 1:
                        del metrics[name]
        return metrics

    def _run_step(self, changing: Tensor, mask: Tensor) -> Tensor:
        """One step; with agents of one's own it may be compiled anew, for other attributes."""
        try:
            facts: Tensor = self._step(
                flat=self._flat.weights,
                kept_gradient=self._flat.gradient,
                moment1=self._flat.moment1,
                moment2=self._flat.moment2,
                changing=changing,
                index=self._index,
                mask=mask,
                data=self._data,
            )
        except Exception as error:  # whatever stops the compiler, training goes on
            raise CannotCompileError(f"torch.compile failed: {one_line(error, 200)}") from error
        return facts

    def _minibatches(self, count: int, epochs: int, generator: torch.Generator) -> Iterator[None]:
        """Set index and mask to each minibatch; in the order of `Rollout.minibatches`."""
        n_batches = self._n_batches(count)
        if n_batches == 1:
            self._select(torch.arange(count))
        for _ in range(epochs):
            if n_batches == 1:
                yield
                continue
            shuffled = torch.randperm(count, generator=generator)
            for part in shuffled.tensor_split(n_batches):
                self._select(part)
                yield

    def _n_batches(self, count: int) -> int:
        n_batches: int = -(-count // self._batch_size)
        return n_batches

    def _select(self, part: Tensor) -> None:
        """Make these transitions the minibatch; the rest of it is padding that the mask hides."""
        self._index[: len(part)] = part
        self._index[len(part) :] = 0
        self._mask[: len(part)] = 1
        self._mask[len(part) :] = 0


def _tensors(rollout: Rollout) -> dict[str, Tensor]:
    """What the step reads of a rollout, `[N, …]` each."""
    return {
        "obs": rollout.variables["env/env_obs"],
        "action": rollout.variables["action"],
        "old_log_prob": rollout.log_prob,
        "old_value": rollout.value,
        "advantage": rollout.advantage,
        "target": rollout.target,
    }


def _constants(settings: Any) -> tuple[object, ...]:
    """The settings that are constants of a compiled step."""
    return (
        loss_weights(settings),
        settings.clip_range_vf > 0,
        settings.max_grad_norm,
        settings.normalize_advantage,
        settings.batch_size,
    )


def _attributes(module: nn.Module) -> list[object]:
    """What a compiled step may have taken for constants: modes, plain attributes, hooks."""
    return [
        (
            id(inner),
            type(inner),
            [
                (name, len(value) if isinstance(value, dict) else value)
                for name, value in vars(inner).items()
                if isinstance(value, bool | int | float | str | dict)
            ],
        )
        for inner in module.modules()
    ]


def _has_hooks(parameter: nn.Parameter) -> bool:
    return bool(parameter._backward_hooks)


def _probe(pair: Pair, data: dict[str, Tensor]) -> tuple[list[str], str]:
    """The names of the metrics, and of a parameter that has no gradient, if there is one.

    Torch's optimisers pass over such a parameter; in the flat gradient it would have a 0.
    """
    copied = copy_agent(pair)  # statistics of normalisation and random streams stay as they are
    data = dict(data)
    with torch.random.fork_rng():
        log_prob, entropy, value = copied(data.pop("obs"), data.pop("action"))
    losses, facts = minibatch_losses(
        log_prob=log_prob,
        entropy=entropy,
        value=value,
        **data,
        clip_range=1.0,
        clip_range_vf=0.0,
        critic_coef=1.0,
        normalize_advantage=False,
    )
    learning = {name: one for name, one in copied.named_parameters() if one.requires_grad}
    idle = ""
    if learning:
        total: Any = sum(losses)
        gradients: Iterable[Tensor | None] = torch.autograd.grad(
            total, list(learning.values()), allow_unused=True
        )
        without = [name for name, one in zip(learning, gradients, strict=True) if one is None]
        idle = without[0] if without else ""
    return list(facts), idle


def _is_known(pair: Pair) -> bool:
    """Whether all modules are the package's and torch's, which read nothing but `_attributes`."""
    modules = [type(module).__module__ for module in pair.modules()]
    return all(name.startswith(("ppo_bbrl.", "torch.nn.")) for name in modules)


def _backend(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"mode": "reduce-overhead"}  # CUDA graphs
    options: dict[str, Any] = {"cpp_wrapper": True}  # no Python between the kernels
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    return {"options": options}

"""The numbers of the losses that change from update to update: by schedules, or by the KL."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.errors import ConfigError, UserError, shown
from ppo_bbrl.schedules import SCHEDULES, Schedule, constant

SCHEDULED = ("learning_rate", "clip_range", "entropy")  # algorithm.…_schedule

_BETA_TOLERANCE = 1.5  # Schulman et al. (2017), section 4: β is doubled or halved beyond it
_BETAS = (1e-9, 1e9)  # no further, where a target is out of reach: a loss must stay finite
_RATE_FACTOR, _RATE_TOLERANCE = 1.5, 2.0  # as in RSL-RL
_RATES = (1e-5, 1e-2)  # likewise: the measured KL moves a learning rate no further


@dataclass(frozen=True)
class Coefficients:
    """The coefficients of one update; tensors in a compiled step.

    Attributes:
        clip_range: ε of the policy; None: no clipping.
        clip_range_vf: ε of the critic; the number 0: no clipping.
        clip_range_high: ε of the policy's upper bound; None: `clip_range`.
        entropy_coef: weight of the entropy bonus; None: as in the configuration.
        kl_coef: weight β of the KL penalty; None: no penalty.
        value_scale: the standard deviation by which the critic's errors are divided; None: 1.
    """

    clip_range: float | Tensor | None
    clip_range_vf: float | Tensor = 0.0
    clip_range_high: float | Tensor | None = None
    entropy_coef: float | Tensor | None = None
    kl_coef: float | Tensor | None = None
    value_scale: float | Tensor | None = None


def coefficients(
    settings: AlgorithmConfig,
    factors: Mapping[str, float],
    *,
    kl_coef: float | None,
    value_scale: float | None,
) -> Coefficients:
    """The coefficients of an update.

    Args:
        settings: their initial values.
        factors: from the schedules, by the names in `SCHEDULED`.
        kl_coef: β.
        value_scale: of normalised values.
    """
    factor, high = factors["clip_range"], settings.clip_range_high
    clip_range_vf = settings.clip_range_vf * factor
    if settings.clip_range_vf > 0:  # a schedule may give 0: no change, and not: no clipping
        clip_range_vf = max(clip_range_vf, sys.float_info.min)
    return Coefficients(
        clip_range=None if settings.clip_range is None else settings.clip_range * factor,
        clip_range_vf=clip_range_vf,
        clip_range_high=None if high is None else high * factor,
        entropy_coef=settings.entropy_coef * factors["entropy"],
        kl_coef=kl_coef,
        value_scale=value_scale,
    )


def logged(now: Coefficients, settings: AlgorithmConfig) -> dict[str, Tensor]:
    """What is logged of the coefficients of an update: those that are in use."""
    metrics = {"clip_range": now.clip_range, "kl_penalty": now.kl_coef}
    if settings.entropy_coef > 0:
        metrics["entropy_coef"] = now.entropy_coef
    return {name: torch.as_tensor(one) for name, one in metrics.items() if one is not None}


def measures_kl(settings: AlgorithmConfig) -> bool:
    """Whether the KL divergence of an update is to move anything."""
    return settings.kl_penalty is not None or settings.learning_rate_schedule == "adaptive_kl"


def check_schedules(schedules: Any) -> dict[str, Schedule]:
    """The schedules that a program gives, by the names in `SCHEDULED`.

    Raises:
        ConfigError: for another name, or for what cannot be called.
    """
    if not isinstance(schedules, Mapping):
        allowed = ", ".join(SCHEDULED)
        raise ConfigError(
            f"schedules = {shown(schedules)}: must be a dict of functions by the names {allowed}"
        )
    for name, schedule in schedules.items():
        if name not in SCHEDULED:
            allowed = ", ".join(SCHEDULED)
            raise ConfigError(f"schedules[{shown(name)}]: must be one of {allowed}")
        if not callable(schedule):
            raise ConfigError(
                f"schedules[{name!r}] = {shown(schedule)}: must be a function of the remaining "
                "progress, which falls from 1 to 0"
            )
    return dict(schedules)


def without_replaced(
    settings: AlgorithmConfig, schedules: Mapping[str, Schedule]
) -> AlgorithmConfig:
    """The settings, in which the measured KL moves no learning rate that a program schedules."""
    if "learning_rate" in schedules:
        return replace(settings, learning_rate_schedule="constant")
    return settings


def factors_at(
    remaining: float, settings: AlgorithmConfig, own: Mapping[str, Schedule]
) -> dict[str, float]:
    """The factor of each schedule, where `remaining` of the run, in [0, 1], is still to come.

    Args:
        remaining: falls from 1 to 0.
        settings: name the schedules.
        own: schedules of a program, which win.

    Raises:
        UserError: if one of these gives anything but a number ≥ 0.
    """
    factors = {}
    for name in SCHEDULED:
        if name not in own:
            # The measured KL is a factor of its own.
            schedule = SCHEDULES.get(getattr(settings, f"{name}_schedule"), constant)
            factors[name] = schedule(remaining)
            continue
        value: Any = own[name](remaining)
        try:
            factors[name] = float(value)
        except (TypeError, ValueError):
            factors[name] = -1.0
        if not 0 <= factors[name] < float("inf"):
            raise UserError(
                f"schedules[{name!r}]({remaining:g}) = {shown(value)}: must be a number ≥ 0"
            )
    return factors


class KLControl:
    """What the measured KL divergence moves after each update: β, and a factor of the rates.

    Sources: β as in Schulman et al., "Proximal Policy Optimization Algorithms" (2017), section 4.
    The learning rate as in RSL-RL (Rudin et al., 2022), but once for each update, by the
    divergence over the whole rollout, where RSL-RL does it before each minibatch.

    Attributes:
        kl_coef: β, now; None without a penalty.
        rate_factor: of the learning rates, now.
    """

    def __init__(self, kl_coef: float | None) -> None:
        self.kl_coef = kl_coef
        self.rate_factor = 1.0

    def follow(self, kl: float, settings: AlgorithmConfig, rate: float) -> None:
        """Move both by what an update has done.

        Args:
            kl: KL(old ‖ new) after the update, in nats; if it is no number, nothing moves.
            settings: whether they are to move, and their target.
            rate: the learning rate of the update.
        """
        target = settings.kl_target
        if self.kl_coef is not None:
            low, high = _BETAS
            if kl > target * _BETA_TOLERANCE:
                self.kl_coef = min(2 * self.kl_coef, max(high, self.kl_coef))
            elif kl < target / _BETA_TOLERANCE:
                self.kl_coef = max(self.kl_coef / 2, min(low, self.kl_coef))
        if settings.learning_rate_schedule == "adaptive_kl" and rate > 0:
            low, high = _RATES
            if kl > target * _RATE_TOLERANCE:
                self.rate_factor *= max(1 / _RATE_FACTOR, min(low / rate, 1.0))
            elif kl < target / _RATE_TOLERANCE:
                self.rate_factor *= min(_RATE_FACTOR, max(high / rate, 1.0))

"""What surrounds the episodes: spaces, copies, processes, pictures, closing, Gymnasium's rules."""

import pickle
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.wrappers import Autoreset

from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.checking.task import Env, place_of
from ppo_bbrl.envs.actions import leaves
from ppo_bbrl.envs.faults import name_of, reason
from ppo_bbrl.envs.masks import AUTO, KEY, sizes_of
from ppo_bbrl.envs.spaces import check_supported
from ppo_bbrl.envs.workers import WorkerVectorEnv
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError, one_line
from ppo_bbrl.runs.video import NoPicturesError, frames_per_second, no_screen, render_frame

_FAR_FROM_ONE = 10.0
_FRAME = re.compile(r"\x1b\[[0-9;]*m(WARN: )?")  # Gymnasium puts this around its warnings
# Its advice that is not about PPO, or is given by the checks of ours.
_NOT_SAID = (
    "This is probably too low", "This is probably too high", "recommend using a symmetric",
    "different from the unwrapped", "not having a spec", "Casting input x", "pkg_resources",
    "No render fps", "is out of date",
)  # fmt: skip
# What its messages are about, and the topics of ours that say the same.
_SAME = (
    # "… returned by `env.reset(seed=123)` …": not about the seed.
    (r"within the observation space", ("observation", "spaces", "observation buffer")),
    (r"seed|random|determinis", ("seed",)),
    (r"dictionary|`info`", ("info",)),
    (r"share an object", ("observation buffer",)),
    (r"obs|observation", ("observation", "spaces", "observation buffer")),
    (r"reward", ("reward",)),
    (r"terminat", ("terminated",)),
    (r"truncat", ("truncated",)),
    (r"reset", ("reset",)),
    (r"step", ("step",)),
    (r"space", ("spaces",)),
)


def check_spaces(env: Env, report: CheckReport, action_mask: str) -> bool:
    """Report spaces that no policy takes; return whether the environment can be played."""
    for role in ("observation_space", "action_space"):
        if not isinstance(getattr(env, role, None), gym.Space):
            remedy = f"set self.{role} in __init__, from gymnasium.spaces"
            report.fault("spaces", f"it has no {role}", remedy)
            return False
    observed, acts = env.observation_space, env.action_space
    try:
        check_supported("it", observed, acts)
    except ConfigError as error:
        problem = str(error).removeprefix("it: ")
        report.fault("spaces", problem, "declare one of these, or wrap it")
        return False
    for role, space in (("observation", observed), ("action", acts)):
        for part in leaves(space):
            if isinstance(part, Box) and (part.low > part.high).any():
                report.fault(
                    "spaces", f"a bound of its {role} space is below the other", "swap them"
                )
                return False
    for part in leaves(acts):
        if isinstance(part, Box):
            _check_bounds(part, report)
    if isinstance(acts, Discrete) and acts.n == 1:
        report.fault("spaces", "there is one action: nothing to learn", "correct action_space")
    total, parts = sum(sizes_of(acts)), observed.spaces if isinstance(observed, Dict) else {}
    if action_mask == AUTO and KEY in parts and total and len(parts) > 1:
        report.fault(
            "action mask",
            f"the observation's action_mask, {one_line(parts[KEY])}, has not one number for each "
            f"of {total} actions, and is an observation like others",
            "correct its space",
        )
    return True


def _check_bounds(space: Box, report: CheckReport) -> None:
    bounds = np.abs(np.concatenate([space.low.ravel(), space.high.ravel()]))
    if not np.isfinite(bounds).all():
        report.note("action bounds", "its actions have none: what the policy samples is executed")
        return
    largest = float(bounds.max(initial=1.0 if not bounds.size else 0.0))
    if (space.low == space.high).any():
        report.fault("action bounds", "some are equal: such actions do nothing", "remove them")
    elif not 1 / _FAR_FROM_ONE <= largest <= _FAR_FROM_ONE:
        report.note(
            "action bounds",
            f"actions up to {largest:.4g}; a Gaussian policy begins with deviation 1",
            'gym_env.wrappers=["RescaleAction"], or algorithm.squash_actions=true',
        )


def check_wrappers(env: Env, report: CheckReport) -> None:
    """Report a wrapper that resets by itself."""
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, Autoreset):
            text = "the wrapper Autoreset resets it, and so does the run"
            report.fault("autoreset", text, "leave the wrapper out")
        layer = layer.env


def check_copies(env: Env, report: CheckReport) -> None:
    """Report what cannot be pickled."""
    base: Any = env.unwrapped
    try:
        pickle.dumps(base)
    except Exception as error:  # noqa: BLE001 - anything may be raised in there
        found = [name for name, value in vars(base).items() if not _picklable(name, value)]
        # A class of a notebook or a function is no fault.
        if not found and ("local" in str(error) or "not the same object" in str(error)):
            return
        which = (
            f"its attribute {found[0]} ({type(vars(base)[found[0]]).__name__})" if found else "it"
        )
        report.fault(
            "pickle",
            f"{which} cannot be pickled, to be copied or sent to another process: "
            f"{one_line(error, 120)}",
            "make it when it is needed, or leave it out in __getstate__",
        )


def _picklable(name: str, value: Any) -> bool:
    if name in ("spec", "_cached_spec", "reset"):  # reset: the one that is watched
        return True
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - the attribute is the environment's, and may do anything
        return False
    return True


def check_processes(make: Callable[[], Env], report: CheckReport) -> None:
    """Report what fails when two processes run one environment each, as with async."""
    try:
        envs = WorkerVectorEnv([make, make], 2)
        try:
            envs.reset(seed=[0, 1])
        finally:
            envs.close()
    except EnvironmentFailedError as error:
        report.fault(
            "processes", f"fails in a process of its own: {error}", "gym_env.vectorization=sync"
        )


def check_pictures(make: Callable[..., Env], report: CheckReport) -> None:
    """Report what is in the way of a video."""
    with no_screen():
        env = make()
        modes = (env.metadata or {}).get("render_modes") or ()
        _quietly_close(env)
        if "rgb_array" not in modes:
            text = "rgb_array is not in metadata['render_modes']: no videos"
            report.note("render", text, "training does not need them")
            return
        name = name_of(env)
        try:
            env = make(render_mode="rgb_array")
        except Exception as error:  # noqa: BLE001 - anything may be raised in there
            report.fault(
                "render", f"render_mode='rgb_array': {reason(error)}", "take it in __init__"
            )
            return
        try:
            frames_per_second(env.metadata, name)
            env.reset(seed=0)
            render_frame(env, name)
        except NoPicturesError as error:
            problem = str(error).removeprefix(f"{name} ")
            report.fault("render", problem, "videos need it; training does not")
        except Exception as error:  # noqa: BLE001 - anything may be raised in there
            report.fault("render", f"with render_mode='rgb_array': {reason(error)}", "")
        finally:
            _quietly_close(env)


def check_closing(make: Callable[[], Env], report: CheckReport) -> None:
    """Report an environment that cannot be closed, or not twice."""
    env = make()
    for when in ("", "the second time: "):
        try:
            env.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may be raised in there
            report.fault("close", f"{when}{reason(error)}", "close() may come at any time, twice")
            return


def check_rules(make: Callable[[], Env], report: CheckReport, *, masked: bool = False) -> None:
    """Run Gymnasium's own checker; what was found before is not repeated.

    Args:
        make: makes an environment.
        report: for the findings.
        masked: whether it has masks, which the checker does not read: its actions may be refused.
    """
    env = make()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        error = _error_of_rules(env.unwrapped)
        # What we wrap, such as tasks that take a number for an action, is right when wrapped.
        if error is not None and not isinstance(error, AssertionError):
            error = _error_of_rules(env) and error
    _quietly_close(env)
    for warning in seen:
        problem = one_line(_FRAME.sub("", str(warning.message)))
        if issubclass(warning.category, UserWarning) and not any(no in problem for no in _NOT_SAID):
            _add(report, problem, fault=False)
    if error is None:
        return
    place = place_of(error)  # none where the checker itself raised it
    if not place and isinstance(error, AssertionError):
        _add(report, one_line(error), fault=True)
    elif not (place and masked):
        _add(report, f"{reason(error)}{place}", fault=True)


def _error_of_rules(env: Env) -> BaseException | None:
    try:
        gymnasium_check(env, skip_render_check=True, skip_close_check=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may be raised in there
        return error
    return None


def _add(report: CheckReport, problem: str, *, fault: bool) -> None:
    topics: Sequence[str] = next((own for word, own in _SAME if re.search(word, problem)), ())
    if report.about(*topics):
        return
    add = report.fault if fault else report.note
    add("gymnasium", problem)


def _quietly_close(env: Env) -> None:
    with suppress(Exception):
        env.close()

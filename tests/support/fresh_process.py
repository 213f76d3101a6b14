"""What a process finds out by itself: saved policies, trained weights, memory and files in use.

Started as `python fresh_process.py FOLDER TASK …`; prints what came of each task as JSON. Tests
compare it with what they find themselves.
"""

import gc
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict, Tuple
from probe_envs import config
from space_envs import ACTIONS, OBSERVATIONS, space_config

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs.actions import action_converter
from ppo_bbrl.runs.best_policy import save_policy
from ppo_bbrl.runs.given_observation import as_batch
from ppo_bbrl.runs.stepwise import Stepwise

# ------------------------------------------------------------------------- saved and loaded

#: by name, what else there may be in a policy of the package, with the action space it is for
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    "lstm": ({"architecture": {"memory": "lstm"}}, "discrete"),
    "gru, shared": ({"architecture": {"memory": "gru", "shared_memory": True}}, "box"),
    "shared trunk": ({"architecture": {"shared_trunk": True}}, "tuple"),
    "tanh": ({"architecture": {"activation": "tanh"}}, "multi_discrete"),
    "normalised": ({"normalize_observation": True, "clip_observation": 2.0}, "box"),
    "squashed": ({"squash_actions": True}, "box"),
    "gSDE": ({"use_sde": True}, "box"),
    "dependent deviation": ({"architecture": {"state_dependent_std": True}}, "box"),
    "value normalised": ({"normalize_value": True}, "discrete"),
    "curious": ({"curiosity": "rnd"}, "discrete"),
}
#: few kinds, in which each space and each variant is once
FEW = [
    *((seen, act, "") for seen, act in zip(
        OBSERVATIONS, [*ACTIONS, *ACTIONS, *ACTIONS], strict=False
    )),
    *(("vector", act, name) for name, (_, act) in VARIANTS.items()),
]  # fmt: skip
ALL = [
    *((seen, act, "") for seen in OBSERVATIONS for act in ACTIONS),
    *(
        (seen, act, name)
        for seen in ("dict", "image")
        for name, (_, act) in VARIANTS.items()
        if (seen, name) != ("image", "normalised")  # which is refused: nothing to normalise
    ),
    *FEW,
]


def save_kinds(folder: Path, kinds: Iterable[tuple[str, str, str]], n: int) -> dict[str, str]:
    """Save a policy of each kind; return what each does, by name."""
    done = {}
    for number, (seen, act, variant) in enumerate(kinds):
        extra = VARIANTS[variant][0] if variant else {}
        algo = PPOClip(space_config(seen, act, max_epochs=1, **extra))
        policy: Any = algo.train_policy
        if extra.get("normalize_observation"):
            run(algo)  # its statistics move
        chance = torch.Generator().manual_seed(number)
        for weight in policy.parameters():
            weight.data += 0.3 * torch.randn(weight.shape, generator=chance)
        policy.eval()
        space, acts = algo.train_env.observation_space, algo.train_env.action_space
        save_policy(folder / str(number), policy, algo.cfg, 0.0, 0, env=algo.train_env)
        stepwise = Stepwise(policy).act if policy.has_memory else policy.act

        def predict(batch: Any, space: Any = space, acts: Any = acts, do: Any = stepwise) -> Any:
            rows, many, _ = as_batch(space, batch)
            with torch.no_grad():
                return action_converter(acts, many)(do(rows, stochastic=False))

        done[f"{number} {seen} {act} {variant}"] = digest(predict, space, n)
        algo.close()
    return done


def load_kinds(folder: Path, names: Iterable[str], n: int) -> dict[str, str]:
    """What the saved policies do, by name."""
    loaded = {name: ppo_bbrl.load(folder / name.partition(" ")[0]) for name in names}
    return {
        name: digest(policy.predict, policy.observation_space, n) for name, policy in loaded.items()
    }


def digest(predict: Callable[[Any], Any], space: Any, n: int) -> str:
    """A checksum of the actions for n observations, in batches of 100."""
    space.seed(5)
    found = sha256()
    for _ in range(n // 100):
        rows = [space.sample() for _ in range(100)]
        for part in _parts(predict(_stacked(space, rows))):
            found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _stacked(space: Any, rows: list[Any]) -> Any:
    if isinstance(space, Dict):
        return {key: _stacked(one, [row[key] for row in rows]) for key, one in space.items()}
    if isinstance(space, Tuple):
        return tuple(_stacked(one, [row[i] for row in rows]) for i, one in enumerate(space))
    return np.stack([np.asarray(row) for row in rows])


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [part for key in sorted(value) for part in _parts(value[key])]
    return [part for one in value for part in _parts(one)] if isinstance(value, tuple) else [value]


# ------------------------------------------------------------------------------- determinism

TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "discrete": ("CartPole-v1", {}, {}),
    "continuous": ("Pendulum-v1", {}, {}),
    "recurrent": ("CartPole-v1", {"architecture": {"memory": "lstm", "memory_size": 8}}, {}),
    "async": ("Acrobot-v1", {}, {"vectorization": "async"}),
}


def train_tasks(seeds: Iterable[int], *, beside: bool) -> dict[str, str]:
    """A checksum of weights and metrics by task and seed; `beside`: while a thread is busy."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.wait(1e-4):
            np.random.rand(10).sum()  # noqa: NPY002 - the stream that all share
            torch.rand(10)

    other = threading.Thread(target=busy)
    if beside:
        other.start()
    done = {}
    try:
        tasks = [(name, seed) for name in TASKS for seed in seeds]
        for name, seed in reversed(tasks) if beside else tasks:
            env_name, algorithm, gym_env = TASKS[name]
            cfg = config(env_name, seed=seed, eval_interval=60, **algorithm)
            cfg["gym_env"] |= gym_env
            cfg["base_dir"] = f"{name}-{seed}-{beside}"
            algo = PPOClip(cfg)
            run(algo)
            algo.close()
            done[f"{name} {seed}"] = _outcome(algo)
    finally:
        stop.set()
        if beside:
            other.join()
    return done


def _outcome(algo: Any) -> str:
    found = sha256()
    for agent in (algo.train_policy, algo.critic_agent):
        for name, tensor in sorted(agent.state_dict().items()):
            found.update(name.encode() + tensor.numpy().tobytes())
    header, *rows = (algo.base_dir / "metrics.csv").read_text().splitlines()
    timed = header.split(",").index("steps_per_second")
    for row in rows:
        cells = row.split(",")
        found.update(",".join(cells[:timed] + cells[timed + 1 :]).encode())
    return found.hexdigest()


# ------------------------------------------------------------------------------------- leaks


def in_use() -> dict[str, float]:
    """Memory in MiB, open files, processes and threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "children": len(multiprocessing.active_children()),
        "threads": threading.active_count(),
    }


def leaks(iterations: int, runs: int) -> dict[str, Any]:
    """What is in use before and after so many iterations of a run, and so many runs."""
    warm = max(10, iterations // 10)
    cfg = config("CartPole-v1", max_epochs=warm + iterations, eval_interval=512, nb_evals=2)
    cfg["algorithm"]["max_eval_steps"] = 20
    cfg["save_every"] = 10
    algo = PPOClip(cfg)
    seen = []

    class Watched(type(algo)):  # type: ignore[misc] # a class that is known when it runs
        def update(self, rollout: Any) -> Any:
            if self.epoch in (warm, warm + iterations - 1):
                seen.append(in_use())
            return super().update(rollout)

    algo.close()
    run(watched := Watched(cfg))
    watched.close()
    del algo, watched
    for number in range(runs + 5):
        if number == 5:
            seen.append(in_use())
        cfg["algorithm"]["max_epochs"], cfg["base_dir"] = 2, f"many/{number}"
        run(one := PPOClip(cfg))
        one.close()
        del one
    seen.append(in_use())
    return {"iterations": seen[:2], "runs": seen[2:]}


def main(folder: Path, tasks: list[str]) -> dict[str, Any]:
    """What came of each task, by its name."""
    came: dict[str, Any] = {}
    for task in tasks:
        name, *numbers = task.split(":")
        if name == "load":
            names = json.loads((folder / "names").read_text())
            came[name] = load_kinds(folder, names, int(numbers[0]))
        elif name == "train":
            came[name] = train_tasks(range(1, 1 + int(numbers[0])), beside=True)
        else:
            came[name] = leaks(*map(int, numbers))
    return came


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))

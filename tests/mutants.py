"""Puts small silent bugs into a module, one at a time: do the nearest tests notice each of them?

    python tests/mutants.py [module ...] [--fresh] [--list] [--listed] [--unreached]
                                         [--seconds S] [--sample N [--seed S]]

A module is named as in `ppo_bbrl`: `update`, `agents.base`. `agents` and `envs` stand for all
modules of theirs.

The bugs (mutants) are found in the source as it is: comparisons, arithmetic, constants, dropped
statements, swapped arguments, limits of slices, and so on, and the list in `mutants.toml`. One that
no test notices needs a test, or a reason in `mutants.toml` why it changes nothing. What was noticed
once, or has a reason, is not run again until `--fresh`.

Nothing is written into the tree. Each test is measured once: how long it takes, and which lines of
the package it reaches. Then each mutant has a process of its own, in which the tests run that reach
the changed lines, the quickest first, until one fails.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import random
import sys
import time
import tomllib
from collections.abc import Collection, Iterable

from mutant_runs import ALIVE, EXPLAINED, LONGEST, RESULTS, Measured, measure, reaching, verdicts
from mutant_sources import LISTED, ROOT, Mutant, mutants_of, path_of

WANTED = 0.95

PRELOADED = (
    "pytest", "torch", "numpy", "gymnasium.envs.classic_control", "bbrl.agents.gymnasium",
    "bbrl_utils.algorithms", "omegaconf", "tensorboard", "hypothesis", "jaxtyping", "tqdm",
    "torch._dynamo", "pandas", "matplotlib.pyplot", "IPython.display",
)  # fmt: skip

# The tests nearest to each module. Recorded numbers are not among them: they notice everything,
# and say nothing about it.
_AGENTS = ("agents", "devices", "fits", "distributions", "rollout", "precision")
NEAREST = {
    "advantages": ("advantages", "rollout"),
    "losses": ("losses",),
    "coefficients": ("coefficients", "update"),
    "curiosity": ("curiosity",),
    "rewards": ("normalisation",),
    "runs.failing": ("run_faults", "update"),
    "update": (
        "update", "engines", "flat", "ppo", "shared_trunk", "overrides", "replaced", "show",
    ),
    "minibatches": ("rollout", "memory", "show"),
    "rollout": (
        "rollout", "devices", "ppo", "episodic", "shared_trunk", "memory", "masks", "show",
    ),
    "ppo": ("ppo", "update", "replaced", "config_changes"),
    "distributions": ("distributions", "devices", "agents"),
    "gaussian_distributions": ("continuous", "distributions"),
    "joint_distributions": ("joint_distributions", "distributions", "actions"),
    "episodic": ("episodic", "ppo", "evaluation", "config_changes"),
    "evaluation": ("evaluation", "ppo", "show"),
    "schedules": ("schedules",),
    "seeding": ("seeding", "evaluation"),
    "sequences": ("sequences", "memory"),
    "agents.acting": (*_AGENTS, "continuous", "actions"),
    "agents.answers": ("fits", "agents"),
    "agents.attributes": ("resume",),
    "agents.base": _AGENTS,
    "agents.build": ("ppo", "compute", "masks", "actions", "features", "seen_parts"),
    "agents.continuous": ("continuous", "actions"),
    "agents.convolutional": ("features",),
    "agents.critics": ("agents", "precision", "normalisation"),
    "agents.curiosity": ("curiosity",),
    "agents.encoders": ("networks", "agents", "spaces", "observations", "features", "sizes"),
    "agents.features": ("features", "seen_parts", "memory"),
    "agents.fits": ("fits", "agents", "features"),
    "agents.heads": ("continuous", "actions", "agents", "extending", "masks"),
    "agents.learners": ("replaced", "optimizers", "shared_trunk"),
    "agents.layers": ("trained_policy", "resume"),
    "agents.learning": ("replaced", "ppo", "shared_trunk"),
    "agents.memory": ("memory", "agents"),
    "agents.multi": ("actions", "masks", "masked_parts", "joint_distributions", "agents"),
    "agents.networks": ("networks", "agents", "sizes"),
    "agents.normalisers": ("normalisation",),
    "agents.numpy_actor": ("agents", "precision"),
    "agents.observations": ("observations", "seen_parts"),
    "agents.policies": (*_AGENTS, "masks"),
    "agents.recurrent": ("memory", "agents"),
    "agents.sde": ("lightning/lightning_sde",),
    "agents.seen_parts": ("seen_parts",),
    "agents.sequences": ("sequences", "memory"),
    "agents.shared": ("shared_trunk", "memory", "masks", "curiosity"),
    "agents.state": ("state", "checkpoint", "normalisation"),
    "agents.walking": ("replaced", "shared_trunk", "flat"),
    "config.changes": ("config_changes",),
    "config.optimizers": ("optimizers", "replaced"),
    "envs.actions": ("actions", "spaces"),
    "envs.agent": (
        "envs", "env_arguments", "env_faults", "env_restarts", "rollout", "episodic", "masks",
    ),
    "envs.configured": ("env_arguments", "training_wrappers", "wrappers", "envs"),
    "envs.envpool": ("envpool",),
    "envs.faults": ("env_faults", "envs", "video", "observations", "masks"),
    "envs.first_steps": ("determinism", "masks"),
    "envs.fitting": ("envs", "env_arguments", "twins", "ppo"),
    "envs.guard": ("env_hangs", "env_restarts", "env_faults", "killed_workers"),
    "envs.masks": ("masks", "masked_parts"),
    "envs.mujoco_state": ("env_states",),
    "envs.names": ("env_names",),
    "envs.parts": ("observations", "masks"),
    "envs.plain_data": ("state",),
    "envs.saved": ("state",),
    "envs.single": ("envs", "env_arguments", "env_faults"),
    "envs.space_data": ("spaces", "observations", "space_matrix"),
    "envs.spaces": ("spaces", "observations", "actions", "seen_parts"),
    "envs.state": ("state",),
    "envs.sync": ("envs", "env_faults", "env_hangs", "env_restarts", "masks"),
    "envs.twins": ("twins",),
    "envs.vector": ("twins", "envs", "env_arguments", "env_faults", "env_names"),
    "envs.watch": ("envs", "env_faults", "env_hangs"),
    "envs.worker_ends": ("envs", "async", "killed_workers", "env_faults"),
    "envs.worker_pool": ("envs", "async", "env_faults", "env_hangs", "killed_workers"),
    "envs.worker_process": ("envs", "async", "env_faults", "env_hangs", "env_restarts"),
    "envs.worker_states": ("env_states",),
    "envs.workers": ("envs", "async", "env_faults", "env_restarts"),
    "fast.compiled": ("engines", "compiled", "replaced", "config_changes"),
    "fast.compiled_step": ("engines", "compiled", "replaced"),
    "fast.engines": ("engines", "compiled", "replaced"),
    "fast.flat": ("engines", "flat", "replaced", "compiled"),
    "fast.unchanged": ("replaced", "compiled"),
    "runs.recording": ("recording", "episodic"),
    "workspace.storage": ("workspace",),
    "workspace.table": ("workspace", "show"),
}  # fmt: skip
# Rooms that may be named as a whole.
ROOMS = {
    room: tuple(module for module in NEAREST if module.startswith(f"{room}."))
    for room in ("agents", "envs")
}
USUAL = ("advantages", "losses", "update", "rollout", "agents", "envs", "fast.flat", "ppo")


def tests_of(module: str) -> list[str]:
    places = (name.rpartition("/") for name in NEAREST[module])
    return [f"tests/{folder or 'library'}/test_{name}.py" for folder, _, name in places]


def chosen_modules(names: Iterable[str]) -> list[str]:
    """The modules of these names, each of which may be a room."""
    modules = [module for name in names for module in ROOMS.get(name, (name,))]
    unknown = [module for module in modules if module not in NEAREST]
    if unknown:
        known = ", ".join([*NEAREST, *ROOMS])
        raise SystemExit(f"no tests are known for {', '.join(unknown)}; choose from {known}")
    return list(dict.fromkeys(modules))


def measured(module: str) -> Measured:
    """What `measure` tells of the tests nearest to a module, now or before."""
    tests: Measured = {}
    for file in tests_of(module):
        digest = hashlib.sha256((ROOT / file).read_bytes() + path_of(module).read_bytes())
        kept = RESULTS / "tests" / f"{file.replace('/', '.')}.json"
        known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        if known.get("digests", {}).get(module) != digest.hexdigest():
            print(f"  measuring {file}", flush=True)
            digests = {
                name: hashlib.sha256((ROOT / file).read_bytes() + path_of(name).read_bytes())
                for name in NEAREST
            }
            known = {
                "digests": {name: digest.hexdigest() for name, digest in digests.items()},
                "tests": measure(file),
            }
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(known), encoding="utf-8")
        tests |= {name: (seconds, lines) for name, (seconds, lines) in known["tests"].items()}
    return tests


def judge(
    module: str,
    *,
    explained: Collection[str],
    fresh: bool,
    listed_only: bool,
    longest: float,
    sample: int | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """The verdict on each mutant of a module: what noticed it, or one of ALIVE.

    Of a `sample`, on as many of them, which `seed` draws.
    """
    kept = RESULTS / f"{module}.json"
    before = {} if fresh or not kept.exists() else json.loads(kept.read_text(encoding="utf-8"))
    mutants = list(mutants_of(module, listed_only=listed_only))
    if sample is not None and sample < len(mutants):
        print(f"{module}: {sample} of {len(mutants)} mutants, seed {seed}", flush=True)
        mutants = random.Random(seed).sample(mutants, sample)
    known = {key: verdict for key, verdict in before.items() if verdict not in ALIVE}
    if not fresh:
        known = dict.fromkeys(explained, EXPLAINED) | known
    todo = [mutant for mutant in mutants if mutant.key not in known]
    told = {mutant.key: known[mutant.key] for mutant in mutants if mutant.key in known}
    print(f"{module}: {len(mutants)} mutants, {len(todo)} to try", flush=True)
    begin = time.monotonic()
    tried = verdicts(todo, measured(module), longest) if todo else ()
    for number, (mutant, verdict) in enumerate(tried, 1):
        told[mutant.key] = verdict
        if verdict in ALIVE:
            print(f"  {number}/{len(todo)} {verdict}: {mutant.old}  ->  {mutant.new}", flush=True)
        kept.write_text(json.dumps({**before, **told}, indent=1), encoding="utf-8")
    print(f"  {time.monotonic() - begin:.0f} s", flush=True)
    return told


def show(mutants: Iterable[Mutant]) -> None:
    for mutant in mutants:
        print(f"{mutant.module}:{mutant.lines[0]}: {mutant.old}  ->  {mutant.new}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join([*NEAREST, *ROOMS])}")
    parser.add_argument("--fresh", action="store_true", help="forget what was noticed before")
    parser.add_argument("--list", action="store_true", help="show the mutants, try none")
    parser.add_argument("--listed", action="store_true", help="only those of mutants.toml")
    parser.add_argument(
        "--seconds", type=float, default=LONGEST, help="of tests for one mutant: %(default)s"
    )
    parser.add_argument("--sample", type=int, help="try as many mutants of each module")
    parser.add_argument("--seed", type=int, default=0, help="draws the sample: %(default)s")
    parser.add_argument("--unreached", action="store_true", help="show those no test reaches")
    options = parser.parse_args()
    modules = chosen_modules(options.modules or USUAL)
    if options.list:
        for module in modules:
            show(mutants_of(module, listed_only=options.listed))
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each process would import them
    sys.path.insert(0, str(ROOT / "src"))  # of this tree, whatever is installed
    for name in PRELOADED:
        importlib.import_module(name)  # once for all children
    gc.freeze()  # they need not look through all that for garbage
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(RESULTS / "pycache")
    if options.unreached:
        for module in modules:
            tests = measured(module)
            show(one for one in mutants_of(module) if one.function and not reaching(tests, one))
        return 0
    reasons = {
        f"{one['module']}: {one['old']} -> {one['new']}": one["reason"]
        for one in tomllib.loads(LISTED.read_text(encoding="utf-8")).get("equivalent", [])
    }
    failed, lines = False, []
    for module in modules:
        told = judge(
            module,
            explained=reasons,
            fresh=options.fresh,
            listed_only=options.listed,
            longest=options.seconds,
            sample=options.sample,
            seed=options.seed,
        )
        alive = {key: verdict for key, verdict in told.items() if verdict in ALIVE}
        unexplained = [key for key in alive if key not in reasons]
        counted = len(told) - (len(alive) - len(unexplained))
        share = 1 - len(unexplained) / counted if counted else 1.0
        lines.append(
            f"{module:18} {len(told):4} mutants, {len(told) - len(alive):4} noticed, "
            f"{len(alive) - len(unexplained):3} explained, {len(unexplained):3} not: {share:.1%}"
        )
        failed |= share < WANTED
    print("\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

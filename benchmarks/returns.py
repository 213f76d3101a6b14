"""Published returns beside ours: train a row's seeds, keep each result as it comes, write the page.

    python benchmarks/returns.py cartpole pendulum      # `make returns ROW="cartpole pendulum"`
    python benchmarks/returns.py                        # the page alone, from what there is

Results are in results/returns/<row>.jsonl, a line for each seed. Seeds that are there are not run
again. Nothing is tuned on these seeds: tuning takes 1000 and up.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rows import ROWS, Row

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.experiments.pool import Pool
from ppo_bbrl.experiments.seeds import default_jobs
from ppo_bbrl.plots.curves import EVALUATION, Curve, common_grid, curve_of
from ppo_bbrl.plots.figures import COLOURS, save_figure
from ppo_bbrl.plots.run_files import read_runs
from ppo_bbrl.plots.statistics import interquartile_mean

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "returns"
SB3 = RESULTS / "sb3"  # of beside_sb3.py
PAGE, PICTURE = ROOT / "docs" / "returns.md", ROOT / "docs" / "images" / "returns.png"
_POINTS = 60  # of each curve that is kept


def main() -> None:
    """Train the rows that are named, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--jobs", type=int, help="how many seeds train at the same time")
    parser.add_argument("--seeds", type=int, help="only the first ones")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.rows:
        train(name, ROWS[name], arguments.jobs, arguments.seeds)
    write_page()


def kept(name: str, folder: Path = RESULTS) -> dict[int, dict[str, Any]]:
    """The results of a row, by seed."""
    path = folder / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["seed"]: row for row in map(json.loads, lines)}


def train(name: str, row: Row, jobs: int | None, seeds: int | None) -> None:
    """Train the seeds of a row that are missing."""
    there = kept(name)
    missing = [seed for seed in range(seeds or row.seeds) if seed not in there]
    path = ROOT / "configs" / f"{row.config}.yaml"
    # Checkpoints are for interrupted runs; here, a seed that was interrupted begins again.
    own = [*row.changes, "save_every=0"]
    configs = []
    for seed in missing:
        cfg = load_config(path, [*own, f"algorithm.seed={seed}"])
        cfg.base_dir = f"returns/{name}/seed_{seed}_{time.time_ns()}"
        configs.append(plain(cfg))
    if not missing:
        return
    jobs = jobs or default_jobs(load_config(path, own))
    print(f"{name}: seeds {missing}, {jobs} at a time", flush=True)
    with Pool(configs, jobs) as pool:
        for event in pool.events():
            seed = missing[event.number]
            if event.kind == "failed":
                print(f"{name}, seed {seed} failed: {event.facts['why']}", flush=True)
            if event.kind == "done":
                keep(name, row, seed, event.facts)


def plain(cfg: Any) -> Any:
    """A configuration as dictionaries."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg)


def keep(name: str, row: Row, seed: int, facts: dict[str, Any]) -> None:
    """Append the result of a seed."""
    (run,) = read_runs([Path(facts["folder"])])
    steps, values = curve_of(run, EVALUATION)
    some = np.unique(np.linspace(0, len(steps) - 1, _POINTS).round().astype(int))
    result = {
        "seed": seed,
        "config": row.config,
        "changes": row.changes,
        "steps": facts["steps"],
        "seconds": round(facts["seconds"], 1),
        "final": float(np.mean(facts["last"])),
        "best": float(np.mean(facts["best"])),
        "peak": float(values.max()),
        "curve": [steps[some].astype(int).tolist(), values[some].round(2).tolist()],
        "versions": {name: version(name) for name in ("torch", "gymnasium", "numpy")},
    }
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(
        f"{name}, seed {seed}: final {result['final']:.1f}, peak {result['peak']:.1f}", flush=True
    )


def write_page() -> None:
    """Write docs/returns.md and its picture from the results that there are."""
    lines = []
    curves = {}
    for name, row in ROWS.items():
        results = list(kept(name).values())
        if not results:
            lines.append(f"| {name} | {row.published:g} ({row.source}) | not run | | | | | | |")
            continue
        found = {
            metric: interquartile_mean([result[metric] for result in results])
            for metric in ("final", "best", "peak")
        }
        reached = found[row.metric].value >= row.published
        verdict = "reached" if reached else "**missed**"
        if len(results) < row.seeds:
            verdict += " so far"
        thousands = np.mean([result["steps"] for result in results]) / 1000
        minutes = np.mean([result["seconds"] for result in results]) / 60
        lines.append(
            f"| [{name}](../configs/{row.config}.yaml) | {row.published:g} ({row.source}) | "
            f"{verdict} by the {row.metric} | {found['final'].short()} | {found['best'].short()} | "
            f"{found['peak'].short()} | {len(results)} of {row.seeds} | "
            f"{thousands:,.0f}k, {minutes:.1f} min | {sb3(name)} |"
        )
        curves[name] = [Curve(*map(np.array, result["curve"])) for result in results]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    if curves:
        draw(curves)


def sb3(name: str) -> str:
    """What SB3 reached on this row, if it was run."""
    results = list(kept(name, SB3).values())
    if not results:
        return ""
    final = interquartile_mean([result["final"] for result in results])
    minutes = np.mean([result["seconds"] for result in results]) / 60
    seeds = f"{len(results)} seed" + "s" * (len(results) > 1)
    return f"{final.short()}, {seeds}, {minutes:.1f} min of processor time"


def draw(curves: dict[str, list[Curve]]) -> None:
    """The curves of every row that was run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), dpi=80, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, seeds) in zip(grid, curves.items(), strict=False):
        points = common_grid(seeds)
        for steps, values in seeds:
            axes.plot(steps, values, color="0.6", linewidth=0.6, alpha=0.6)
        mean = interquartile_mean(
            np.stack([np.interp(points, steps, values) for steps, values in seeds])
        )
        axes.plot(points, mean.value, color=COLOURS[0], linewidth=1.6)
        axes.fill_between(points, mean.low, mean.high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.axhline(ROWS[name].published, color=COLOURS[1], linewidth=1.0, linestyle="--")
        axes.set_title(name, fontsize="small")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3, linewidth=0.6)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    save_figure(figure, PICTURE)


HEAD = """\
# Published returns

What others have published for PPO, and what our configurations reach on seeds that nothing was
tuned on. This page is written by `make returns ROW=…`, from
[benchmarks/results/returns](../benchmarks/results/returns); rows that fall short, or were not run,
say so.

- **Final**: the greedy return of the last policy, 20 new episodes for each seed. **Best**: that of
  the policy which evaluations during training found best, which a run keeps beside the last.
  **Peak**: the maximum of the evaluation curve, which favours noisy curves; Tianshou's tables
  report it.
- All as the interquartile mean of the seeds with its 95 % bootstrap interval. A row is reached if
  the interquartile mean of its own metric is at least the published figure.
- Zoo's figures are of one run each. **SB3 here**: the final of Stable-Baselines3 with Zoo's
  parameters on the same kind of machine, where a seed takes it less than ten minutes
  (`python benchmarks/beside_sb3.py ROW`). Its times are of the processor; ours are by the clock,
  some of them on a busy machine.

![Learning curves](images/returns.png)

Grey: each seed. Blue: the interquartile mean and its interval. Dashed: the published figure.

| Row | Published | Ours | Final | Best | Peak | Seeds | Steps, time of a seed | SB3 here |
|---|---|---|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    main()

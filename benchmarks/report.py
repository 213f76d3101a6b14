"""Writes docs/performance.md and its picture from benchmarks/results/*.json.

python benchmarks/report.py
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ppo_bbrl.system.files import write_file

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "growth.png"


def read(name: str) -> Any:
    """The results of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def verdict(value: float, target: float, *, at_most: bool = False) -> str:
    """Whether a target is met."""
    return "met" if (value <= target if at_most else value >= target) else "**missed**"


def rows() -> list[tuple[str, str, str, str]]:
    """What was measured, its target, the figure, the verdict."""
    speed, bbrl, growth = read("throughput"), read("beside_bbrl"), read("growth")
    table = []
    for case, ours, target in (
        ("(i) 8 × 32", "ppo-bbrl", 2.4),
        ("(i) 8 × 32", "ppo-bbrl compiled", 5.0),
        ("wide 64 × 64", "ppo-bbrl", 2.0),
        ("wide 64 × 64", "ppo-bbrl compiled", 4.0),
        ("(i) 8 × 32", "sbx", None),
        ("wide 64 × 64", "sbx", None),
    ):
        row = speed[case][ours]
        low, high = row["ratio_range"]
        table.append(
            (
                f"Training, {case}, {ours}, against SB3",
                f"≥ {target} ×" if target else "",
                (
                    f"{row['ratio_to_sb3']:.2f} × ({low:.2f} to {high:.2f}), "
                    f"{row['steps_per_second']:,.0f} steps/s"
                ),
                verdict(row["ratio_to_sb3"], target) if target else "a peer",
            )
        )
    for name, row in bbrl.items():
        if name == "versions":
            continue
        low, high = row["ratio_range"]
        table.append(
            (
                f"Against BBRL as published: {name}",
                "≥ 6 ×",
                f"{row['ratio']:.1f} × ({low:.1f} to {high:.1f})",
                verdict(row["ratio"], 6),
            )
        )
    solve = read("time_to_solve")["summary"]
    table.append(
        (
            "Process start to a greedy mean of 475, against SB3 tuned by RL Zoo (10 seeds each)",
            "≤ 0.40 ×",
            (
                f"{solve['ratio']:.2f} × ({solve['ours']['median_seconds']:.1f} s, "
                f"{solve['sb3']['median_seconds']:.1f} s; "
                f"{solve['ours']['solved']} and {solve['sb3']['solved']} of 10 solved)"
            ),
            verdict(solve["ratio"], 0.40, at_most=True),
        )
    )
    memory = growth["peak memory, (i), no compiler"]
    ratio = memory["ppo-bbrl"] / memory["sb3"]
    table.append(
        (
            "Peak memory, (i), no compiler, against SB3",
            "≤ 1 ×",
            f"{ratio:.2f} × ({memory['ppo-bbrl']:.0f} MiB, {memory['sb3']:.0f} MiB)",
            verdict(ratio, 1, at_most=True),
        )
    )
    grown = growth["1000 rollouts"]["growth_mib"]
    table.append(
        (
            "Growth of the memory over 1000 rollouts",
            "≤ 5 MiB",
            f"{grown:.1f} MiB",
            verdict(grown, 5, at_most=True),
        )
    )
    workers = read("async_envs")
    low, high = workers["ratio_range"]
    table.append(
        (
            "8 environments whose step computes for 2 ms: 2 processes against one",
            "≥ 1.7 ×",
            (
                f"{workers['ratio']:.2f} × ({low:.2f} to {high:.2f}); the cores gave "
                f"{workers['cores_give']:.2f} × one"
            ),
            verdict(workers["ratio"], 1.7),
        )
    )
    for name, what, target in (
        ("processes", "Training, wide 64 × 64, one policy: 2 processes against one", 1.7),
        ("seeds", "`train --seeds 4`: 2 processes against one", 1.8),
    ):
        one = read(name) if (RESULTS / f"{name}.json").exists() else {}
        if "ratio" not in one:  # not measured yet
            continue
        low, high = one["ratio_range"]
        given = f"the cores gave {one['cores_give']:.2f} × one"
        table.append(
            (
                what,
                f"≥ {target} ×",
                f"{one['ratio']:.2f} × ({low:.2f} to {high:.2f}); {given}",
                verdict(one["ratio"], target),
            )
        )
    floor = read("floor")
    table.append(
        (
            "One iteration, compiled, wide, against matrix products and environment alone",
            "≤ 2.5 ×",
            f"{floor['ratio']:.2f} × ({floor['iteration_ms']:.1f} ms, {floor['floor_ms']:.1f} ms)",
            verdict(floor["ratio"], 2.5, at_most=True),
        )
    )
    return table


class Scaling(NamedTuple):
    """A model of many processes that sum in a ring, as gloo does.

    Attributes:
        seconds: of an iteration of one process.
        exchanges: of an iteration.
        n_bytes: of an exchange.
        latency: of a message, in seconds.
        bandwidth: in bytes per second.
    """

    seconds: float
    exchanges: int
    n_bytes: float
    latency: float
    bandwidth: float

    def efficiency(self, n: int) -> float:
        """The fraction of the time that n processes do not spend in exchanges.

        In each, 2 (n - 1) messages follow one another, of an n-th of the bytes each.
        """
        one = 2 * (n - 1) * (self.latency + self.n_bytes / n / self.bandwidth)
        return self.seconds / (self.seconds + self.exchanges * one)


def scaling() -> list[str]:
    """What the model says of many processes, each with its own 64 × 64 transitions."""
    found = read("processes")
    seconds, n_exchanges = found["iteration_ms"] / 1000, found["exchanges"]
    n_bytes = found["bytes_of_an_iteration"]
    networks = {
        "10 Gbit Ethernet: 50 µs, 1.1 GB/s": (50e-6, 1.1e9),
        "100 Gbit InfiniBand: 5 µs, 11 GB/s": (5e-6, 11e9),
    }
    if "latency_us" in found:
        latency, bandwidth = found["latency_us"] * 1e-6, found["bandwidth"]
        name = f"this machine: {1e6 * latency:.0f} µs, {bandwidth / 1e9:.1f} GB/s"
        networks = {name: (latency, bandwidth), **networks}
    sizes = (2, 8, 32, 128, 1024)
    lines = [
        f"| Latency, bandwidth | {' | '.join(map(str, sizes))} | half at |",
        f"|---|{'---|' * (len(sizes) + 1)}",
    ]
    for name, network in networks.items():
        efficiency = Scaling(seconds, n_exchanges, n_bytes / n_exchanges, *network).efficiency
        half = next((n for n in range(2, 100_000) if efficiency(n) < 0.5), 100_000)
        cells = [f"{efficiency(n):.0%}, {n * efficiency(n):.1f} ×" for n in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} | {half:,} |")
    about = (
        f"An iteration of one process takes {1000 * seconds:.0f} ms. Of several, it has "
        f"{n_exchanges} exchanges, {found['minibatches']} of them of all gradients "
        f"({found['bytes_of_a_minibatch']:,} bytes), together {n_bytes:,} bytes of each process."
    )
    return [about, "", *lines]


def between(text: str, name: str, lines: list[str]) -> str:
    """A page with other lines between the two marks of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return head + begin + "\n".join(["", *lines, ""]) + end + tail


def draw() -> None:
    """Throughput and memory against sizes."""
    growth = read("growth")
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, key, name, unit in (
        (axes[0], "n_envs", "steps_per_second", "steps/s"),
        (axes[1], "n_envs", "peak_mib", "peak memory, MiB"),
        (axes[2], "width", "steps_per_second", "steps/s"),
    ):
        sizes = [int(size) for size in growth[key]]
        axis.plot(sizes, [row[name] for row in growth[key].values()], "o-", color="#0072B2")
        axis.set_xscale("log", base=2)
        if name == "steps_per_second":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set(xlabel={"n_envs": "environments", "width": "neurons of a layer"}[key])
        axis.set_title(unit, fontsize=10)
        axis.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=120)


def main() -> None:
    """Write the page and the picture."""
    draw()
    versions = ", ".join(
        f"{name} {version}" for name, version in read("throughput")["versions"].items()
    )
    lines = [f"| {' | '.join(row)} |" for row in rows()]
    text = PAGE.read_text(encoding="utf-8")
    table = ["| What | Target | Median (range) | |", "|---|---|---|---|", *lines, ""]
    table += [f"One thread each, {versions}."]
    write_file(PAGE, between(between(text, "table", table), "scaling", scaling()))


if __name__ == "__main__":
    main()

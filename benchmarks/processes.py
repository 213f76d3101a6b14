"""One policy by two processes against one, in turn, and what they send each other.

"wide" of `throughput.py`: the same task and total of environments for both sides, evaluation off,
logging on, one thread each, not compiled. What counts is the ratio within a round. Beside it stands
what two processes gave that train apart, each the whole task: no ratio can be above that. The ratio
of the processor times is what there would be if waiting took no time; other users of the machine
hardly change it.

    python benchmarks/processes.py --rounds 7
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from throughput import CASES, CONFIG, Learning

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.distributed import DistributedPPO, Processes
from ppo_bbrl.system.files import write_file

RESULTS = Path(__file__).parent / "results" / "processes.json"
CASE = "wide 64 × 64"
SIZE = 2
LARGE = 4_000_000  # bytes, of the exchange that shows the bandwidth


class LearningTogether(DistributedPPO):
    """Without evaluations and saved policies, as `Learning`."""

    def evaluate(self, force: bool = False) -> bool:
        return False

    def keep(self) -> list[Path]:
        return []


@dataclass(frozen=True)
class Counting(Processes):
    """Counts what is exchanged.

    Attributes:
        sent: the bytes of each exchange of this process.
    """

    sent: list[int] = field(default_factory=list)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        if self.neighbours is not None and self.neighbours.can_add(values):
            self.sent.append(values.numel() * values.element_size())
        return super().total(values)

    def _wait(self, values: torch.Tensor, begin: Callable[[], Any]) -> None:
        self.sent.append(values.numel() * values.element_size())
        super()._wait(values, begin)


def config(rollouts: int, name: str) -> Any:
    """The task of a round."""
    own = [f"base_dir=benchmark/{name}", f"algorithm.max_epochs={rollouts}", "save_every=0"]
    plain = ["compute.threads=1", "compute.compile=never"]
    return load_config(CONFIG, [*CASES[CASE][0], *plain, *own])


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def exchange(processes: Processes, n_bytes: int) -> float:
    """The median time of an exchange of so many bytes, in seconds."""
    values = torch.zeros(n_bytes // 4)
    return statistics.median(seconds(lambda: processes.total(values)) for _ in range(50))


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rollouts", type=int, default=12, help="in each round, of each side")
    arguments = parser.parse_args()
    if "RANK" not in os.environ:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={SIZE}"]
        sys.exit(subprocess.call([sys.executable, *torchrun, *sys.argv]))
    torch.set_num_threads(1)
    processes = Counting.join()
    cfg = config(arguments.rollouts, f"processes_{processes.rank}")
    alone: PPOClip = Learning(cfg)
    together = LearningTogether(cfg, processes)
    steps = arguments.rollouts * cfg.algorithm.n_envs * cfg.algorithm.n_steps
    first = processes.rank == 0
    by_gloo = replace(processes, neighbours=None)  # as between hosts, for the model of many
    times = exchange(by_gloo, 8), exchange(by_gloo, LARGE), exchange(processes, 36_000)
    for warm in (alone, together):
        run(warm)
    rounds = []
    for _ in range(arguments.rounds):
        begun = time.process_time()
        one = seconds(lambda: run(alone)) if first else 0.0
        cpu_one = time.process_time() - begun
        processes.count(1)  # the others wait for that
        processes.sent.clear()
        begun = time.process_time()
        both = seconds(lambda: run(together))
        cpu_both = time.process_time() - begun
        sent = list(processes.sent)
        processes.count(1)
        apart = seconds(lambda: run(alone))
        apart = SIZE * steps / max(apart, processes.after(torch.tensor([apart])).max().item())
        rounds.append((steps / (one or 1.0), steps / both, apart, cpu_one / cpu_both))
    if first:
        report(arguments.rollouts, rounds, sent, times)
    alone.close()
    together.close()


def report(
    rollouts: int,
    rounds: list[tuple[float, float, float, float]],
    sent: list[int],
    times: tuple[float, float, float],
) -> None:
    """Print and write the figures."""
    ratios = [both / one for one, both, *_ in rounds]
    flat = max(sent)
    small, large, shared = times
    results = {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cores_give": statistics.median(apart / one for one, _, apart, _ in rounds),
        "ratio_of_processor_time": statistics.median(cpu for *_, cpu in rounds),
        "steps_per_second": [statistics.median(column) for column in zip(*rounds, strict=True)][:3],
        "iteration_ms": 1000 * 64 * 64 / statistics.median(one for one, *_ in rounds),
        "exchanges": round(len(sent) / rollouts),
        "minibatches": sum(n == flat for n in sent) // rollouts,
        "bytes_of_a_minibatch": flat,
        "bytes_of_an_iteration": sum(sent) // rollouts,
        "latency_us": 1e6 * small / 2,  # a ring of two passes two messages
        "shared_us": 1e6 * shared,  # of a minibatch's gradients, in shared memory
        "bandwidth": LARGE / max(large - small, 1e-9),
    }
    write_file(RESULTS, json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

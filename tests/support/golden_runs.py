"""Six small runs, and what ten iterations of each leave: `golden/<name>.txt`.

    python tests/support/golden_runs.py  # writes the files anew

Write them anew only for a change of numbers that is meant, with a line in CHANGELOG.md on why.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

FOLDER = Path(__file__).parent / "golden"
ITERATIONS = 10
COLUMNS = ("steps", "policy_sum", "critic_sum", "actor_loss", "critic_loss")

Row = tuple[float, ...]


def machine() -> str:
    """What decides how sums are rounded: the library, and the processor that it has code for."""
    cpu = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        pairs = (line.partition(":")[::2] for line in info.read_text().splitlines())
        cpu = {name.strip(): value.strip() for name, value in pairs}
    processor = (
        " ".join([cpu.get(key, "") for key in ("vendor_id", "cpu family", "model")]).strip()
        or platform.machine()
    )
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {processor}"


def parameter_sum(module: nn.Module) -> float:
    """The sum of the absolute parameters, in float64 and in order.

    Absolute, as the gradients of a softmax's logits add up to 0: a plain sum would not see them.
    """
    total = np.float64(0)
    for parameter in module.parameters():
        total += parameter.detach().abs().double().numpy().sum()
    return float(total)


def _config(env_name: str, *, optimizer: dict[str, Any] | None = None, **algorithm: Any) -> Any:
    settings = {"seed": 7, "n_envs": 4, "n_steps": 32, "max_epochs": ITERATIONS, "batch_size": 48}
    settings |= {"opt_epochs": 3, "eval_interval": 10**9, "gae": 0.9}
    config: dict[str, Any] = {
        "gym_env": {"env_name": env_name},
        "algorithm": settings | algorithm,
        "compute": {"compile": "never", "threads": 1},
    }
    if optimizer:
        config["optimizer"] = optimizer
    return config


def _rows(algo: Any) -> Iterator[Row]:
    for workspace in algo.iter_partial_episodes(algo.cfg.algorithm.n_steps + 1):
        report = algo.update(algo.record(workspace))
        sums = [parameter_sum(agent) for agent in (algo.train_policy, algo.critic_agent)]
        losses = [float(report.metrics[name]) for name in ("actor_loss", "critic_loss")]
        yield (algo.nb_steps, *sums, *losses)
    algo.close()


def cartpole_eager() -> Iterator[Row]:
    """The course notebook's loss, on Gymnasium's vectorised CartPole."""
    from ppo_bbrl import PPOClip

    return _rows(PPOClip(_config("CartPole-v1", entropy_coef=0.01)))


def cartpole_compiled() -> Iterator[Row]:
    """The same, with the compiled update."""
    from ppo_bbrl import PPOClip

    config = _config("CartPole-v1", entropy_coef=0.01)
    config["compute"]["compile"] = "always"
    return _rows(PPOClip(config))


class TwoHeads(nn.Module):
    """Distribution and value on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 32)
        self.actor, self.critic = nn.Linear(32, 2), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Categorical, Tensor]:
        """π(·|s) and V(s) of observations `[N, 4]`."""
        latent = torch.relu(self.trunk(x))
        return Categorical(logits=self.actor(latent)), self.critic(latent).squeeze(-1)


def shared_trunk() -> Iterator[Row]:
    """Policy and critic share weights and an optimiser."""
    from ppo_bbrl import PPOClip, shared_agents

    torch.manual_seed(7)
    policy, critic = shared_agents(TwoHeads())
    config = _config("CartPole-v1", critic_coef=0.25, normalize_advantage=True)
    return _rows(PPOClip(config, train_policy=policy, critic_agent=critic))


def pendulum() -> Iterator[Row]:
    """A Gaussian policy, Adam."""
    from ppo_bbrl import PPOClip

    adam = {"classname": "torch.optim.Adam", "lr": 1e-3, "eps": 1e-5}
    return _rows(PPOClip(_config("Pendulum-v1", normalize_advantage=True, optimizer=adam)))


def value_clipping() -> Iterator[Row]:
    """A clipped value loss, linear schedules, a `target_kl` that stops seven of ten updates."""
    from ppo_bbrl import PPOClip

    config = _config(
        "CartPole-v1",
        clip_range_vf=0.2,
        learning_rate_schedule="linear",
        clip_range_schedule="linear",
        target_kl=0.0001,
        optimizer={"classname": "torch.optim.AdamW", "lr": 3e-3, "eps": 1e-5},
    )
    return _rows(PPOClip(config))


def lightning() -> Iterator[Row]:
    """The LightningModule; an iteration is an epoch of its Trainer."""
    import logging
    import warnings

    import lightning as pl
    from lightning_models import Model

    from ppo_bbrl.lightning import make_vec_env

    rows: list[Row] = []

    class Recorded(Model):
        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()
            logged = self.trainer.callback_metrics
            losses = [float(logged[name]) for name in ("policy_loss", "value_loss")]
            steps = (self.current_epoch + 1) * 4 * 32
            sums = [parameter_sum(head) for head in (self.actor, self.critic)]
            rows.append((steps, *sums, *losses))

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    env = make_vec_env("CartPole-v1", n_envs=4)
    model = Recorded(
        env=env,
        eval_env=None,
        buffer_length=32,
        batch_size=48,
        epochs_per_rollout=3,
        num_eval_episodes=0,
        seed=7,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=ITERATIONS,
            accelerator="cpu",
            devices=1,
            logger=False,
            gradient_clip_val=0.5,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model)
    env.close()
    yield from rows


RUNS: dict[str, Callable[[], Iterator[Row]]] = {
    run.__name__: run
    for run in (
        cartpole_eager,
        cartpole_compiled,
        shared_trunk,
        pendulum,
        value_clipping,
        lightning,
    )
}


def read(name: str) -> tuple[str, list[Row]]:
    """The machine that recorded a run, and its rows."""
    head, _, *lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return head.removeprefix("# "), [
        tuple(float.fromhex(number) for number in line.split()) for line in lines
    ]


def write(name: str) -> None:
    """Record a run."""
    lines = [f"# {machine()}", "# " + " ".join(COLUMNS)]
    lines += [" ".join(float(number).hex() for number in row) for row in RUNS[name]()]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or RUNS:
        write(chosen)

"""The published returns that ours are compared with, row by row."""

from typing import Literal, NamedTuple

ZOO = "RL Baselines3 Zoo, one run"
TIANSHOU = "Tianshou, 10 runs, peak of the evaluation curve, v3"


class Row(NamedTuple):
    """A published return.

    Attributes:
        config: file in configs/.
        published: the return.
        source: whose it is, and how it was measured.
        metric: final: greedy return of the last policy; peak: maximum of the evaluation curve.
        seeds: 0 to seeds - 1.
        changes: to the configuration.
    """

    config: str
    published: float
    source: str
    metric: Literal["final", "peak"] = "final"
    seeds: int = 10
    changes: tuple[str, ...] = ()


ROWS = {
    "cartpole": Row("cartpole", 500.0, ZOO),
    "acrobot": Row("acrobot", -73.5, ZOO),
    "mountaincar": Row("mountaincar", -110.4, ZOO),
    "mountaincar_continuous": Row("mountaincar_continuous", 88.3, ZOO),
    "pendulum": Row("pendulum", -172.0, ZOO),
    "pendulum_sde": Row(
        "pendulum", -172.0, ZOO, changes=("algorithm.use_sde=true", "algorithm.sde_sample_freq=4")
    ),
    "lunarlander": Row("lunarlander", 242.0, f"{ZOO}, v2"),
    "lunarlander_continuous": Row(
        "lunarlander", 271.0, f"{ZOO}, v2", changes=("gym_env.env_args.continuous=true",)
    ),
    "bipedalwalker": Row("bipedalwalker", 288.0, ZOO, seeds=2),
    "halfcheetah": Row("halfcheetah", 5784.0, TIANSHOU, "peak", seeds=5),
    "hopper": Row(
        "halfcheetah", 2609.0, TIANSHOU, "peak", 5, ("gym_env.env_name=Hopper-v5",)
    ),
    "walker2d": Row(
        "halfcheetah", 3589.0, TIANSHOU, "peak", 5, ("gym_env.env_name=Walker2d-v5",)
    ),
    "inverted_double_pendulum": Row(
        "halfcheetah", 9231.0, TIANSHOU, "peak", 5, ("gym_env.env_name=InvertedDoublePendulum-v5",)
    ),
    "reacher": Row("halfcheetah", -4.1, TIANSHOU, "peak", 5, ("gym_env.env_name=Reacher-v5",)),
    "swimmer": Row("swimmer", 281.6, ZOO, seeds=5),
    "minigrid_empty": Row("minigrid", 0.968, ZOO),
    "minigrid_doorkey": Row(
        "minigrid", 0.964, ZOO, changes=("gym_env.env_name=minigrid:MiniGrid-DoorKey-5x5-v0",)
    ),
    "minigrid_unlock": Row(
        "minigrid", 0.963, ZOO, changes=("gym_env.env_name=minigrid:MiniGrid-Unlock-v0",)
    ),
    "cartpole_no_velocity": Row("cartpole_no_velocity_lstm", 500.0, ZOO),
    "pendulum_no_velocity": Row("pendulum_no_velocity_lstm", -218.0, ZOO),
    "mountaincar_continuous_no_velocity": Row(
        "mountaincar_continuous_no_velocity_lstm", 91.5, ZOO, seeds=5
    ),
    "pong": Row("pong", 20.99, f"{ZOO}, 10M steps, sampled actions", seeds=1),
}  # fmt: skip

"""PPO as a LightningModule: write `forward`, give it environments, let Lightning train it.

Needs the extra `lightning`. Nothing else in the package imports this subpackage.
"""

try:
    import lightning as _lightning

    # Before 2.6, `fit(ckpt_path=…)` and `load_from_checkpoint` run code from their files.
    if tuple(map(int, _lightning.__version__.split(".")[:2])) < (2, 6):
        raise ImportError(
            f"ppo_bbrl.lightning needs Lightning 2.6, and this is {_lightning.__version__}, whose "
            "checkpoints may run code: pip install 'lightning>=2.6'"
        )
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    raise ModuleNotFoundError(
        "ppo_bbrl.lightning needs Lightning: pip install 'ppo-bbrl[lightning]'", name="lightning"
    ) from None

from ppo_bbrl.agents.encoders import encoder
from ppo_bbrl.agents.sde import StateDependentNoise, StateDependentNormal
from ppo_bbrl.joint_distributions import MultiCategorical
from ppo_bbrl.lightning.environments import DummyVecEnv, SubprocVecEnv, make_vec_env
from ppo_bbrl.lightning.loader import Batch
from ppo_bbrl.lightning.module import PPO

__all__ = [
    "PPO",
    "Batch",
    "DummyVecEnv",
    "MultiCategorical",
    "StateDependentNoise",
    "StateDependentNormal",
    "SubprocVecEnv",
    "encoder",
    "make_vec_env",
]

"""What torch.hub offers from this repository: `torch.hub.load(<repository>, "ppo2", …)`."""

import sys as _sys
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

dependencies = ["torch"]

_SOURCE = _Path(__file__).resolve().parent / "src"


def _package() -> _Any:
    """The module `ppo_bbrl.hub` of this repository, whatever else is installed.

    Raises:
        RuntimeError: if `ppo_bbrl` was imported from elsewhere; a process has one of a name.
    """
    wanted = (_SOURCE / "ppo_bbrl" / "__init__.py").resolve()
    imported = _sys.modules.get("ppo_bbrl")
    if imported is None:
        _sys.path.insert(0, str(_SOURCE))
        try:
            imported = _import_module("ppo_bbrl")
        finally:
            _sys.path.remove(str(_SOURCE))
    found = getattr(imported, "__file__", None)
    if found is None or _Path(found).resolve() != wanted:
        raise RuntimeError(
            f"a different ppo_bbrl is already imported, from {found}; the ppo2 of {wanted.parent} "
            "needs a process of its own"
        )
    return _import_module("ppo_bbrl.hub")


def ppo2(
    *,
    input_dim: int,
    hidden_dim: int = 64,
    action_space: int,
    dropout: float = 0.0,
    reset_param: bool = True,
) -> _Any:
    """PPO2: policy and value function on one latent state of two Tanh layers.

    Args:
        input_dim: features of an observation.
        hidden_dim: neurons of each layer.
        action_space: number of actions, or of the logits of the action distribution.
        dropout: share of the neurons that is left out after each layer, in training mode only.
        reset_param: orthogonal weights with gain √2 and biases 0; otherwise those of nn.Linear.

    Returns:
        The model, an nn.Module. `model(obs, action=None, distribution=Categorical)` gives value,
        action, negative log-likelihood and entropy, each of shape [N] for observations
        [N, input_dim]. `model.loss(returns, value_f, neg_log_probs, entropy, advantages,
        old_values, old_neg_log_probs, clip_range, ent_coef, vf_coef)` gives the total loss, the
        policy loss, the value loss, the mean entropy and the approximate KL divergence.

    Raises:
        RuntimeError: if a different package of the name ppo_bbrl is already imported.
        ValueError: for sizes that are no positive integers, or a dropout outside [0, 1).
    """
    model = _package().PPO2(input_dim, hidden_dim, action_space, dropout)
    if reset_param:
        model.reset_parameters()
    return model

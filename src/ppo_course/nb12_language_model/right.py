"""The right parts of notebook 12: checks compare with them, and lend them to each other."""

import torch
from torch import Tensor


def kl_estimates(log_prob: Tensor, ref_log_prob: Tensor) -> tuple[Tensor, Tensor]:
    """The estimates k1 and k3 of KL(policy ‖ reference), `[T, B]` each."""
    log_ratio = ref_log_prob - log_prob
    return -log_ratio, log_ratio.exp() - 1 - log_ratio


def token_rewards(
    reward: Tensor, log_prob: Tensor, ref_log_prob: Tensor, written: Tensor, beta: float
) -> Tensor:
    """The penalty of each character, and the reward at the last one, `[T, B]`."""
    following = torch.cat((written[1:], torch.zeros_like(written[:1])))
    penalty = -beta * kl_estimates(log_prob, ref_log_prob)[0]
    return penalty * written + reward * (written & ~following)


def token_advantages(reward: Tensor, value: Tensor, written: Tensor, gae_lambda: float) -> Tensor:
    """GAE without discount, `[T, B]`; 0 where nothing was written."""
    advantage = torch.zeros_like(reward)
    following = next_value = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = (reward[t] + next_value - value[t] + gae_lambda * following) * written[t]
        next_value = value[t] * written[t]
        advantage[t] = following
    return advantage


def text_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, written: Tensor, clip_range: float
) -> Tensor:
    """Minus the clipped objective, its mean over the characters that were written."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.min(ratio * advantage, clipped * advantage)[written].mean()


def group_advantages(reward: Tensor, group_size: int) -> Tensor:
    """Reward minus the group's mean, divided by its standard deviation, `[B]`."""
    groups = reward.reshape(-1, group_size)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + 1e-6)).flatten()


#: what a later exercise takes from the earlier ones
PARTS = {
    part.__name__: part
    for part in (kl_estimates, token_rewards, token_advantages, text_loss, group_advantages)
}

"""One iteration of PPO and of GRPO on texts, right or with known mistakes.

Nothing in an iteration is left to chance, so that the weights after it tell which mistake was made.
"""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.optim import Optimizer

from ppo_course.nb12_language_model.right import (
    group_advantages,
    kl_estimates,
    text_loss,
    token_advantages,
    token_rewards,
)
from ppo_course.nb12_language_model.small_author import Author, Written

Mistakes = Collection[str]
_OF_BOTH = ("old-anew", "one-epoch", "epoch-missing", "epoch-more", "ascends", "not-masked",
            "mask-inverted", "accumulated~writer", "no-step~writer",
            "ratio-upside-down")  # fmt: skip
#: the likeliest first
OF_PPO = (
    *_OF_BOTH,
    *("accumulated~critic", "no-step~critic"),
    *(
        "no-penalty",
        "penalty-sign",
        "target-minus-value",
        "not-squared",
        "not-normalised",
        "normalised-with-padding",
        "not-shifted",
        "not-scaled",
    ),
    *("target-of-normalised", "target-is-advantage", "target-is-reward", "targets-anew"),
    *("padding-in-critic", "padding-divides", "half", "errors-summed", "critic-ascends"),
)
OF_GRPO = (
    *_OF_BOTH,
    *(
        "no-kl",
        "kl-sign",
        "kl-upside-down",
        "kl-no-beta",
        "kl-is-k1",
        "kl-with-padding",
        "kl-summed",
    ),
    *("raw-reward", "mean-of-batch", "kl-of-old"),
)


def _step(optimizer: Optimizer, loss: Tensor, mistakes: Mistakes, name: str) -> None:
    if f"accumulated~{name}" not in mistakes:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if f"no-step~{name}" not in mistakes:
        optimizer.step()


def _written(texts: Written, mistakes: Mistakes) -> Tensor:
    if "not-masked" in mistakes:
        return torch.ones_like(texts.done)
    return texts.done if "mask-inverted" in mistakes else ~texts.done


def _epochs(author: Author, mistakes: Mistakes) -> range:
    n: int = author.cfg.epochs
    if "one-epoch" in mistakes:
        n = 1
    return range(n + ("epoch-more" in mistakes) - ("epoch-missing" in mistakes))


def _normalised(advantage: Tensor, written: Tensor, mistakes: Mistakes) -> Tensor:
    of = advantage if "normalised-with-padding" in mistakes else advantage[written]
    if "not-normalised" in mistakes:
        return advantage
    mean = 0.0 if "not-shifted" in mistakes else of.mean()
    return (advantage - mean) / (1.0 if "not-scaled" in mistakes else of.std() + 1e-8)


def _loss(  # noqa: PLR0917 - as in the notebook
    log_prob: Tensor,
    old: Tensor,
    advantage: Tensor,
    written: Tensor,
    eps: float,
    mistakes: Mistakes,
) -> Tensor:
    pair = (old, log_prob) if "ratio-upside-down" in mistakes else (log_prob, old)
    return text_loss(*pair, advantage, written, eps)


def ppo(author: Author, texts: Written, mistakes: Mistakes = ()) -> None:
    """One iteration of PPO."""
    cfg, obs, action = author.cfg, texts.obs, texts.action
    written = _written(texts, mistakes)
    with torch.no_grad():
        ref_log_prob = author.reference.evaluate(obs, action)
    if "no-penalty" in mistakes:
        ref_log_prob = texts.log_prob
    log_probs = (texts.log_prob, ref_log_prob)
    if "penalty-sign" in mistakes:
        log_probs = log_probs[::-1]
    rewards = token_rewards(texts.reward, *log_probs, written, cfg.beta)

    def targets() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            value = author.critic(obs)
        raw = token_advantages(rewards, value, written, cfg.gae)
        advantage = _normalised(raw, written, mistakes)
        if "target-is-reward" in mistakes:
            return advantage, rewards
        target = advantage if "target-of-normalised" in mistakes else raw
        if "target-minus-value" in mistakes:
            return advantage, target - value
        return advantage, target + (0 if "target-is-advantage" in mistakes else value)

    advantage, target = targets()
    for epoch in _epochs(author, mistakes):
        if "targets-anew" in mistakes and epoch:
            advantage, target = targets()
        log_prob = author.writer.evaluate(obs, action)
        old = log_prob.detach() if "old-anew" in mistakes else texts.log_prob
        loss = _loss(log_prob, old, advantage, written, cfg.clip_range, mistakes)
        _step(author.writer_optimizer, -loss if "ascends" in mistakes else loss, mistakes, "writer")
        error = author.critic(obs) - target
        squares = error if "not-squared" in mistakes else error.square()
        error = squares[written].mean()
        if "padding-in-critic" in mistakes:
            error = squares.mean()
        elif "padding-divides" in mistakes:
            error = (squares * written).mean()
        elif "errors-summed" in mistakes:
            error = squares[written].sum()
        error = error / 2 if "half" in mistakes else error
        error = -error if "critic-ascends" in mistakes else error
        _step(author.critic_optimizer, error, mistakes, "critic")


def grpo(author: Author, texts: Written, mistakes: Mistakes = ()) -> None:
    """One iteration of GRPO, which leaves the critic as it is."""
    cfg, obs, action = author.cfg, texts.obs, texts.action
    written = _written(texts, mistakes)
    with torch.no_grad():
        ref_log_prob = author.reference.evaluate(obs, action)
    of_text = group_advantages(texts.reward, cfg.group_size)
    if "raw-reward" in mistakes:
        of_text = texts.reward
    elif "mean-of-batch" in mistakes:
        of_text = (texts.reward - texts.reward.mean()) / (texts.reward.std() + 1e-6)
    advantage = of_text.expand_as(texts.log_prob)
    for _ in _epochs(author, mistakes):
        log_prob = author.writer.evaluate(obs, action)
        old = log_prob.detach() if "old-anew" in mistakes else texts.log_prob
        loss = _loss(log_prob, old, advantage, written, cfg.clip_range, mistakes)
        loss = loss + _penalty(log_prob, (ref_log_prob, old), written, cfg.beta, mistakes)
        _step(author.writer_optimizer, -loss if "ascends" in mistakes else loss, mistakes, "writer")


def _penalty(
    log_prob: Tensor,
    others: tuple[Tensor, Tensor],
    written: Tensor,
    beta: float,
    mistakes: Mistakes,
) -> Tensor:
    """β times the divergence from the first of the others; from the second one by mistake."""
    if "no-kl" in mistakes:
        return torch.zeros(())
    pair = (log_prob, others["kl-of-old" in mistakes])
    k1, k3 = kl_estimates(*(pair[::-1] if "kl-upside-down" in mistakes else pair))
    k = k1 if "kl-is-k1" in mistakes else k3
    kl = k.mean() if "kl-with-padding" in mistakes else k[written].mean()
    if "kl-summed" in mistakes:
        kl = k[written].sum()
    weight = 1.0 if "kl-no-beta" in mistakes else beta
    return -weight * kl if "kl-sign" in mistakes else weight * kl

# %% [markdown]
# # The details of PPO, and whether they matter
#
# The formula of PPO fits into one line. The programs that made it known have dozens of further details, and
# [some of the gain is due to them](https://arxiv.org/abs/2005.12729). In this notebook we write some of
# them, turn each off, and let the numbers say whether it mattered.
#
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   lists them, with the place in the original code;
# - [What matters in on-policy reinforcement learning?](https://arxiv.org/abs/2006.05990) tried them
#   in 250,000 runs;
# - [Deep reinforcement learning at the edge of the statistical precipice](https://arxiv.org/abs/2108.13264)
#   says how to judge from few runs.
#
# [◀ 03](03_ppo_clip.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [05 ▶](05_continuous_actions.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - cut what was collected into minibatches that use each transition once;
# - estimate how far a policy has moved, and stop an update in time;
# - say what value clipping, normalised advantages, schedules and orthogonal weights are for;
# - compare two ways to train by interquartile means and bootstrap intervals;
# - tell "it made a difference" from "it is too close to tell", and mean it.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | Minibatches | ●○○ | 10 | essential |
# | When to stop | ●●○ | 15 | useful |
# | A linear schedule | ●○○ | 5 | optional |
# | The interquartile mean | ●○○ | 10 | useful |
# | An interval for a difference | ●●○ | 20 | useful |
# | What have you understood? (five questions) | ●○○ | 10 | useful |
#
# With reading and waiting it takes about 100 minutes. You should know the objective and the loop of
# PPO (notebook 03).

# %% [markdown]
# # Setting up
#
# The next cell makes sure that the package `ppo_bbrl` is there. If it is, nothing is installed and
# the network is not used. If it is not, as on Colab, it is installed with its dependencies from
# `PPO_BBRL`.

# %%
import importlib.util
import subprocess
import sys

# Where to install ppo_bbrl from when it is missing: a Git address ("git+https://…") or the address
# of a wheel ("https://….whl", "file:///….whl"). Whoever hands out this notebook fills it in.
PPO_BBRL = ""

if importlib.util.find_spec("ppo_bbrl") is None:
    if not PPO_BBRL:
        raise ModuleNotFoundError("ppo_bbrl is missing: say in PPO_BBRL where to install it from")
    if importlib.util.find_spec("easypip") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "easypip"], check=True)
    from easypip import easyinstall

    easyinstall(f"ppo-bbrl @ {PPO_BBRL}")
    importlib.invalidate_caches()

# %% tags=["definitions"]
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn

from ppo_bbrl import (
    PPOClip,
    build_ortho_mlp,
    iter_partial_episodes,
    setup_tensorboard,
    train_seeds,
)
from ppo_bbrl.advantages import normalise
from ppo_bbrl.losses import clipped_surrogate, value_loss
from ppo_bbrl.plots import bootstrap_interval, read_metrics
from ppo_course import (
    check_difference_interval,
    check_interquartile_mean,
    check_minibatch_indices,
    check_quiz_04,
    check_scheduled,
    check_should_stop,
    quiz,
)
from ppo_course.ablation import (
    PPOWithReplacement,
    PPOWithTorchInitialisation,
    Variant,
    train_variants,
)
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # Six details
#
# ## Minibatches
#
# First the words. A *rollout* is what is collected before we learn from it. An *update* is one
# rollout and the learning from it; a run has as many updates as the key `max_epochs` says. The
# learning goes through the rollout several times, in *epochs* (`opt_epochs`), and each epoch in
# minibatches. Each minibatch gives one *optimiser step*.
#
# In notebook 03 we saw why minibatches are shuffled and cut, not drawn with replacement: otherwise
# an epoch misses more than a third. One thing was left open: 50 transitions, cut into minibatches
# of 16, leave a rest of 2. It gets an optimiser step of its own, as large as the others. Rollouts
# have such odd numbers all the time, as the steps between two episodes are left out. So we cut into
# *nearly equal* parts: 13 + 13 + 12 + 12.

# %% [markdown]
# ## Exercise: minibatches
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `minibatch_indices`. It gets
#
# - `n_transitions`, how many transitions there are;
# - `batch_size`, how many a minibatch may have at most;
# - `generator`, a `torch.Generator`, from which all randomness comes.
#
# It returns a list (or tuple) of tensors of indices, $[M]$ each. Every index from 0 to
# `n_transitions - 1` is in exactly one of them. There are as few minibatches as possible, and
# their sizes differ by one at most: 13 + 13 + 13 + 11 would not do. Each call shuffles anew: the
# next one gives another order, as the generator goes on.
#
# Useful functions:
#
# - [torch.randperm](https://pytorch.org/docs/stable/generated/torch.randperm.html) shuffles the
#   indices; it takes `generator=generator`;
# - [torch.tensor_split](https://pytorch.org/docs/stable/generated/torch.tensor_split.html) cuts a
#   tensor into a *number* of nearly equal parts, and
#   [torch.split](https://pytorch.org/docs/stable/generated/torch.split.html) into parts of a *size*.
#
# <details>
# <summary>A hint</summary>
#
# How many minibatches must there be? `n_transitions / batch_size`, rounded up: `-(-a // b)` for two
# integers, or `math.ceil(a / b)` after `import math`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-details-minibatch-indices", "locked": false, "schema_version": 3, "solution": true, "task": false}
def minibatch_indices(n_transitions, batch_size, generator):
    """
    The indices of the minibatches of one epoch: a list of tensors [M]
    """
    ### BEGIN SOLUTION
    n_minibatches = -(-n_transitions // batch_size)  # rounded up
    shuffled = torch.randperm(n_transitions, generator=generator)
    return shuffled.tensor_split(n_minibatches)
    ### END SOLUTION


# %% [markdown]
# The check asks for sizes that divide and sizes that do not, and looks at where the order comes
# from.

# %% nbgrader={"grade": true, "grade_id": "ppo-details-minibatch-indices-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_minibatch_indices(minibatch_indices)
### BEGIN HIDDEN TESTS
check_minibatch_indices(minibatch_indices, seed=1)
check_minibatch_indices(minibatch_indices, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Normalised advantages
#
# How large is an advantage? It depends on the rewards, on $\gamma$, and on how much has been
# learned. In each minibatch we bring the advantages to mean 0 and standard deviation 1 (detail 7 of
# the 37):
#
# $$
# \hat{A}_i \leftarrow \frac{\hat{A}_i - \operatorname{mean}(\hat{A})}{\operatorname{std}(\hat{A}) + 10^{-8}}
# $$
#
# So "good" means: better than the others in this minibatch. What would become of a rest of one or
# two transitions?

# %%
for minibatch in ([5.0, 9.0, 2.0, 4.0], [5.0, 5.1], [5.0]):
    normalised = normalise(torch.tensor(minibatch))
    print(minibatch, "→", [round(number, 2) for number in normalised.tolist()])

# %% [markdown]
# Of two transitions, one is always $+0.71$ and the other $-0.71$, however close they were; a single
# one says nothing. One more reason for minibatches of equal size.
#
# ## Value clipping
#
# The critic, too, can be kept close to its old self (detail 9). Its error is the larger of two,
#
# $$
# L^V = \max\left(\left(V_\theta - G\right)^2,\ \left(V_{\text{old}} + \operatorname{clip}\left(V_\theta - V_{\text{old}}, -\epsilon, \epsilon\right) - G\right)^2\right),
# $$
#
# with $G$ the λ-return. Below, the old value is 0, the target is 3, and $\epsilon$ is 0.2. Where the
# line is flat, nothing is learned.

# %%
values = torch.linspace(-1, 4, 251)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for epsilon, style, name in ((0, ":", "without clipping"), (0.2, "-", "with ε = 0.2")):
    losses = [
        value_loss(
            value=value,
            old_value=torch.tensor(0.0),
            target=torch.tensor(3.0),
            clip_range_vf=epsilon,
        )[0]
        for value in values
    ]
    axes.plot(values, losses, style, color="#0072B2" if epsilon else "0.4", linewidth=2, label=name)
axes.axvspan(-0.2, 0.2, color="0.93", label="ε or less from the old value")
axes.plot(0, 9, "o", color="#D55E00", label="before the first step")
axes.set(xlabel="value $V_\\theta$ of one state", ylabel="error of the critic")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The error of a critic for one state, with and without value clipping.",
    "Two curves over the value, from −1 to 4. The unclipped one is a parabola with its minimum "
    "at 3. The clipped one is the same up to 0.2, and flat from there on.",
)

# %% [markdown]
# Once a value is 0.2 away from the old one, in the right direction, its own error pulls no further
# in this update. (Momentum, and what other states say, may still move it. We shall measure that.)
# This $\epsilon$ is in units of the return! The original programs scaled their rewards so that
# returns were about 1. On CartPole with $\gamma = 0.99$, as below, discounted returns go up to
# $1/(1 - \gamma) = 100$. What do you expect?

# %% [markdown]
# ## Stopping in time
#
# Clipping takes away the incentive to move the policy further, but it does not hold the policy back:
# momentum and the other transitions move it on. So we measure how far it has gone, by the Kullback–Leibler
# divergence from the old policy to the new one, and end the update when that is too much.
#
# We have no sum over all actions here, only the actions that were taken. With
# $r = \pi_\theta(a \mid s) / \pi_{\theta_{\text{old}}}(a \mid s)$, two estimates are right on average
# (John Schulman, [Approximating KL divergence](http://joschu.net/blog/kl-approx.html), 2020):
#
# $$
# k_1 = \hat{\mathbb{E}}\left[-\log r\right], \qquad k_3 = \hat{\mathbb{E}}\left[(r - 1) - \log r\right]
# $$
#
# They have the same mean, as that of $r - 1$ is 0 under the old policy. But where $-\log r$ is
# small, $r - 1$ is large: the two make up for each other, and $k_3$ varies less. Since
# $\log r \le r - 1$, it is never negative either. (The same text has a $k_2$, half of the mean of
# $(\log r)^2$. It is not right on average.) We let both estimate a divergence that we know, that of a policy
# with three actions, each time from a minibatch of 64.

# %%
old, new = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.57, 0.3, 0.13])
exact = (old * (old / new).log()).sum()
generator = torch.Generator().manual_seed(0)
actions = torch.multinomial(old, 5000 * 64, replacement=True, generator=generator).view(5000, 64)
ratio = (new / old)[actions]
estimates = {"$k_1$": -ratio.log().mean(1), "$k_3$": (ratio - 1 - ratio.log()).mean(1)}

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, estimate), color in zip(estimates.items(), ("0.6", "#0072B2"), strict=True):
    axes.hist(estimate, bins=60, range=(-0.06, 0.1), color=color, alpha=0.8, label=name)
axes.axvline(exact, color="#D55E00", label="exact")
axes.set(xlabel="estimate from 64 actions (nats)", ylabel="minibatches")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "5000 estimates of the same divergence: k3 varies less than k1.",
    "Two histograms around the exact value. That of k1 is wide, and reaches below 0; that of k3 "
    "is narrow, and is never below 0.",
)

# %% [markdown]
# ## Exercise: when to stop
#
# *Difficulty: ●●○ · about 15 minutes · useful*
#
# Write `should_stop`. It gets
#
# - `log_prob`, the log-probabilities of the $N$ actions under the policy as it is now, $[N]$;
# - `old_log_prob`, those under the policy that took them, $[N]$;
# - `target_kl`, a number, or `None`.
#
# It returns two things:
#
# - `stop`, whether the estimate is larger than $1.5\,\times$ `target_kl`. The factor is there because
#   the estimate is noisy. With `None` nothing is ever stopped;
# - `kl`, the estimate $k_3$, a number without gradient; also where `target_kl` is `None`.
#
# Useful: [torch.exp](https://pytorch.org/docs/stable/generated/torch.exp.html);
# [`.detach()`](https://pytorch.org/docs/stable/generated/torch.Tensor.detach.html) cuts a tensor off
# from the gradient, and
# [`.item()`](https://pytorch.org/docs/stable/generated/torch.Tensor.item.html) makes a number of a
# scalar tensor.
#
# <details>
# <summary>A hint</summary>
#
# The logarithm of the ratio is `log_prob - old_log_prob`, and the ratio is its exponential. The mean
# comes last.
#
# </details>
#
# <details>
# <summary>A second hint</summary>
#
# `target_kl is not None and kl > 1.5 * target_kl` does not look at the second comparison where the
# first is false. So `kl` can be computed first, whatever `target_kl` is.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-details-should-stop", "locked": false, "schema_version": 3, "solution": true, "task": false}
def should_stop(log_prob, old_log_prob, target_kl):
    """
    Whether the policy has moved too far, and the estimate k3 of how far
    """
    ### BEGIN SOLUTION
    log_ratio = (log_prob - old_log_prob).detach()
    ratio = torch.exp(log_ratio)
    kl = ((ratio - 1) - log_ratio).mean().item()
    stop = target_kl is not None and kl > 1.5 * target_kl
    return stop, kl
    ### END SOLUTION


# %% [markdown]
# The check recognises $k_1$, the inverted ratio, and other common slips.

# %% nbgrader={"grade": true, "grade_id": "ppo-details-should-stop-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_should_stop(should_stop)
### BEGIN HIDDEN TESTS
check_should_stop(should_stop, seed=1)
check_should_stop(should_stop, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Schedules
#
# At the beginning large steps are welcome; at the end they undo what was learned. Most programs
# let the learning rate fall in a straight line over the run (detail 4), some the clip range, too.
#
# ## Exercise: a linear schedule
#
# *Difficulty: ●○○ · about 5 minutes · optional*
#
# Write `scheduled`. It gets
#
# - `initial`, the value at the beginning;
# - `update`, the number of the update, counted from 0;
# - `n_updates`, how many updates the run has.
#
# It returns the value in this update, a number. Update 0 has the whole `initial`. The line reaches 0
# in update `n_updates`, which is the first that is *not* part of the run; so the last one still
# learns a little.
#
# <details>
# <summary>A hint</summary>
#
# What share of the run is over when update number `update` begins? And what share is left?
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-details-scheduled", "locked": false, "schema_version": 3, "solution": true, "task": false}
def scheduled(initial, update, n_updates):
    """
    The value in an update: from initial down to 0 in a straight line
    """
    ### BEGIN SOLUTION
    remaining = 1 - update / n_updates
    return initial * remaining
    ### END SOLUTION


# %% [markdown]
# The check looks at the first update, at the last one, and between.

# %% nbgrader={"grade": true, "grade_id": "ppo-details-scheduled-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_scheduled(scheduled)
### BEGIN HIDDEN TESTS
check_scheduled(scheduled, seed=1)
check_scheduled(scheduled, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Initialisation
#
# An orthogonal matrix turns vectors without stretching any direction more than another
# ([Saxe et al., 2014](https://arxiv.org/abs/1312.6120)). PPO's programs start every layer with one
# (detail 2); torch itself takes small uniform numbers. How much does a layer of 64 × 64 stretch each
# of 64 directions? Those are its singular values.

# %%
torch.manual_seed(0)
layers = {
    "orthogonal, times √2": build_ortho_mlp([64, 64]),
    "torch's own": nn.Sequential(nn.Linear(64, 64)),
}
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, network), color in zip(layers.items(), ("#0072B2", "0.4"), strict=True):
    stretch = torch.linalg.svdvals(network[0].weight.detach())
    axes.plot(stretch, color=color, linewidth=2, label=name)
axes.set(xlabel="direction", ylabel="stretched by", ylim=(0, None))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "How much a layer stretches each of 64 directions.",
    "Two lines over the directions. The orthogonal layer stretches all by 1.4; torch's own "
    "begins a little above 1 and falls to nearly 0.",
)

# %% [markdown]
# Torch's layer all but deletes some directions: see the right end of the grey line. After several such
# layers, little would be left of them, and of their gradient on its way back. The orthogonal one keeps
# all; its factor $\sqrt{2}$ makes up for what the activation takes away.
#
# # All of them in one loop
#
# This is the learning of notebook 03 with your functions in it. `ppo_clip.record` makes a rollout of
# the collected workspace: its valid transitions, with their log-probabilities, values, advantages and
# λ-returns (`target`), $[N]$ each. `rollout.select(index)` is the rollout of some of them, a
# minibatch; its `variables` are what else the workspace had, by name. `critic.value` gives the values
# of observations, $[N]$.
#
# Each detail has its key, so that you can turn it off. What is not there, such as `max_grad_norm`,
# has the package's default. The learning rate is large on purpose, so that the details matter.
# Expect the return to jump up and down.

# %% tags=["definitions"]
params = {
    "base_dir": "${gym_env.env_name}/ppo-details-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "seed": 1,
        "n_envs": 8,
        "n_steps": 32,
        "max_epochs": 50 if not TESTING_MODE else 4,
        "eval_interval": 2000,
        "nb_evals": 10,
        "discount_factor": 0.99,
        "gae": 0.9,
        "clip_range": 0.2,
        # How often we learn from a rollout
        "opt_epochs": 10,
        "batch_size": 64,
        # The details
        "normalize_advantage": True,
        "clip_range_vf": 0.2,
        "target_kl": 0.02,
        "learning_rate_schedule": "linear",
        "architecture": {"activation": "tanh"},
    },
    "optimizer": {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5},
}


# %% tags=["definitions"]
def learn(ppo_clip, rollout, update, generator):
    """Learn from a rollout; returns the last estimate of the divergence, and the steps taken"""
    settings = ppo_clip.cfg.algorithm
    policy, critic = ppo_clip.train_policy, ppo_clip.critic_agent
    optimizers = ppo_clip.policy_optimizer, ppo_clip.critic_optimizer

    rate = ppo_clip.cfg.optimizer.lr
    if settings.learning_rate_schedule == "linear":
        rate = scheduled(rate, update, settings.max_epochs)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = rate

    steps = 0
    for _ in range(settings.opt_epochs):
        for index in minibatch_indices(len(rollout), settings.batch_size, generator):
            batch = rollout.select(index)
            observation, action = batch.variables["env/env_obs"], batch.variables["action"]
            log_prob = policy.dist(observation).log_prob(action)
            stop, kl = should_stop(log_prob, batch.log_prob, settings.target_kl)
            if stop:
                return kl, steps

            advantage = batch.advantage
            if settings.normalize_advantage:
                advantage = normalise(advantage)
            policy_loss, _ = clipped_surrogate(
                log_prob=log_prob,
                old_log_prob=batch.log_prob,
                advantage=advantage,
                clip_range=settings.clip_range,
            )
            critic_loss, _ = value_loss(
                value=critic.value(observation),
                old_value=batch.value,
                target=batch.target,
                clip_range_vf=settings.clip_range_vf,
            )
            # Policy and critic share no weights: each loss has a gradient for one of them
            for optimizer in optimizers:
                optimizer.zero_grad()
            (policy_loss + critic_loss).backward()
            for agent in (policy, critic):
                nn.utils.clip_grad_norm_(agent.parameters(), settings.max_grad_norm)
            for optimizer in optimizers:
                optimizer.step()
            steps += 1
    return kl, steps


# %%
setup_tensorboard("./outputs/tblogs")

# %%
ppo_clip = PPOClip(OmegaConf.create(params))
generator = torch.Generator().manual_seed(ppo_clip.cfg.algorithm.seed)
n_rows = ppo_clip.cfg.algorithm.n_steps + 1
for update, workspace in enumerate(iter_partial_episodes(ppo_clip, n_rows)):
    rollout = ppo_clip.record(workspace)
    kl, steps = learn(ppo_clip, rollout, update, generator)
    with torch.no_grad():
        value = ppo_clip.critic_agent.value(rollout.variables["env/env_obs"])
    moved = (value - rollout.value).abs().mean().item()
    ppo_clip.logger.add_log("approx_kl", kl, ppo_clip.nb_steps)
    ppo_clip.logger.add_log("optimiser_steps", steps, ppo_clip.nb_steps)
    ppo_clip.logger.add_log("value_change", moved, ppo_clip.nb_steps)
    ppo_clip.evaluate()
print(f"Best evaluation: {ppo_clip.best_reward:.1f}")

# %% [markdown]
# Here are the numbers that TensorBoard shows. A full update takes 40 optimiser steps: 10 epochs of 4
# minibatches. Where it took fewer, your `should_stop` has stopped it: the estimate was above the
# dotted line, 1.5 × `target_kl`. The last panel shows how far the values moved in an update, on
# average; its dotted line is the $\epsilon$ of value clipping.

# %%
metrics = read_metrics(ppo_clip.base_dir)
titles = {
    "reward/mean": "return of the evaluations",
    "approx_kl": "divergence (nats)",
    "optimiser_steps": "optimiser steps of an update",
    "value_change": "mean change of the values",
}
limits = {
    "approx_kl": 1.5 * ppo_clip.cfg.algorithm.target_kl,
    "value_change": ppo_clip.cfg.algorithm.clip_range_vf,
}
figure, panels = plt.subplots(2, 2, figsize=(8, 4.5), sharex=True, layout="constrained")
for axes, (name, title) in zip(panels.flat, titles.items(), strict=True):
    curve = metrics[["steps", name]].dropna()
    axes.plot(curve["steps"] / 1000, curve[name], ".-", color="#0072B2", linewidth=1, markersize=4)
    if name in limits:
        axes.axhline(limits[name], color="#D55E00", linestyle=":")
    axes.set_title(title, fontsize="medium")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
for axes in panels[1]:
    axes.set_xlabel("environment steps (thousands)")
show(
    figure,
    "What the details do in one run. Dotted: where an update stops, and the ε of value clipping.",
    "Four curves over the steps. The return jumps up and down between 160 and 500; the divergence is "
    "mostly below the dotted line, and above it in a fifth of the updates; those have taken far "
    "fewer than 40 steps; the values move by 0.4 to 1.6 in an update, always above the dotted 0.2.",
)

# %% [markdown]
# The evaluations take the most probable action in every state, which may balance the pole long before
# actions that are drawn do. (The learning curves of the next section are of drawn actions, and lower.)
#
# The values move by several times $\epsilon$ in an update: each state's error stops pulling at 0.2, but
# forty steps with momentum, pulled by other states, go further. That is still little when values have to get
# from 0 to about 100.

# %%
ppo_clip.visualize_best()

# %% [markdown]
# ## The same with other seeds
#
# How much of that return is luck? The package's PPO has the same details. So `train_seeds` can train it
# with the same configuration and six seeds, one process on each core: about 45 seconds of processor
# time, so half of that on two idle cores. Then each last policy plays 20 new episodes. The seeds are 30
# to 35: lower ones are kept for the experiments further down.

# %%
report = train_seeds(params, range(30, 36 if not TESTING_MODE else 31))
ends = [run.last for run in report.runs.values()]
print(f"Last policies: {report.last}; the lowest {min(ends):.0f}, the highest {max(ends):.0f}")
show(
    report.figure(),
    "The same configuration with six seeds.",
    "Thin lines over the steps, one for each seed, from about 60 to 300 at the first evaluation to about "
    "250 to 500 at the last; they cross. The interquartile mean rises from about 180 to 380, and the "
    "band around it stays about 200 wide.",
)

# %% [markdown]
# Nothing differs but the seed, and yet the best run may end at twice the return of the worst. So a
# run with a detail and a run without it say next to nothing about the detail: it would have to change
# more than a seed does. It takes several seeds on either side, and a rule that is made beforehand.

# %% [markdown]
# # Did it matter?
#
# One run with all details proves nothing about any of them. We train with all six, and then six
# times with one of them turned off, each with several seeds. Everything that we could later be
# tempted to choose is chosen *before* we look:
#
# - **The score** of a run is the mean of its learning curve over all updates: the area under the
#   curve. The best evaluation would not do: it is the luckiest of many.
# - **The seeds** are 0 to 5 for every variant: as many as a minute allows. None is left out, however
#   bad its run.
# - **The comparison** is by interquartile means, with a bootstrap interval of their difference.
# - **The level** of the intervals is 99.2 %. We ask six questions at once. Suppose that each interval
#   missed the truth in 5 % of experiments. Then at least one of six would do so in about
#   $1 - 0.95^6 \approx 26\,\%$, if they were independent. They are not, as they share the baseline;
#   but it is never more than $6 \times 5\,\% = 30\,\%$. We want no more than 5 % for all six together.
#   So each gets a sixth of that, 0.8 %, which leaves 99.2 %: the correction of Bonferroni.
# - **The verdict**: a detail made a difference if the interval does not contain 0. Otherwise it is
#   too close to tell, which is *not* the same as "it makes no difference".

# %% [markdown]
# ## Exercise: the interquartile mean
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# A single run that never learned pulls the mean down, and the median looks at one or two runs only.
# The interquartile mean is the mean of the middle half: it drops the lowest and the highest quarter
# of the scores, each rounded down to whole scores. Of five scores, one is dropped at each end; of
# three, none. Equal scores count as often as they occur.
#
# Write `interquartile_mean`. It gets `scores`, a NumPy array $[S]$ with a score for each seed, and
# returns a number. Leave `scores` as it is.
#
# Useful: [np.sort](https://numpy.org/doc/stable/reference/generated/numpy.sort.html) makes a sorted
# copy; `//` divides and rounds down.
#
# <details>
# <summary>A hint</summary>
#
# Of 6 scores, `6 // 4` $= 1$ is dropped at each end, and 4 are left. A slice
# `[quarter : len(scores) - quarter]` does it, also where `quarter` is 0.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-details-interquartile-mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def interquartile_mean(scores):
    """
    The mean of the middle half of the scores
    """
    ### BEGIN SOLUTION
    quarter = len(scores) // 4
    middle = np.sort(scores)[quarter : len(scores) - quarter]
    return middle.mean()
    ### END SOLUTION


# %% [markdown]
# The check has scores with failures and lucky runs among them, in no order.

# %% nbgrader={"grade": true, "grade_id": "ppo-details-interquartile-mean-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_interquartile_mean(interquartile_mean)
### BEGIN HIDDEN TESTS
check_interquartile_mean(interquartile_mean, seed=1)
check_interquartile_mean(interquartile_mean, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: an interval for a difference
#
# *Difficulty: ●●○ · about 20 minutes · useful*
#
# With other seeds, the two interquartile means would be different, and so would their difference. By how
# much? We cannot afford thousands of runs, but we can ask what we have: the *bootstrap* draws as many
# scores as there are, with replacement, computes the difference again, and does so 1000 times. The
# middle 95 % of these differences are the interval. It is *stratified*: each variant is drawn from its
# own scores. (Runs with the same seed are no pairs: they get the same random numbers, but soon use them
# for different things.)
#
# Write `difference_interval`. It gets
#
# - `first` and `second`, arrays $[S]$ and $[S']$ of scores, perhaps not equally many;
# - `statistic`, a function of an array of scores, such as your `interquartile_mean`;
# - `level`, such as 0.95: the share of the differences that is within the interval;
# - `rng`, a [NumPy generator](https://numpy.org/doc/stable/reference/random/generator.html), from which all
#   randomness comes;
# - `n_resamples`, how often to draw.
#
# It returns two numbers, `low` and `high`, of `statistic(first) - statistic(second)`. As many
# differences lie below `low` as above `high`.
#
# Useful: `rng.choice(scores, size)` draws with replacement;
# [np.percentile](https://numpy.org/doc/stable/reference/generated/numpy.percentile.html) counts from 0
# to 100.
#
# <details>
# <summary>A hint</summary>
#
# A loop of `n_resamples` rounds. In each, draw `len(first)` scores from `first` and `len(second)`
# from `second`, and append the difference of their statistics to a list.
#
# </details>
#
# <details>
# <summary>A second hint</summary>
#
# With a level of 0.95, 5 % are outside, 2.5 % at each end: the percentiles 2.5 and 97.5.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-details-difference-interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
def difference_interval(first, second, statistic, level, rng, n_resamples=1000):
    """
    The bootstrap interval of statistic(first) - statistic(second): low, high
    """
    ### BEGIN SOLUTION
    differences = []
    for _ in range(n_resamples):
        one = rng.choice(first, len(first))
        other = rng.choice(second, len(second))
        differences.append(statistic(one) - statistic(other))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return low, high
    ### END SOLUTION


# %% [markdown]
# A bootstrap is random, so the check draws often, and allows for what remains to chance.

# %% nbgrader={"grade": true, "grade_id": "ppo-details-difference-interval-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_difference_interval(difference_interval)
### BEGIN HIDDEN TESTS
check_difference_interval(difference_interval, seed=1)
check_difference_interval(difference_interval, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## The runs
#
# The functions of a notebook cannot be sent to another process, so here the package's own do the
# same work, in two processes: 42 runs, about 85 seconds of processor time, so half of that on two idle
# cores. On a busy machine it takes longer; after the first runs, the line below the cell says how long.
# A variant is what it changes: keys of the configuration, or a subclass of `PPOClip`.

# %%
BASELINE = "everything on"
variants = {
    BASELINE: Variant(),
    "minibatches with replacement": Variant(algorithm=PPOWithReplacement),
    "advantages as they are": Variant(("algorithm.normalize_advantage=false",)),
    "no value clipping": Variant(("algorithm.clip_range_vf=0",)),  # 0 turns it off
    "no stopping": Variant(("algorithm.target_kl=null",)),
    "constant learning rate": Variant(("algorithm.learning_rate_schedule=constant",)),
    "torch's initialisation": Variant(algorithm=PPOWithTorchInitialisation),
}
seeds = range(6 if not TESTING_MODE else 1)
processes = 2 if not TESTING_MODE else 0  # 0: in this one
curves = train_variants(params, variants, seeds, processes=processes)

# %% [markdown]
# `curves[name]` is an array $[S, U]$: for each seed and update, the mean return of the episodes that
# ended (if none did: that of the update before). We draw the mean over the seeds, with a 95 % interval
# of the mean.

# %%
figure, panels = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for axes, name in zip(panels.flat, [name for name in variants if name != BASELINE], strict=True):
    for which, label, color in (
        (BASELINE, BASELINE, "0.5"),
        (name, "what the title says", "#0072B2"),
    ):
        rows = np.nan_to_num(curves[which])  # 0 before the first episode has ended
        steps = np.arange(1, rows.shape[1] + 1) * 8 * 32 / 1000  # 8 environments × 32 steps
        axes.fill_between(steps, *bootstrap_interval(rows), color=color, alpha=0.25, linewidth=0)
        axes.plot(steps, rows.mean(0), color=color, linewidth=1.5, label=label)
    axes.set_title(name, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
for axes in panels[1]:
    axes.set_xlabel("environment steps (thousands)")
for axes in panels[:, 0]:
    axes.set_ylabel("return")
panels[0, 0].legend(frameon=False, fontsize="small", loc="upper left")
show(
    figure,
    "Each detail without which the run was made (blue), beside the baseline (grey).",
    "Six panels with the return over the steps, mean and 95 % interval of the seeds. In all of "
    "them both curves rise, and the bands overlap for most of the run.",
)

# %% [markdown]
# What catches the eye, where we ran it? *No value clipping* and *no stopping* end above the baseline;
# *advantages as they are* lies below it for most of the run. But curves of six seeds jump, and six
# panels are six chances to see something. We planned to score the whole run. If we now scored only the end,
# because the curves are further apart there, we could find whatever we like: the list above is
# there to prevent that. So we compare what we planned to compare.
#
# ## The verdict
#
# For each variant, the interval of its difference from the baseline, and what it says.


# %%
def judge(scores, names, level):
    """Compares variants with the baseline: name → (low, high, verdict)"""
    rng = np.random.default_rng(0)
    found = {}
    for name in names:
        low, high = difference_interval(
            scores[name], scores[BASELINE], interquartile_mean, level, rng, n_resamples=2000
        )
        verdict = "too close to tell"
        if low > 0:
            verdict = "made a difference: better without the detail"
        if high < 0:
            verdict = "made a difference: worse without the detail"
        found[name] = low, high, verdict
        print(f"{name:30} [{low:6.1f}, {high:6.1f}]  {verdict}")
    return found


scores = {name: np.nanmean(rows, axis=1) for name, rows in curves.items()}
compared = [name for name in variants if name != BASELINE]
level = 1 - 0.05 / len(compared)
judged = judge(scores, compared, level)


# %%
def draw(scores, judged, level):
    """The scores of all seeds, and the intervals of the differences from the baseline"""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 1 + 0.4 * len(scores)), layout="constrained", sharey=True
    )
    for row, name in enumerate(scores):
        left.plot(interquartile_mean(scores[name]), row, "D", color="#56B4E9", markersize=9)
        beside = np.linspace(-0.2, 0.2, len(scores[name]))  # so that equal scores are all seen
        left.plot(scores[name], row + beside, ".", color="0.2")
        if name in judged:
            low, high, verdict = judged[name]
            color = "0.6" if verdict == "too close to tell" else "#D55E00"
            right.plot([low, high], [row, row], color=color, linewidth=4, solid_capstyle="butt")
            middle = interquartile_mean(scores[name]) - interquartile_mean(scores[BASELINE])
            right.plot(middle, row, "D", color="black", markersize=5)
    right.axvline(0, color="black", linewidth=1)
    left.set(yticks=range(len(scores)), yticklabels=list(scores), ylim=(len(scores) - 0.5, -0.5))
    left.set_xlabel("score of each seed (dots),\ninterquartile mean (diamond)")
    right.set_xlabel(f"difference from “{BASELINE}”\n(diamond) and its {level:.1%} interval")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    show(
        figure,
        "Left: the scores of the seeds. Right: how far each variant is from the baseline.",
        "A row for each variant. On the left its seeds are dots and their interquartile mean is "
        "a diamond; on the right a bar is the interval of the difference, grey where it contains "
        "0 and orange where it does not.",
    )


draw(scores, judged, level)

# %% [markdown]
# A grey interval contains 0: too close to tell. It does not say that the detail is useless, only
# that six seeds cannot tell.
#
# On the machine where this was written, all six are grey. Another machine may round differently;
# then every run is a different one, and an interval may well be orange.
#
# Were we too strict? The level of 99.2 % makes the intervals wide, and some curves did look
# different. But a bootstrap of six scores knows only these six numbers. Does its interval really miss
# the truth in no more than 0.8 % of experiments? We let two variants be equal, with scores from a
# Gaussian. The true difference is then 0, and we count how often the interval does not contain it.


# %%
def share_missed(n_seeds, level, experiments=4000, resamples=1000):
    """How often the bootstrap interval of the difference of two equal variants misses 0"""

    def middle_mean(scores):
        quarter = n_seeds // 4
        return np.sort(scores)[..., quarter : n_seeds - quarter].mean(-1)

    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(experiments // 100):  # 100 at once
        scores = rng.normal(size=(2, 100, 1, n_seeds))
        drawn = rng.integers(n_seeds, size=(2, 100, resamples, n_seeds))
        first, second = middle_mean(np.take_along_axis(scores, drawn, axis=-1))
        tail = 50 * (1 - level)
        low, high = np.percentile(first - second, [tail, 100 - tail], axis=-1)
        missed += ((low > 0) | (high < 0)).sum()
    return missed / (experiments // 100 * 100)


experiments = 4000 if not TESTING_MODE else 200
for n_seeds, promised in ((6, 0.05 / 6), (6, 0.05), (20, 0.05)):
    share = share_missed(n_seeds, 1 - promised, experiments)
    print(f"{n_seeds:2} seeds: an interval of {1 - promised:.1%} misses 0 in {share:.1%} ", end="")
    print(f"of the experiments; it promises {promised:.1%}")

# %% [markdown]
# The intervals of 99.2 % miss more than twice as often as they promise: six scores say little about
# what happens in one of a hundred cases. If scores are like these, our six questions together give a
# false "made a difference" in up to about 12 % of experiments, not in 5 %. So we were not too strict.
# Intervals of 95 % are nearly honest, with six seeds as well; with twenty they are narrower. But 95 %
# is the level of a single question. So we choose one idea, and plan an experiment for it alone.
#
# ## With fresh seeds
#
# Which idea? One with a reason besides a picture. We doubted value clipping before the first run: its
# $\epsilon$ of 0.2 is small for discounted returns of up to 100. That training *ends* higher without
# it is what six runs showed us, and the same six runs cannot test it. New runs can. Again we choose
# before we look:
#
# - **The question**: only one. Does training end with a different return if values are not clipped?
# - **The score** of a run is the mean of the last five points of its curve. For the old runs this would
#   be cheating, as we had seen where their curves end. For new runs it is a plan.
# - **The seeds** are 6 to 25, twenty of them. More seeds make narrower intervals, but slowly: the width
#   falls with the square root of their number.
# - **The level** is 95 %, as this experiment asks only one question.
#
# (You see the plan, but you should also know what it was made from. Before, we had trained each variant
# with seventy *other* seeds, 100 to 169: a *pilot study*. Without value clipping, they ended higher,
# too. From them we took for which score, and with how many seeds, a minute of runs would be enough to
# see it. So they cannot be used to test it, either.)
#
# Forty runs: about as long as above.

# %%
followed = "no value clipping"
fresh_seeds = range(6, 26 if not TESTING_MODE else 7)
fresh_curves = train_variants(
    params,
    {name: variants[name] for name in (BASELINE, followed)},
    fresh_seeds,
    processes=processes,
)

# %%
fresh_scores = {name: np.nanmean(rows[:, -5:], axis=1) for name, rows in fresh_curves.items()}
print("With fresh seeds:")
fresh_judged = judge(fresh_scores, [followed], 0.95)
draw(fresh_scores, fresh_judged, 0.95)

# %% [markdown]
# Our verdict, on CartPole, with this configuration and its large learning rate:
#
# - **Value clipping with $\epsilon = 0.2$ made a difference: without it, training ends far higher.**
#   This is what we had expected: discounted returns go up to 100, and with clipping we saw the values
#   move by about 1 in an update. That this is the reason, we have not tested: it would take another
#   experiment, with other $\epsilon$. (In [What matters](https://arxiv.org/abs/2006.05990), on other
#   tasks, value clipping did harm as well.)
# - **Minibatches without replacement, normalised advantages, stopping, the schedule, the
#   initialisation: too close to tell** with six seeds. This is not "useless": the first experiment
#   could not tell for value clipping either. If yours has an orange interval here, it is one of six: test it
#   with fresh seeds.
#
# How much do six seeds overlook? Take the seventy seeds, the score and the level of our first plan:
# then normalised advantages made a difference, too; without them it is worse. Of experiments with six
# of these seeds, only about one in ten found that. (Try it: `seeds = range(100, 170)` in the cell
# before the curves, and seven to nine minutes.)
#
# The first experiment asked six questions and could answer none. Its curves gave us an idea, and the
# second experiment tested it. Beware of anyone who takes an idea and its test from the same runs.

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** An action had the probability 0.5 and now has 0.6; it is the only one in the
# minibatch. What are $k_1$ and $k_3$?
#
# - (a) $-0.18$ and $0.02$
# - (b) $0.18$ and $0.02$
# - (c) $-0.18$ and $0.38$
# - (d) $0.18$ and $0.18$

# %%
quiz("04", 1, "?")

# %% [markdown]
# **Question 2.** The critic says 0, the targets are about 60, and `clip_range_vf` is 0.2. Suppose that
# a value moves only as long as its own error pulls. About how many updates does it take until the
# critic says 60?
#
# - (a) 1
# - (b) 60
# - (c) 300

# %%
quiz("04", 2, "?")

# %% [markdown]
# **Question 3.** Two variants are the same algorithm. We compare them 20 times, with new seeds each
# time, by intervals that miss the truth in 5 % of experiments. How probable is it that at least one of the
# 20 comparisons says "made a difference"?
#
# - (a) 5 %
# - (b) 36 %
# - (c) 64 %
# - (d) 100 %

# %%
quiz("04", 3, "?")

# %% [markdown]
# **Question 4.** Scores vary with a standard deviation of 40 in both variants. With 6 seeds each, the
# interval of the difference is too wide for us. About how many seeds does it take to make it half as
# wide?
#
# - (a) 9
# - (b) 12
# - (c) 24
# - (d) 36

# %%
quiz("04", 4, "?")

# %% [markdown]
# **Question 5.** Two variants are the same algorithm, each with 20 seeds. You look where their curves
# are furthest apart, and make the mean return of that part of the run the score. In how many such
# experiments does its 95 % interval, computed from the same runs, not contain 0?
#
# - (a) in about 5 %, as an interval of 95 % promises
# - (b) in far more than 5 %
# - (c) in far fewer than 5 %
# - (d) in none, as the variants are equal

# %%
quiz("04", 5, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcab"`.


# %% nbgrader={"grade": false, "grade_id": "ppo-details-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "acccb"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ppo-details-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_04(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_04(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **Does an interval keep its promise?** Draw six scores for each of two *equal* variants, from a normal distribution, and ask your
#   `difference_interval` with the mean, 300 times. Expected: 0 is outside in about 10 % of the cases, not in 5 %. With few seeds a
#   percentile interval is too narrow; with 30 seeds the promise nearly holds.

# %% [markdown] nbgrader={"grade": true, "grade_id": "ppo-details-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

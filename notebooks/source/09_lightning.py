# %% [markdown]
# # PPO as a LightningModule
#
# The loop of notebook 03 does a lot that has nothing to do with PPO: it calls the optimiser, limits
# the gradients, writes the log, keeps the best policy.
# [Lightning](https://lightning.ai/docs/pytorch/stable/) is a library that does these things for any
# network of PyTorch. In this notebook we hand PPO over to it, and see what Lightning takes off our
# hands, and what PPO needs that other learning does not.
#
# When you get stuck, or want to know more:
#
# - [LightningModule](https://lightning.ai/docs/pytorch/stable/common/lightning_module.html) says which
#   methods you write, and [Trainer](https://lightning.ai/docs/pytorch/stable/common/trainer.html)
#   what calls them;
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   has the details of the loss: minibatches, normalised advantages, the clipping of gradients.
#
# [◀ 08](08_shared_trunk_ppo2.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [10 ▶](10_bug_hunt.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - say which parts of a training loop are the same for all learning, and which are PPO's own;
# - write a policy and a value, and the loss of PPO, as methods of a LightningModule;
# - feed a Trainer with data that depend on the weights, without collecting them too early;
# - train with a progress bar, curves and checkpoints, load the best model, and look at what it does.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | A policy, a value, an optimiser | ●○○ | 15 | essential |
# | The loss of a minibatch | ●●○ | 20 | essential |
# | Never before the last step | ●●○ | 20 | essential |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading and watching it takes about 90 minutes. You should know the clipped objective and its
# loop (notebook 03). Normalised advantages and the stop by KL are explained in notebook 04; what we
# need of them is said here, too.

# %% [markdown]
# # Setting up
#
# The next cell makes sure that the package `ppo_bbrl` and Lightning are there. If they are, nothing
# is installed and the network is not used. If the package is not, as on Colab, it is installed with
# its extra `lightning` from `PPO_BBRL`.

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

    easyinstall(f"ppo-bbrl[lightning] @ {PPO_BBRL}")
    importlib.invalidate_caches()
elif importlib.util.find_spec("lightning") is None:
    raise ModuleNotFoundError("this notebook needs Lightning: pip install 'ppo-bbrl[lightning]'")

# %% [markdown]
# Importing Lightning takes some seconds.

# %% tags=["definitions"]
# %matplotlib inline
import logging
import os
import warnings

import gymnasium as gym
import lightning as pl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import setup_tensorboard, shared_agents
from ppo_bbrl.advantages import normalise
from ppo_bbrl.lightning import PPO, make_vec_env
from ppo_bbrl.plots import bootstrap_interval, critic_map, policy_map
from ppo_course import (
    check_actor_critic,
    check_minibatch_stream,
    check_quiz_09,
    check_training_step,
    quiz,
)
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# Lightning prints a lot about the machine, and one of its own warnings is outdated. Other warnings stay on.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # Who does what
#
# Lightning divides a training in two. The *module* is ours: networks, loss, data. The *Trainer* is
# Lightning's: it holds the loop. What `Trainer.fit(model)` does is, in short,
#
# ```python
# optimizer = model.configure_optimizers()             # ours
# for epoch in range(max_epochs):
#     for batch_idx, batch in enumerate(model.train_dataloader()):   # ours
#         loss = model.training_step(batch, batch_idx)               # ours
#         optimizer.zero_grad()
#         loss.backward()
#         clip_grad_norm_(model.parameters(), gradient_clip_val)
#         optimizer.step()
#     model.on_train_epoch_end()                       # ours: evaluate, log
#     ...                                              # progress bar, loggers, checkpoints
# ```
#
# Four lines of the loop of notebook 03 are gone, and with them the chance of forgetting one. What remains
# are the methods that a model needs anyway.

# %% [markdown]
# The package has a LightningModule for PPO, `ppo_bbrl.lightning.PPO`. It collects rollouts,
# estimates advantages, evaluates and logs. It also has a loss and a stream of minibatches, but here we
# write our own: first the networks, then the loss, and then, for a toy, the stream.
#
# It learns from a vector environment of Gymnasium: several copies of CartPole, side by side. The
# spaces of a model are those of *one* environment. (With `vec_env_cls=SubprocVecEnv` each copy runs
# in a process of its own; for an environment as quick as CartPole that does not pay.)

# %%
env = make_vec_env("CartPole-v1", n_envs=8)
print("observations:", env.single_observation_space.shape)
print("actions:     ", env.single_action_space)

# %% [markdown]
# ## Exercise: a policy, a value, an optimiser
#
# *Difficulty: ●○○ · about 15 minutes · essential*
#
# Complete the class `ActorCritic`. `__init__` is given: it makes two networks. `self.actor` turns
# $N$ observations, `[N, 4]`, into a score for each of two actions, `[N, 2]`; `self.critic` turns
# them into `[N, 1]`. Write two methods:
#
# - `forward(x)` gets observations and returns two things: the policy $\pi_\theta(\cdot \mid s)$, a
#   `Categorical` made of the scores, and the values $V_\theta(s)$, of shape `[N]`. It serves both to
#   act and to learn, so it must not cut the gradient;
# - `configure_optimizers()` returns the optimiser: Adam, of *all* parameters, with the learning rate
#   `self.lr` (and without weight decay, which is its default).
#
# Both must work for other sizes than CartPole's, and for a single observation, `[1, 4]`.
#
# Useful:
# [torch.distributions.Categorical](https://pytorch.org/docs/stable/distributions.html#categorical),
# [torch.Tensor.squeeze](https://pytorch.org/docs/stable/generated/torch.squeeze.html),
# [torch.optim.Adam](https://pytorch.org/docs/stable/generated/torch.optim.Adam.html);
# `self.parameters()` gives the parameters of every network that the model has.
#
# <details>
# <summary>A hint</summary>
#
# `Categorical` takes scores of any size and sign under the name `logits`; under the name `probs` it
# wants probabilities.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "lightning-actor-critic", "locked": false, "schema_version": 3, "solution": true, "task": false}
class ActorCritic(PPO):
    """A policy and a value, separate networks, for a few actions"""

    def __init__(self, lr=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.lr = lr
        n_inputs, n_actions = self.observation_space.shape[0], int(self.action_space.n)
        self.actor = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, n_actions))
        self.critic = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, x):
        """The policy, a Categorical, and the values [N], of observations [N, D]"""
        ### BEGIN SOLUTION
        return Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1)
        ### END SOLUTION

    def configure_optimizers(self):
        """One optimiser for everything"""
        ### BEGIN SOLUTION
        return torch.optim.Adam(self.parameters(), lr=self.lr)
        ### END SOLUTION


# %% [markdown]
# The check makes a model of your class and looks at what it answers. If something is wrong, it says
# what it saw, what it expected, and where to look.

# %% nbgrader={"grade": true, "grade_id": "lightning-actor-critic-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_actor_critic(ActorCritic)
### BEGIN HIDDEN TESTS
check_actor_critic(ActorCritic, seed=1)
check_actor_critic(ActorCritic, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The loss
#
# Notebook 03 has two optimisers, one for the policy and one for the critic. Lightning is at its best
# with one optimiser and one loss. So we add up the three terms, as
# [equation 9 of the paper](https://arxiv.org/pdf/1707.06347.pdf) does, but reverse the signs, since a loss
# is minimised:
#
# $$
# L(\theta) = -L^{CLIP}(\theta) + c_v\, \hat{\mathbb{E}}_t\left[\left(V_\theta(s_t) - \hat{R}_t\right)^2\right] - c_e\, \hat{\mathbb{E}}_t\left[H\left(\pi_\theta(\cdot \mid s_t)\right)\right]
# $$
#
# $\hat{R}_t$ is the λ-return, and $H$ the entropy. In $L^{CLIP}$, the advantages are normalised over
# the minibatch, that is, shifted to the mean 0 and scaled to the deviation 1 (detail 7 of the 37).

# %% [markdown]
# ## Exercise: the loss of a minibatch
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `training_step`. Lightning gives it a minibatch of $M$ transitions and its number, which you
# do not need. The minibatch has
#
# - `batch.observations`, `[M, D]`, and `batch.actions`, `[M]`;
# - `batch.old_log_probs` and `batch.old_values`, `[M]`, under the weights that acted;
# - `batch.advantages`, `[M]`, not normalised, and `batch.returns`, `[M]`, the λ-returns.
#
# The model has the numbers: $\epsilon$ is `self.clip_range`, $c_v$ is `self.value_coef` and $c_e$ is
# `self.entropy_coef`. `self(batch.observations)` calls `forward`.
#
# Return the loss, a scalar. No `backward`, no optimiser: that is the Trainer's part. The value is not
# clipped here, so that you do not need `batch.old_values`.
#
# Useful: `dist.log_prob(actions)` and `dist.entropy()`, `[M]` each; `normalise(advantages)` from
# `ppo_bbrl.advantages`, imported above; `torch.clamp` and `torch.min`, as in notebook 03.
#
# <details>
# <summary>A hint</summary>
#
# 1. Run the model on the observations: a distribution and values.
# 2. The ratio is the exponential of the difference of two log-probabilities.
# 3. The two products of notebook 03, with normalised advantages; the smaller one; the mean; a minus.
# 4. The mean of the squared errors; the mean of the entropies; add up with their coefficients.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "lightning-training-step", "locked": false, "schema_version": 3, "solution": true, "task": false}
class ClippedPPO(PPO):
    """PPO with a loss of our own"""

    def training_step(self, batch, batch_idx):
        """The loss of PPO on a minibatch: a scalar, to be minimised"""
        ### BEGIN SOLUTION
        dist, value = self(batch.observations)
        ratio = torch.exp(dist.log_prob(batch.actions) - batch.old_log_probs)
        clipped_ratio = torch.clamp(ratio, 1 - self.clip_range, 1 + self.clip_range)
        advantage = normalise(batch.advantages)

        policy_loss = -torch.min(ratio * advantage, clipped_ratio * advantage).mean()
        value_loss = ((value - batch.returns) ** 2).mean()
        entropy = dist.entropy().mean()
        return policy_loss + self.value_coef * value_loss - self.entropy_coef * entropy
        ### END SOLUTION


# %% [markdown]
# The check gives your method a few transitions, with a policy and values of its own.

# %% nbgrader={"grade": true, "grade_id": "lightning-training-step-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_training_step(ClippedPPO)
### BEGIN HIDDEN TESTS
check_training_step(ClippedPPO, seed=1)
check_training_step(ClippedPPO, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Now both together. A class may have two parents: `training_step` comes from one, `forward` from the other.
# We tell Lightning two more things: `save_hyperparameters` puts the arguments of the model
# into each checkpoint, and `self.log` writes a number, here the mean of the loss over each epoch, into
# whatever loggers the Trainer has.


# %%
class Model(ClippedPPO, ActorCritic):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss


# %% [markdown]
# # Data that depend on the weights
#
# A Trainer is made for data that lie on a disk. Pictures of cats do not care when they are read, so
# Lightning reads ahead: while the step on one minibatch is still to come, it fetches the next one.
# For PPO this is poison. Its data are collected with the weights, and a rollout that begins a step
# too early is a rollout of the *wrong policy*.
#
# We watch it with a toy: a model with one weight, and a stream of data that notes when a rollout is
# collected. Each rollout has four minibatches. The stream is a generator, which does nothing until
# somebody asks it for the next minibatch.


# %%
class Toy(pl.LightningModule):
    """Notes in `events` when rollouts are collected and when steps are taken"""

    def __init__(self, loader):
        super().__init__()
        self.weight, self.events, self.loader = nn.Parameter(torch.ones(())), [], loader

    def collect(self):
        """A rollout of four numbers. To tell it from others, each number is that of the rollout"""
        number = 1 + sum(name == "collect" for name, _, _ in self.events)
        self.events.append(("collect", number, self.global_step))
        return torch.full((4,), float(number))

    def train_dataloader(self):
        return self.loader(self)

    def training_step(self, batch, batch_idx):
        self.events.append(("step", int(batch), self.global_step))
        return (self.weight - batch).square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def watch(loader):
    toy = Toy(loader)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(toy)
    return toy.events


def draw_events(events, title):
    figure, axes = plt.subplots(figsize=(8, 1.8), layout="constrained")
    colours = {1: "#0072B2", 2: "#D55E00", 3: "#009E73"}
    for place, (name, rollout, steps_done) in enumerate(events):
        marker, number = ("s", rollout) if name == "collect" else ("o", steps_done + 1)
        axes.plot(place, name, marker, color=colours[rollout], markersize=12)
        axes.annotate(number, (place, name), color="w", ha="center", va="center", fontsize=8)
        if name == "collect":
            axes.axvline(place, color="0.85", zorder=0)
            after = f"after {steps_done} steps"
            axes.annotate(after, (place + 0.4, name), va="center", fontsize=8, color="0.3")
    axes.set(
        title=title,
        xlabel="what happened, one after the other",
        xticks=[],
        ylim=(-0.6, 1.6),
        xlim=(-0.5, 16),
    )
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    caption = "Squares: a rollout is collected. Circles: a step is taken."
    collected = [step for name, _, step in events if name == "collect"]
    show(figure, caption, f"{title}. Rollouts are collected after {collected} steps.")


class WithoutLength:
    """Three rollouts, each in four minibatches"""

    def __init__(self, toy):
        self.toy = toy

    def __iter__(self):
        for _ in range(3):
            yield from self.toy.collect()


draw_events(watch(WithoutLength), "A loader without a length")

# %% [markdown]
# Squares are rollouts, circles are steps, in the colour of the rollout that they learn from. Rollout 2
# is collected after *three* steps, although the first rollout has four: the last blue step still
# waits. The culprit is a question that Lightning has to
# answer before each step: is this minibatch the last one? A loader that has no length cannot tell
# without fetching the next one.
#
# A loader *with* a length is not asked in advance. `ppo_bbrl.lightning` gives its loader one. If
# `target_kl` ends the epochs over a rollout, fewer minibatches come than the length says; this is
# allowed.

# %% [markdown]
# ## Exercise: never before the last step
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Now the stream of PPO. Write `minibatch_stream`, a generator: it gives minibatches by `yield`. It
# gets three functions and two numbers:
#
# - `collect()` collects a rollout, with the weights as they are *now*, and returns it;
# - `split(rollout)` shuffles a rollout and gives its minibatches, each transition in exactly one of
#   them. What it gives can be gone through once, as in `for batch in split(rollout)`. Each call
#   shuffles anew;
# - `too_far(batch)` says whether the policy has already gone too far from the one that acted: whether
#   the KL divergence of the two, estimated on this minibatch as in notebook 04, is above a limit. If it
#   is `True`, neither this minibatch nor any other of this rollout gets a step; with the next rollout
#   it goes on;
# - `num_rollouts` and `epochs_per_rollout`: how many rollouts, and how many epochs over each.
#
# Between two minibatches that you yield, the Trainer takes a step. So collect each rollout only when
# it is needed, and ask `too_far` right before you yield.
#
# <details>
# <summary>A hint</summary>
#
# Three loops, one in the other: rollouts, epochs, minibatches.
#
# </details>
#
# <details>
# <summary>Another hint</summary>
#
# `break` leaves only the innermost loop, but two loops have to be left. Remember in a variable that it is
# over, and look at it before each epoch. Or write a second generator for the epochs over *one* rollout,
# which can simply `return`; `yield from` passes on what it yields.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "lightning-minibatch-stream", "locked": false, "schema_version": 3, "solution": true, "task": false}
def minibatch_stream(collect, split, too_far, num_rollouts, epochs_per_rollout):
    """
    Minibatches for a Trainer, each rollout collected after the last step on the one before
    """
    ### BEGIN SOLUTION
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for _ in range(epochs_per_rollout):
            if stopped:
                break
            for batch in split(rollout):
                stopped = too_far(batch)
                if stopped:
                    break
                yield batch
    ### END SOLUTION


# %% [markdown]
# The check plays the Trainer, and notes in which order you collect and yield.

# %% nbgrader={"grade": true, "grade_id": "lightning-minibatch-stream-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_minibatch_stream(minibatch_stream)
### BEGIN HIDDEN TESTS
check_minibatch_stream(minibatch_stream, seed=1)
check_minibatch_stream(minibatch_stream, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Your stream in the toy, with a length: three rollouts, two epochs over each, two minibatches in an
# epoch. In rollout 2 we say after three steps that the policy has gone too far.


# %%
class WithLength:
    def __init__(self, toy):
        self.toy = toy

    def __len__(self):
        return 3 * 2 * 2  # at most

    def __iter__(self):
        stream = minibatch_stream(
            self.toy.collect,
            lambda rollout: iter(rollout[torch.randperm(4)].reshape(2, 2).mean(1)),
            lambda batch: (
                batch == 2 and self.toy.global_step == 7
            ),  # in rollout 2, after 4 + 3 steps
            num_rollouts=3,
            epochs_per_rollout=2,
        )
        return iter(stream)


draw_events(watch(WithLength), "A loader with a length, and your stream")

# %% [markdown]
# Each rollout now waits for the last step on the one before. `ppo_bbrl.lightning.PPO` does the same;
# from here on we use its loader.
#
# # Training
#
# What you write once for a Trainer comes for free afterwards. We give it
#
# - `gradient_clip_val`: the global norm of the gradient is limited (detail 11 of the 37);
# - two loggers: `CSVLogger` writes a table, `TensorBoardLogger` what TensorBoard shows;
# - a `ModelCheckpoint` that keeps the model with the best `eval_return`;
# - a progress bar.
#
# One of Lightning's epochs is `num_rollouts` rollouts, `epochs_per_rollout` epochs over each, and an
# evaluation. With 2 rollouts × 256 steps × 8 environments it has 4096 transitions. A policy that acts
# at random gets about 20; 500 is the most. A minibatch is `too_far` beyond 1.5 × `target_kl`.


# %%
SEEDS = (1, 2, 3) if not TESTING_MODE else (1, 2)


def train(seed):
    """A Trainer after its work, with its ModelCheckpoint and its CSVLogger"""
    model = Model(
        env=make_vec_env("CartPole-v1", n_envs=8),
        eval_env=gym.make("CartPole-v1"),
        lr=2e-3,
        buffer_length=256 if not TESTING_MODE else 32,
        num_rollouts=2,
        batch_size=256,
        epochs_per_rollout=10,
        num_eval_episodes=5 if not TESTING_MODE else 1,
        gamma=0.99,
        target_kl=0.01,
        seed=seed,
    )
    best = ModelCheckpoint(monitor="eval_return", mode="max", filename="best")
    table = CSVLogger("outputs-testing" if TESTING_MODE else "outputs", name="lightning")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=8 if not TESTING_MODE else 2,
        gradient_clip_val=0.5,
        logger=[table, TensorBoardLogger(table.log_dir, name="tb", version="")],
        callbacks=[best, TQDMProgressBar(refresh_rate=20)],
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    trainer.fit(model)
    return trainer, best, table


# %% [markdown]
# TensorBoard draws the curves while the runs go on. On Colab it opens below the next cell;
# elsewhere the cell prints the command that starts it in a terminal.

# %%
setup_tensorboard("outputs-testing/lightning" if TESTING_MODE else "outputs/lightning")

# %% [markdown]
# One run proves little, as notebook 03 shows. So we train with three seeds, one after the other; each takes
# about 9 seconds of processor time. The progress bar starts anew with each of Lightning's epochs.

# %%
runs = {}
for seed in SEEDS:
    trainer, best, table = runs[seed] = train(seed)
    print(f"seed {seed}: {trainer.global_step} optimiser steps,", end=" ")
    print(f"best evaluation = {best.best_model_score:.1f}")

# %% [markdown]
# The same numbers are in a table for each run, `metrics.csv`, so that we can draw them where there is no
# TensorBoard, too. PPO logs returns, the explained variance (how much of the returns the critic
# explains; 1 is perfect) and `stopped_early`, the share of rollouts that `target_kl` ended. The loss
# is yours. We draw the mean of the seeds, with a 95 % interval of the mean.

# %%
metrics = {
    seed: pd.read_csv(f"{table.log_dir}/metrics.csv") for seed, (_, _, table) in runs.items()
}


def curves(name):
    """A metric of all runs, [S, E]: a row per seed, a column per epoch of the Trainer"""
    return np.stack([metrics[seed][name].dropna() for seed in SEEDS])


def draw_curves(axes, name, colour, label=None):
    rows = curves(name)
    epochs = range(1, rows.shape[1] + 1)
    axes.fill_between(epochs, *bootstrap_interval(rows), color=colour, alpha=0.2, linewidth=0)
    axes.plot(epochs, rows.T, color=colour, linewidth=0.6, alpha=0.5)
    axes.plot(epochs, rows.mean(0), "o-", color=colour, ms=4, label=label)


figure, panels = plt.subplots(1, 4, figsize=(12, 2.8), layout="constrained")
draw_curves(panels[0], "eval_return", "#0072B2", "greedy policy, 5 episodes")
draw_curves(panels[0], "episode_return", "#D55E00", "while training")
panels[0].legend(frameon=False, fontsize="small")
for axes, name in zip(panels[1:], ("explained_variance", "stopped_early", "loss"), strict=True):
    draw_curves(axes, name, "#0072B2")
titles = ("return", "explained variance", "rollouts stopped by target_kl (share)", "loss")
for axes, title in zip(panels, titles, strict=True):
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("epoch of the Trainer")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The run of each metric: mean of the seeds, with a 95 % interval.",
    "Four panels over eight epochs. The return of the greedy policy reaches 500 by the middle, that "
    "of the training nearly does at the end; the explained variance rises from 0, and falls again "
    "for some seeds; the share of rollouts that target_kl stops goes up and down between 0 and 1; "
    "the loss falls.",
)
for name in ("eval_return", "episode_return", "explained_variance"):
    means = curves(name).mean(0)
    print(f"{name}: {means[0]:.2f} at first, {means[-1]:.2f} at last, mean of the seeds")

# %% [markdown]
# All three seeds get to 500, but not in the same way: in the middle the interval is wide. The policy that
# acts in training draws its actions, and gets less than the greedy one right up to the end.
#
# The other curves need a second look. The loss falls, mostly because the critic gets better; as the data
# change with the policy, the losses of two epochs cannot be compared. The explained variance rises. In some
# runs it falls again at the end: when hardly any episode ends any more, all returns are about
# $1 / (1 - \gamma) = 100$, with $\gamma = 0.99$, and there is hardly any variation left to explain.
#
# # The best model, from its file
#
# A checkpoint holds the weights, the state of the optimiser, and the arguments of the model, but no
# environment. So we give one when we load it: `eval_env`, to evaluate on; `env` says what the spaces are.
# The loaded model takes the same actions as the one that was saved. We load the best one of
# all seeds.

# %%
best = max((best for _, best, _ in runs.values()), key=lambda best: best.best_model_score)
loaded = Model.load_from_checkpoint(
    best.best_model_path, env="CartPole-v1", eval_env=gym.make("CartPole-v1"), weights_only=True
)
print("its arguments:", dict(loaded.hparams))
returns, lengths = loaded.evaluate(num_eval_episodes=20 if not TESTING_MODE else 2)
print(f"mean return of {len(returns)} other episodes = {sum(returns) / len(returns):.1f}")

# %% [markdown]
# The maps of notebook 03 want two agents, a policy and a critic. `shared_agents` makes them of any
# model whose `forward` gives a distribution and values. The cart stands in the middle; the map shows
# the probability of pushing it to the right.

# %%
policy, critic = shared_agents(loaded)

# %%
show(
    policy_map(policy, "CartPole-v1"),
    "The policy of the checkpoint: the probability of pushing the cart to the right.",
    "A map over the pole's angle and its velocity. It is near 0 where both are negative and near 1 "
    "where both are positive; a narrow band, slightly lower to the right, separates the "
    "two.",
)

# %% [markdown]
# A pole that leans to the right, or turns to the right, has the cart pushed to the right, under it.
#
# The critic gives the highest values to poles that are, or will soon be, upright and at rest, and less
# where the pole turns fast. A policy that never lets the pole fall would get 100 from anywhere. The critic's
# values stay far below that: it judges the policy that acts in training, which draws its actions and
# still let the pole fall when this checkpoint was written.

# %%
show(
    critic_map(critic, "CartPole-v1"),
    "The critic of the checkpoint: the rewards that it expects from there on, discounted.",
    "A map over the pole's angle and its velocity. The values are highest where the pole is upright "
    "and turns slowly, or turns back towards that, and lower above and below.",
)

# %% [markdown]
# And here is one episode that it plays:

# %%
returns, lengths = loaded.evaluate(num_eval_episodes=1, render=True)

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** A model has `num_rollouts=3`, `buffer_length=100` and four environments, in which no
# episode ends. With `batch_size=50` and `epochs_per_rollout=5`, how many optimiser steps does the
# Trainer take in one of its epochs, if `target_kl` ends nothing?
#
# - (a) 8
# - (b) 24
# - (c) 40
# - (d) 120

# %%
quiz("09", 1, "?")

# %% [markdown]
# **Question 2.** A loader without a length gives three rollouts, in five minibatches each. After how many
# steps does Lightning collect the third one?
#
# - (a) 8
# - (b) 9
# - (c) 10
# - (d) 0

# %%
quiz("09", 2, "?")

# %% [markdown]
# **Question 3.** The gradient of a model with two weights is $(3, 4)$. Which one reaches the optimiser
# with `gradient_clip_val=0.5`?
#
# - (a) $(0.3, 0.4)$
# - (b) $(0.5, 0.5)$
# - (c) $(1.5, 2)$
# - (d) $(3, 4)$

# %%
quiz("09", 3, "?")

# %% [markdown]
# **Question 4.** In a correct loop, all ratios of the first minibatch of *each* rollout are 1. Whose
# ratios are not?
#
# - (a) those of a rollout that was collected before the last step on the one before
# - (b) those of a rollout whose minibatches are shuffled
# - (c) those of a rollout that follows one that `target_kl` ended

# %%
quiz("09", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abca"`.


# %% nbgrader={"grade": false, "grade_id": "lightning-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "dbaa"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "lightning-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_09(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_09(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **The KL of each minibatch.** Log the mean of $(r - 1) - \log r$ in `training_step`, and draw it against the number of the minibatch
#   in its rollout. Expected: 0 in the first one of every rollout, and more and more afterwards.

# %% [markdown] nbgrader={"grade": true, "grade_id": "lightning-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

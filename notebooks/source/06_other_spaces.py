# %% [markdown]
# # Other spaces: several choices at once, observations of several parts, masks
#
# CartPole is seen as four numbers, and one choice of two is made. A robot in a warehouse sees things
# of different kinds, its own place and the parcel it is to fetch, and it makes two choices at once:
# where to go, and what to do with its hand. Most of what its hand could do is impossible most of the
# time. In this notebook we give PPO a policy for such a task, and look at what it does to learning
# when we tell the policy what is impossible: a *mask*.
#
# When you get stuck, or want to know more:
#
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   has a section on MultiDiscrete actions and one on masks;
# - [Huang and Ontañón, 2020](https://arxiv.org/abs/2006.14171) take a close look at masks in policy gradient
#   algorithms;
# - [the spaces of Gymnasium](https://gymnasium.farama.org/api/spaces/) are the ways to say what is
#   seen and what can be done.
#
# [◀ 05](05_continuous_actions.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [07 ▶](07_memory.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - write the log-probability and the entropy of an action that consists of several choices;
# - forbid actions by a mask, and say what that does to probabilities, entropy and gradient;
# - find a mask and a Dict observation in the workspace;
# - write a policy for a Dict observation and MultiDiscrete actions, and train it with a mask and
#   without.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | Several choices at once | ●●○ | 15 | essential |
# | What is forbidden | ●●○ | 15 | essential |
# | The mask in the workspace | ●○○ | 10 | useful |
# | A policy for the warehouse | ●●● | 20 | essential |
# | What have you understood? (five questions) | ●○○ | 10 | useful |
#
# With reading and watching it takes about 95 minutes. You should know the objective of PPO and its
# `DiscretePolicy` (notebook 03); notebook 05 has actions of several components, too.

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
import math
import os

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.distributions import Categorical
from torch.nn.functional import one_hot

from ppo_bbrl import PPOClip, build_ortho_mlp, iter_partial_episodes, run, setup_tensorboard
from ppo_bbrl.agents import Policy
from ppo_bbrl.distributions import MultiCategorical
from ppo_bbrl.plots import read_metrics
from ppo_course import (
    check_evaluate_components,
    check_masked_log_probs,
    check_quiz_06,
    check_warehouse_policy,
    check_was_allowed,
    quiz,
)
from ppo_course.nb06_spaces.warehouse import register_warehouse
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The warehouse
#
# This grid world is the course's own. In each episode a parcel of one of eight kinds (its colour)
# lies at one of four places. The robot (blue) is to bring it to the door (green, bottom left), round
# the shelves (grey), within 40 steps. That earns 1, and nothing else earns anything: the return
# of an episode is 1 or 0, and the mean return is the share of the parcels that arrive.

# %%
register_warehouse()
env = gym.make("Warehouse-v0", render_mode="rgb_array")

figure, panels = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for seed, axes in enumerate(panels, start=1):
    obs, info = env.reset(seed=seed)
    axes.imshow(env.render())
    axes.set_title(", ".join(f"{name} {part}" for name, part in obs.items()), fontsize="small")
    axes.axis("off")
show(
    figure,
    "Three episodes begin: the robot is blue, the door green, the parcel has the colour of its "
    "kind.",
    "Three grids of five by five cells with four grey shelves. Robot and parcel are in another "
    "place in each, the door is at the bottom left.",
)

# %% [markdown]
# What is seen is a *Dict* of parts, each of its own space: the `kind` of the parcel, the `parcel`'s
# place (4 is the robot's hand), and the `robot`'s row and column.
#
# What is done is *MultiDiscrete*: an action `[move, hand]` consists of one choice of 4 and one of 10.
# Moves are north, east, south, west. The hand acts first: 0 does nothing, 1 to 8 is the grip for each
# kind, 9 puts the parcel down.

# %%
for name, space in env.observation_space.items():
    print(f"observation {name:7} {space}")
print(f"action {'':12} {env.action_space}, so 40 actions")

# %% [markdown]
# Where a shelf or a wall is in the way, a move does nothing. A grip works only for its own kind, and only
# where the parcel lies; the parcel can be put down only at the door. The environment reports all this in
# `info["action_mask"]`: 4 + 10 Booleans, the moves first, then what the hand can do.

# %%
moves, hand = info["action_mask"][:4], info["action_mask"][4:]
print("robot at", obs["robot"], "  moves", moves.astype(int), "  hand", hand.astype(int))

# %% [markdown]
# # Several choices at once
#
# Forty actions could be numbered from 0 to 39, with 40 outputs of the network. With three hands
# there would be 4000. The usual way takes the sum, not the product: one logit for each value of each component,
# here $4 + 10 = 14$, side by side. The components are chosen independently, given the state:
#
# $$
# \pi_\theta(a \mid s) = \prod_{i=1}^{k} \pi_\theta^i(a_i \mid s)
# \qquad
# \log \pi_\theta(a \mid s) = \sum_{i=1}^{k} \log \pi_\theta^i(a_i \mid s)
# $$
#
# and the entropies of independent choices add up:
#
# $$
# H = \sum_{i=1}^{k} H_i, \qquad H_i = -\sum_{v} \pi_\theta^i(v \mid s) \log \pi_\theta^i(v \mid s).
# $$
#
# The price: such a policy cannot say "either north with the left hand or south with the right one".
# If it makes both of these likely, it makes "north with the right hand" likely as well.

# %% [markdown]
# ## Exercise: several choices at once
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `evaluate_components`. It gets
#
# - `logits`, $[N, n_1 + n_2 + …]$: in each of $N$ states the logits of all components, side by side;
# - `sizes`, the list $n_1, n_2, …$ of the numbers of values: `[4, 10]` in the warehouse;
# - `action`, $[N, k]$: $N$ actions of $k$ components.
#
# It returns two tensors $[N]$: the log-probabilities of the actions, and the entropies of the policy.
#
# Useful: `logits.split(sizes, -1)` gives the logits of each component, $[N, n_i]$;
# [Categorical(logits=part)](https://pytorch.org/docs/stable/distributions.html#categorical) has
# `.log_prob(values)` and `.entropy()`; `action[:, i]` is component $i$ of all actions.
#
# <details>
# <summary>A hint</summary>
#
# A loop over `enumerate(logits.split(sizes, -1))`, which adds to two sums that begin with 0.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "spaces-evaluate-components", "locked": false, "schema_version": 3, "solution": true, "task": false}
def evaluate_components(logits, sizes, action):
    """
    The log-probabilities [N] of actions [N, k], and the entropies [N] of the policy,
    from the logits of all k components side by side [N, sum(sizes)]
    """
    ### BEGIN SOLUTION
    log_prob, entropy = 0, 0
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part)
        log_prob = log_prob + dist.log_prob(action[:, i])
        entropy = entropy + dist.entropy()
    return log_prob, entropy
    ### END SOLUTION


# %% [markdown]
# The check tries one, two and three components, and looks at the gradients.

# %% nbgrader={"grade": true, "grade_id": "spaces-evaluate-components-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_evaluate_components(evaluate_components)
### BEGIN HIDDEN TESTS
check_evaluate_components(evaluate_components, seed=1)
check_evaluate_components(evaluate_components, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# In the warehouse a policy that knows nothing chooses evenly among 4 moves and 10 things for the hand.

# %%
log_prob, entropy = evaluate_components(torch.zeros(1, 14), [4, 10], torch.tensor([[0, 9]]))
print(f"log-probability {log_prob.item():.2f}, as log(1/40) = {math.log(1 / 40):.2f}")
print(f"entropy {entropy.item():.2f}, as log 4 + log 10 = {math.log(4) + math.log(10):.2f}")

# %% [markdown]
# # What is forbidden
#
# Let $m_j$ tell whether action $j$ is allowed in a state. We want the forbidden ones to have
# probability 0, and the others to keep their proportions. With logits $z$,
#
# $$
# \pi(j) = \frac{m_j \, e^{z_j}}{\sum_l m_l \, e^{z_l}}
# $$
#
# which is the softmax of logits that are $-\infty$ where something is forbidden. It is best computed
# this way: no exponential of a large number, no logarithm of a 0.

# %% [markdown]
# ## Exercise: what is forbidden
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `masked_log_probs`. It gets `logits`, $[N, A]$, and `mask`, $[N, A]$, bool, True where an action
# is allowed. It returns the log-probabilities of all actions, $[N, A]$: $-\infty$ for the forbidden
# ones.
#
# Useful: [x.masked_fill(where, value)](https://pytorch.org/docs/stable/generated/torch.Tensor.masked_fill.html)
# is `x` with a value filled in where `where` is True; `~mask` is the opposite of the mask;
# `torch.inf`; [x.log_softmax(-1)](https://pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html).
#
# <details>
# <summary>A hint</summary>
#
# Two steps, and their order matters: what is normalised first does not sum to 1 any more when
# something is taken out of it.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "spaces-masked-log-probs", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_log_probs(logits, mask):
    """
    The log-probabilities [N, A] of all actions, where only those of the mask are allowed
    """
    ### BEGIN SOLUTION
    return logits.masked_fill(~mask, -torch.inf).log_softmax(-1)
    ### END SOLUTION


# %% [markdown]
# In one case of the check the allowed actions are far less likely than the forbidden ones.

# %% nbgrader={"grade": true, "grade_id": "spaces-masked-log-probs-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_masked_log_probs(masked_log_probs)
### BEGIN HIDDEN TESTS
check_masked_log_probs(masked_log_probs, seed=1)
check_masked_log_probs(masked_log_probs, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## What a mask does to the entropy
#
# Here are six actions, and what is left of them. The most that the entropy can be is the logarithm of the
# number of actions that are allowed, and where only one is allowed, it is 0, whatever the network says.
# The entropy bonus of PPO then asks for nothing there, while without a mask it asks the
# policy to try what is impossible.

# %%
logits = torch.tensor([[1.0, 0.0, 2.0, -1.0, 0.5, 1.5]])
masks = {
    "no mask": [True] * 6,
    "four are allowed": [True, True, False, True, True, False],
    "one is allowed": [False, True, False, False, False, False],
}
figure, panels = plt.subplots(1, 3, figsize=(8, 2.6), sharey=True, layout="constrained")
for axes, (name, entries) in zip(panels, masks.items(), strict=True):
    mask = torch.tensor([entries])
    probs = masked_log_probs(logits, mask).exp()
    allowed = probs[mask]
    entropy = -(allowed * allowed.log()).sum().item() + 0.0
    axes.bar(range(6), probs[0], color="#56B4E9")
    most = math.log(mask.sum())
    axes.set_title(f"{name}: entropy {entropy:.2f}\n(at most {most:.2f})", fontsize="medium")
    axes.set(xlabel="action", xticks=range(6))
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("probability")
show(
    figure,
    "The same logits under three masks: what is forbidden has the probability 0.",
    "Three bar charts of six actions. The fewer actions are allowed, the higher are their bars, "
    "and the lower is the entropy in the title; with a single one it is 0.",
)

# %% [markdown]
# ## What a mask does to the gradient
#
# Notebook 03's policy gradient pushes on the logits with
#
# $$
# \frac{\partial \log \pi(a)}{\partial z_j} = 1[j = a] - \pi(j):
# $$
#
# up for the action that was taken, down for all others, in proportion to their probability. A
# forbidden action has probability 0, so nothing pushes on it: what happens where it is forbidden
# teaches nothing about it. Without the mask, whenever an action is reinforced, the impossible ones are also
# pushed down a little, again in every state.

# %%
mask = torch.tensor([masks["four are allowed"]])
for name, given in (("with the mask   ", mask), ("without the mask", torch.ones_like(mask))):
    z = logits.clone().requires_grad_()
    log_prob = masked_log_probs(z, given)[0, 0]  # of action 0
    (gradient,) = torch.autograd.grad(log_prob, z)
    shown = " ".join(f"{entry + 0.0:+.2f}" for entry in gradient[0].tolist())
    print(f"{name}  log π(0) = {log_prob:.2f},  gradient {shown}")

# %% [markdown]
# The two log-probabilities differ, and that is a trap: an agent that acts with a mask and learns
# without it compares two different policies. Before anything is learned, the ratio of PPO should be 1. Here
# it is not:

# %%
new, old = (masked_log_probs(logits, m)[0, 0] for m in (torch.ones_like(mask), mask))
print(f"ratio without the mask, to what acted with it: {(new - old).exp():.2f}")

# %% [markdown]
# So the mask that acted must be the one that learns. That is why it is kept beside the action, in
# the workspace.

# %% [markdown]
# # In the workspace
#
# These are the parameters. The package finds the mask in `info` by itself
# (`gym_env.action_mask: auto`, the default).

# %% tags=["definitions"]
params = {
    "base_dir": "${gym_env.env_name}/masks-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "Warehouse-v0"},
    "algorithm": {
        "seed": 1,
        "n_envs": 8,
        "n_steps": 128,
        "max_epochs": 24 if not TESTING_MODE else 2,
        "eval_interval": 2000 if not TESTING_MODE else 500,
        "nb_evals": 20,
        "discount_factor": 0.95,  # sooner is better
        "normalize_advantage": True,
        "batch_size": 128,
        "opt_epochs": 4,
        "entropy_coef": 0.01,
        "architecture": {"critic_hidden_size": [64, 64], "activation": "tanh"},
    },
    "optimizer": {"classname": "torch.optim.Adam", "lr": 2e-3, "eps": 1e-5},
    "compute": {"compile": "never", "threads": 1},  # compiling would take as long as it saves
}

# %% [markdown]
# Let the package's own policy, fresh from the factory, act for 100 steps in 8 warehouses. Each part of
# the observation is a variable of its own, and the mask of a row is what was allowed to the action of
# that row.

# %%
workspace = next(iter_partial_episodes(PPOClip(params), 101))
for name in (
    "env/env_obs/kind",
    "env/env_obs/parcel",
    "env/env_obs/robot",
    "env/action_mask",
    "action",
):
    variable = workspace[name]
    print(f"{name:20} {list(variable.shape)!s:14} {variable.dtype}")

# %% [markdown]
# ## Exercise: the mask in the workspace
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Write `was_allowed`. It gets a `workspace` and `sizes`, as above. It returns a bool tensor $[T, B]$:
# whether all components of the action of each row were allowed.
#
# Useful: `workspace["action"]` is $[T, B, k]$; `workspace["env/action_mask"]`, $[T, B, n_1 + n_2 + …]$, is
# split as the logits are; [part.gather(-1, index)](https://pytorch.org/docs/stable/generated/torch.gather.html)
# looks up entries of the last dimension, and `action[..., i : i + 1]` is an index $[T, B, 1]$, as it
# needs one.
#
# <details>
# <summary>A hint</summary>
#
# For each component: its part of the mask, looked up at its part of the action, is $[T, B, 1]$.
# `torch.cat(parts, -1)` has all of them; `.all(-1)` asks whether all are True.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "spaces-was-allowed", "locked": false, "schema_version": 3, "solution": true, "task": false}
def was_allowed(workspace, sizes):
    """
    Whether all components of the actions in a workspace were allowed, [T, B] bool
    """
    ### BEGIN SOLUTION
    mask, action = workspace["env/action_mask"], workspace["action"]
    parts = []
    for i, part in enumerate(mask.split(sizes, -1)):
        parts.append(part.gather(-1, action[..., i : i + 1]))
    return torch.cat(parts, -1).all(-1)
    ### END SOLUTION


# %% [markdown]
# The check has workspaces with two and three components.

# %% nbgrader={"grade": true, "grade_id": "spaces-was-allowed-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_was_allowed(was_allowed)
### BEGIN HIDDEN TESTS
check_was_allowed(was_allowed, seed=1)
check_was_allowed(was_allowed, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# The package's policy keeps to the mask. Actions at random would not, and `mask` tells how many of the 40
# are possible at a time:

# %%
at_random = torch.stack([torch.randint(4, (101, 8)), torch.randint(10, (101, 8))], -1)
random_workspace = {"env/action_mask": workspace["env/action_mask"], "action": at_random}
print(f"allowed, of the policy's actions: {was_allowed(workspace, [4, 10]).float().mean():.0%}")
print(f"allowed, of actions at random: {was_allowed(random_workspace, [4, 10]).float().mean():.0%}")
moves, hand = workspace["env/action_mask"].split([4, 10], -1)
print(f"possible at a time: {(moves.sum(-1) * hand.sum(-1)).float().mean():.1f} of 40")

# %% [markdown]
# # The policy
#
# The network wants floats. Numbers that only name things, like a kind or a place, become a vector of
# zeros with a single 1 each, so that kind 6 is not twice kind 3. Side by side they make $8 + 5 + 5 + 5
# = 23$ features: kind, parcel, the robot's row, its column.
#
# Our policy is a `Policy` of the package: where `dist` is known, the rest follows (`forward` reads
# the observation and the mask of its row, and writes what you wrote yourself in notebooks 03 and 05).
# The class says `takes_mask = True`, so that it is given the mask when it acts *and* when it learns.

# %% [markdown]
# ## Exercise: a policy for the warehouse
#
# *Difficulty: ●●● · about 20 minutes · essential*
#
# Write the two methods of `WarehousePolicy`.
#
# `features(obs)` gets a dict of int64 tensors: `obs["kind"]` and `obs["parcel"]`, $[…]$ each, and
# `obs["robot"]`, $[…, 2]$. It returns the features, $[…, 23]$, floats, in the order above. The leading
# dimensions may be $[B]$ or $[T, B]$.
#
# `dist(obs, mask)` returns the distribution of the actions `[move, hand]`. The mask is $[B, 14]$, or
# `None` where there is none.
#
# Useful: [one_hot(x, n)](https://pytorch.org/docs/stable/generated/torch.nn.functional.one_hot.html)
# makes $[…, n]$ integers of $[…]$; `x.flatten(-2)` joins the last two dimensions; `torch.cat(parts, -1)`;
# `x.float()`. `MultiCategorical(logits, sizes)`, imported above, does what you wrote in the first
# exercise, and samples.
#
# <details>
# <summary>A hint for features</summary>
#
# `one_hot(obs["robot"], 5)` is $[…, 2, 5]$: row and column. One more step makes $[…, 10]$ of it.
#
# </details>
#
# <details>
# <summary>A hint for dist</summary>
#
# The logits are what the network makes of the features. If there is a mask, apply it to the logits.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "spaces-policy", "locked": false, "schema_version": 3, "solution": true, "task": false}
class WarehousePolicy(Policy):
    takes_mask = True

    def __init__(self, hidden_size, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [8 + 5 + 5 + 5, *hidden_size, 4 + 10], activation=nn.Tanh(), output_gain=0.01
        )

    def features(self, obs):
        """[…, 23] floats of the parts of an observation"""
        ### BEGIN SOLUTION
        kind = one_hot(obs["kind"], 8)
        parcel = one_hot(obs["parcel"], 5)
        robot = one_hot(obs["robot"], 5).flatten(-2)
        return torch.cat([kind, parcel, robot], -1).float()
        ### END SOLUTION

    def dist(self, obs, mask=None):
        """The distribution of the actions: batch shape […], event shape [2]"""
        ### BEGIN SOLUTION
        logits = self.model(self.features(obs))
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return MultiCategorical(logits, [4, 10])
        ### END SOLUTION


# %% [markdown]
# The check gives your policy made-up observations, with a mask and without.

# %% nbgrader={"grade": true, "grade_id": "spaces-policy-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check_warehouse_policy(WarehousePolicy)
### BEGIN HIDDEN TESTS
check_warehouse_policy(WarehousePolicy, seed=1)
check_warehouse_policy(WarehousePolicy, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # With the mask and without
#
# `Unmasked` is your policy, but it ignores the mask: it has to find out for itself what is possible. What
# is impossible does nothing, so that it costs a step. Everything else is the same.


# %%
class Unmasked(WarehousePolicy):
    def dist(self, obs, mask=None):
        return super().dist(obs)


def make_ppo(seed, policy_class=WarehousePolicy):
    """PPO in the warehouse with your policy"""
    torch.manual_seed(seed)  # of the policy's first weights
    cfg = OmegaConf.merge(params, {"algorithm": {"seed": seed}})
    return PPOClip(cfg, train_policy=policy_class([64, 64]))


# %%
setup_tensorboard("./outputs/tblogs")

# %% [markdown]
# Each of the two learns for about 5 seconds of processor time; on a busy machine they take longer.

# %%
masked = make_ppo(seed=1)
run(masked)
print(f"With the mask, best evaluation: {masked.best_reward:.0%} of the parcels")

# %%
unmasked = make_ppo(seed=1, policy_class=Unmasked)
run(unmasked)
print(f"Without it, best evaluation: {unmasked.best_reward:.0%} of the parcels")


# %% [markdown]
# With the mask all parcels arrive in the end, without it hardly any do. (An evaluation takes the most likely
# action each time.) The mask is no hint at what is good: it says nothing about where to go, or when to put
# the parcel down. But you have to come across a reward before you can learn from it. By chance, the hand
# chooses the right grip on one visit in ten, and puts the parcel down at the door no more often; with the
# mask, it does so on every second visit.

# %%
runs = {"with the mask": (masked, "#0072B2"), "without": (unmasked, "#D55E00")}
figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for name, (algo, colour) in runs.items():
    metrics = read_metrics(algo.base_dir)
    for axes, column in zip(panels, ("reward/mean", "entropy_loss"), strict=True):
        curve = metrics[["steps", column]].dropna()
        axes.plot(curve["steps"] / 1000, curve[column], color=colour, label=name)
panels[0].set(title="share of the parcels that arrive", ylim=(-0.05, 1.05))
panels[1].axhline(math.log(40), color="0.6", linestyle=":", linewidth=1)
panels[1].set(title="entropy (dotted: log 40)", ylim=(0, 4))
for axes in panels:
    axes.set_xlabel("environment steps (thousands)")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].legend(frameon=False)
show(
    figure,
    "With the mask the parcels arrive, without it hardly any.",
    "Two panels over the steps. With the mask the share of parcels rises to 1, and the entropy "
    "falls from about 0.85; without it the share stays near 0, and the entropy above 3.",
)

# %% [markdown]
# The entropies tell the same story. Without the mask it begins at $\log 40 \approx 3.69$ and stays high: it
# is spread over things that are mostly impossible. With the mask it begins where only the possible
# ones count, at about 0.85, and falls as the policy learns its way around. That low number is not too little
# exploration: there is nothing left to explore.
#
# Has the policy without a mask at least learned what is possible? Your function can tell. (It acts on
# its own, but the environment reports the mask anyway.)


# %%
def share_allowed(policy):
    """The share of a policy's actions that are possible"""
    cfg = OmegaConf.merge(params, {"algorithm": {"seed": 99}})
    workspace = next(iter_partial_episodes(PPOClip(cfg, train_policy=policy), 101))
    return was_allowed(workspace, [4, 10]).float().mean().item()


before = share_allowed(make_ppo(seed=1, policy_class=Unmasked).train_policy)
after = share_allowed(unmasked.train_policy)
print(f"possible, without a mask: {before:.0%} before learning, {after:.0%} afterwards")
print(f"possible, with the mask: {share_allowed(masked.train_policy):.0%}")

# %% [markdown]
# It has not. Where no reward ever comes, every action is as good as any other, and what changes is
# noise.

# %% [markdown]
# # Was it luck?
#
# Two more seeds of both, about 15 seconds of processor time.

# %%
scores = {}
for name, policy_class in (("with the mask", WarehousePolicy), ("without", Unmasked)):
    for seed in (2, 3):
        other = make_ppo(seed, policy_class)
        run(other)
        last = read_metrics(other.base_dir)["reward/mean"].dropna().tail(3).mean()
        print(f"{name}, seed {seed}: {last:.0%} of the parcels in the last three evaluations")
        scores[f"{name}, {seed}"] = last

# %% [markdown]
# Three seeds are few, but here the difference is nearly as large as it can be. (We saw 100 % with the
# mask, and 5 % and 7 % without: these two are beginning to find out. Other machines round differently and
# get different numbers.)

# %% [markdown]
# # What it has learned
#
# Where does it go? Arrows show the most likely move in every cell, for the same parcel at the bottom
# right: on the left while the parcel lies there, on the right when it is in the hand.

# %%
warehouse = env.unwrapped
policy = masked.train_policy
figure, panels = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
for axes, place in zip(panels, (3, 4), strict=True):
    env.reset(seed=1)
    warehouse.kind, warehouse.parcel, warehouse.robot = 0, place, (4, 4)
    axes.imshow(warehouse.render())
    for row in range(5):
        for column in range(5):
            if (row % 2, column % 2) == (1, 1):
                continue  # a shelf
            warehouse.robot = (row, column)
            mask = torch.tensor(warehouse.action_mask())[None]
            obs = {"kind": [0], "parcel": [place], "robot": [[row, column]]}
            obs = {name: torch.tensor(part) for name, part in obs.items()}
            move, _ = policy.dist(obs, mask).mode[0].tolist()
            down, right = [(-1, 0), (0, 1), (1, 0), (0, -1)][move]
            x, y = 48 * column + 24, 48 * row + 24
            axes.arrow(
                x - 8 * right, y - 8 * down, 12 * right, 12 * down, head_width=9, color="black"
            )
    axes.axis("off")
panels[0].set_title("the parcel lies at the bottom right", fontsize="medium")
panels[1].set_title("the parcel is in the hand", fontsize="medium")
show(
    figure,
    "Where the robot goes: to the parcel, and with the parcel to the door.",
    "Two grids with an arrow in each free cell. On the left the arrows lead to the bottom right, "
    "on the right to the bottom left, round the shelves.",
)

# %% [markdown]
# The arrows lead to the parcel, then to the door, round the shelves. (The hand acts first: in the
# parcel's own cell and at the door, the arrow is the move that follows.)
#
# And one episode with the best policy:

# %%
masked.visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** The actions of a task are `MultiDiscrete([3, 4, 5])`. How many outputs does the
# network of a policy with independent components need?
#
# - (a) 3
# - (b) 12
# - (c) 60

# %%
quiz("06", 1, "?")

# %% [markdown]
# **Question 2.** The components of an action were chosen with probabilities $\frac{1}{2}$ and
# $\frac{1}{4}$. What is the log-probability of the action?
#
# - (a) $-0.29$
# - (b) $-1.04$
# - (c) $-2.08$
# - (d) $0.96$

# %%
quiz("06", 2, "?")

# %% [markdown]
# **Question 3.** Of ten actions four are allowed, and all logits are equal. What is the entropy
# of the masked policy?
#
# - (a) $2.30$
# - (b) $0.92$
# - (c) $0$
# - (d) $1.39$

# %%
quiz("06", 3, "?")

# %% [markdown]
# **Question 4.** An allowed action is reinforced. What does the gradient of its masked log-probability do
# to the logit of an action that was forbidden?
#
# - (a) It lowers the logit.
# - (b) Nothing: it is 0.
# - (c) It is NaN, as the logit is $-\infty$.

# %%
quiz("06", 4, "?")

# %% [markdown]
# **Question 5.** An agent samples with the mask and keeps the log-probability that goes with it. The update
# computes the new one without the mask. What is the ratio before the first step, where something is forbidden?
#
# - (a) less than 1
# - (b) exactly 1
# - (c) more than 1

# %%
quiz("06", 5, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcab"`.


# %% nbgrader={"grade": false, "grade_id": "spaces-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "bcdba"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "spaces-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_06(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_06(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **Taxi-v4** gives `info["action_mask"]`, too. Play 50 episodes at random, with the mask and without it. Expected: about $-780$ on
#   average without, about $-180$ with it. Then let `PPOClip` learn both.

# %% [markdown] nbgrader={"grade": true, "grade_id": "spaces-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

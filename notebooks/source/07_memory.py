# %% [markdown]
# # Memory: CartPole without velocities
#
# A photograph of a pole shows how far it leans. It does not show whether it falls or rises, and the
# right push depends on that. In this notebook we take the velocities away from CartPole, see a policy
# fail, and give it a memory. The memory is a variable of the workspace, like actions and rewards: we
# write how it goes on from row to row, where it is reset, and what a minibatch is now. Then we look for
# a bug that raises no error.
#
# When you get stuck, or want to know more:
#
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   has a section on LSTMs; details 32 to 36 of the list are the plan of this notebook;
# - [GRUCell in the documentation of PyTorch](https://pytorch.org/docs/stable/generated/torch.nn.GRUCell.html)
#   has the formulas of the cell that we use;
# - [CartPole in the documentation of Gymnasium](https://gymnasium.farama.org/environments/classic_control/cart_pole/)
#   tells what is observed.
#
# [◀ 06](06_other_spaces.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [08 ▶](08_shared_trunk_ppo2.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - say why a policy may need a memory, and where the memory lies in the workspace;
# - take a cell through the rows of a rollout, with a reset where an episode begins, and say how far
#   its gradient goes back;
# - make minibatches of whole environments, and say why shuffled transitions will not do;
# - find a memory that leaks from one episode into the next.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | Nothing is remembered where an episode begins | ●○○ | 10 | essential |
# | Row by row | ●●○ | 20 | essential |
# | Minibatches of environments | ●●○ | 15 | essential |
# | Leaks | ●○○ | 10 | useful |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading and watching it takes about 90 minutes. You should know the rows of the workspace
# (notebook 01) and the loop of PPO (notebook 03).

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

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import (
    Agent,
    PPOClip,
    build_ortho_mlp,
    iter_partial_episodes,
    load,
    run,
    setup_tensorboard,
)
from ppo_bbrl.plots import read_metrics, workspace_grid
from ppo_course import (
    check_column_minibatches,
    check_leaks,
    check_quiz_07,
    check_reset_memory,
    check_unroll,
    quiz,
)
from ppo_course.nb07_memory.suspects import suspects
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # What an observation hides
#
# CartPole observes four numbers: the cart's position and velocity, the pole's angle and angular
# velocity. The wrapper `MaskVelocity` of `ppo_bbrl` sets both velocities to 0. What is lost? Here are
# 3000 steps of random actions. For each, we see the angle, and what the observation no longer
# tells: the angular velocity.

# %%
env = gym.make("CartPole-v1")
env.action_space.seed(0)
states, previous = [], []
obs, _ = env.reset(seed=0)
for _ in range(3000):
    after, _, terminated, truncated, _ = env.step(env.action_space.sample())
    states.append([after[2], after[3], after[2] - obs[2]])
    obs = env.reset()[0] if terminated or truncated else after
angle, velocity, change = torch.tensor(states).T

figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axes, seen, label in (
    (panels[0], angle, "angle that is observed (rad)"),
    (panels[1], change, "angle minus the angle one step before (rad)"),
):
    axes.scatter(seen, velocity, s=3, color="#0072B2", alpha=0.4)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("angular velocity (rad/s)")
show(
    figure,
    "The angle alone says little about the velocity; two angles say nearly everything.",
    "Two scatter plots. On the left the points are a cloud: each angle has velocities of both "
    "signs. On the right they lie on two narrow lines that rise.",
)

# %% [markdown]
# On the left, the same angle comes with velocities of both signs: a policy that sees only this angle cannot
# know where the pole is going. On the right, anyone who remembers one more angle nearly knows the velocity
# (the two lines are the two actions). The task is no longer a *Markov decision process* in what is observed:
# it is *partially
# observed*, and the past matters.
#
# One could show the policy its last two observations. We let it find out for itself what is worth remembering.

# %% [markdown]
# # A cell
#
# A *recurrent cell* has a state, the memory $m$: $H$ numbers. It takes the memory and an observation
# $o_t$, and makes the next memory,
#
# $$
# m_{t+1} = \mathrm{cell}_\theta(o_t, m_t),
# $$
#
# and the policy acts on $m_{t+1}$, which knows $o_t$ and what was kept of all observations before. Our
# cell is a GRU, `nn.GRUCell`; an LSTM does the same with two vectors, side by side.
#
# In the workspace the memory is a variable `current_policy/memory`, $[T, B, H]$. **Row $t$ holds what
# the policy knows when it comes to row $t$**, before it sees the observation there:
#
# | Row | 0 | 1 | 2 | … |
# |---|---|---|---|---|
# | `env/env_obs` | $o_0$ | $o_1$ | $o_2$ | |
# | `current_policy/memory` | $m_0$ | $m_1 = \mathrm{cell}(o_0, m_0)$ | $m_2 = \mathrm{cell}(o_1, m_1)$ | |
#
# So a rollout may end in the middle of an episode: the memory of its last row is carried into the next
# rollout, with the observation, and the policy goes on.

# %% [markdown]
# # Where an episode begins
#
# A new episode has nothing to do with the one before. Where it begins, the policy must know nothing:
# the memory is 0 there. The $B$ environments run side by side, and their episodes begin in different
# rows.

# %% [markdown]
# ## Exercise: nothing is remembered where an episode begins
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `reset_memory`. It gets
#
# - `memory`, a row of the variable, $[B, H]$;
# - `begins`, True for the environments in which an episode begins, $[B]$.
#
# It returns the memory with which the policy goes on, $[B, H]$: 0 where an episode begins, as it was
# elsewhere. It leaves its arguments as they are.
#
# Useful: `begins.unsqueeze(-1)` is $[B, 1]$;
# [x.masked_fill(mask, 0.0)](https://pytorch.org/docs/stable/generated/torch.Tensor.masked_fill.html)
# makes a new tensor.
#
# <details>
# <summary>A hint</summary>
#
# Shapes are aligned from the right: `[B, H]` and `[B]` do not go together, `[B, H]` and `[B, 1]` do.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "memory-reset", "locked": false, "schema_version": 3, "solution": true, "task": false}
def reset_memory(memory, begins):
    """
    The memory [B, H], with 0 where begins [B] is True
    """
    ### BEGIN SOLUTION
    return memory.masked_fill(begins.unsqueeze(-1), 0.0)
    ### END SOLUTION


# %% [markdown]
# The check has rows in which some episodes begin, one in which none does, and one in which all do.

# %% nbgrader={"grade": true, "grade_id": "memory-reset-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_reset_memory(reset_memory)
### BEGIN HIDDEN TESTS
check_reset_memory(reset_memory, seed=1)
check_reset_memory(reset_memory, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Row by row
#
# While the policy acts, the rows come one by one. When it learns, the rows are all there, but the
# weights change with each minibatch, and so do the memories: those that were written while it acted
# are out of date. So the update starts from the memory of row 0 and computes all the others anew, in order
# of time. (Detail 36.)

# %% [markdown]
# ## Exercise: row by row
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `unroll`. It gets
#
# - `cell`, which is called as `cell(row, memory)`, with $[B, F]$ and $[B, H]$, and returns the next
#   memory, $[B, H]$;
# - `features`, what the cell sees in each row, $[T, B, F]$;
# - `memory`, with which the environments come to row 0, $[B, H]$;
# - `begins`, where an episode begins, $[T, B]$.
#
# It returns the memories after each row, $[T, B, H]$: first the one that has seen row 0, and so on. The
# gradient must get through, to the features, to the memory and to the cell's weights.
#
# Useful: your `reset_memory`;
# [torch.stack](https://pytorch.org/docs/stable/generated/torch.stack.html) makes one tensor of a list.
#
# <details>
# <summary>A hint</summary>
#
# A loop over the rows. In each: reset, then the cell, then keep what it gave. What the cell gave is the
# memory of the next round.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "memory-unroll", "locked": false, "schema_version": 3, "solution": true, "task": false}
def unroll(cell, features, memory, begins):
    """
    The memories [T, B, H] after each row of the features [T, B, F],
    from the memory [B, H] before row 0; begins [T, B]: where an episode begins
    """
    ### BEGIN SOLUTION
    memories = []
    for t in range(len(features)):
        known = memory.masked_fill(begins[t].unsqueeze(-1), 0.0)  # or your reset_memory
        memory = cell(features[t], known)
        memories.append(memory)
    return torch.stack(memories)
    ### END SOLUTION


# %% [markdown]
# In the check, some environments go on in row 0, from a memory that is not 0.

# %% nbgrader={"grade": true, "grade_id": "memory-unroll-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_unroll(unroll)
### BEGIN HIDDEN TESTS
check_unroll(unroll, seed=1)
check_unroll(unroll, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# PyTorch's `nn.GRU` takes many rows at once, which is faster, but has no resets. Where no episode
# begins, step by step and one pass are the same, up to rounding. And a rollout that is cut in two is the
# same as a whole one, if the memory is carried over the cut:

# %%
torch.manual_seed(0)
cell, features, memory = nn.GRUCell(3, 8), torch.randn(20, 4, 3), torch.randn(4, 8)
never = torch.zeros(20, 4, dtype=torch.bool)
by_rows = unroll(cell, features, memory, never)

at_once = nn.GRU(3, 8)
at_once.load_state_dict({f"{name}_l0": weight for name, weight in cell.state_dict().items()})
in_one_pass, _ = at_once(features, memory[None])

first = unroll(cell, features[:9], memory, never[:9])
second = unroll(cell, features[9:], first[-1], never[9:])

print(f"one pass: differs by {(in_one_pass - by_rows).abs().max():.0e} at most")
print(f"cut in two: differs by {(torch.cat([first, second]) - by_rows).abs().max():.0e} at most")

# %% [markdown]
# ## How far the gradient goes back
#
# What the policy does in row $t$ depends on all rows before, and so the gradient of row $t$ goes back
# through the memory: *backpropagation through time*. It ends in two places. Where an episode begins, the
# reset cuts it: 0 depends on nothing. And at row 0 of the rollout the memory is given, a number like an
# observation. So an observation gets no credit for what came of it in a later rollout. Here is one
# environment, with an episode that begins in row 8: how strongly the memory after row $t$ depends on
# the observation of row $t'$.

# %%
features = torch.randn(16, 1, 3, requires_grad=True)
begins = torch.zeros(16, 1, dtype=torch.bool)
begins[8] = True
memories = unroll(cell, features, torch.zeros(1, 8), begins)
strength = torch.stack(
    [
        torch.autograd.grad(memories[t].sum(), features, retain_graph=True)[0].norm(dim=-1)[:, 0]
        for t in range(16)
    ]
)
figure, axes = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
image = axes.imshow(strength, cmap="Blues", vmin=0)
axes.set(xticks=range(0, 16, 4), yticks=range(0, 16, 4))
axes.axhline(7.5, color="#D55E00", linewidth=1)
axes.axvline(7.5, color="#D55E00", linewidth=1)
axes.set(xlabel="observation of row $t'$", ylabel="memory after row $t$")
axes.set_title("norm of the gradient; an episode begins in row 8", fontsize="medium")
figure.colorbar(image)
show(
    figure,
    "How far back the memory's gradient reaches. Orange: a new episode begins.",
    "A map of 16 by 16. It is dark near the diagonal and paler below it; nothing is above it, "
    "and nothing in the lower left square, where the later episode would depend on the earlier "
    "one.",
)
print(f"From the second episode into the first: {strength[8:, :8].abs().max():.0f}")

# %% [markdown]
# # Minibatches of environments
#
# In notebook 04 a minibatch was any 64 transitions, shuffled. With a memory this is no longer possible:
# to make the memory of row 20, all rows before are needed. So we shuffle *environments*. A minibatch has all
# $T$ rows of some of them, in order of time. (Detail 36, again.) This is a reason to have
# several environments and short rollouts: 8 environments with 32 rows, say.

# %% [markdown]
# ## Exercise: minibatches of environments
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `column_minibatches`. It gets
#
# - `rows`, a variable of the workspace, $[T, B, …]$;
# - `order`, the numbers of the environments in a random order, $[B]$;
# - `batch_size`, the number of *steps* that a minibatch should have.
#
# It returns a list of minibatches, $[T, M, …]$ each, in this order. $M$ is the number of environments
# that fit, `batch_size // T`, but at least one. Each environment is in exactly one minibatch, so the
# last one may be smaller.
#
# Useful: [order.split(M)](https://pytorch.org/docs/stable/generated/torch.split.html) cuts a tensor into
# pieces of $M$; `rows[:, index]` picks from dimension 1.
#
# <details>
# <summary>A hint</summary>
#
# $T$ is `len(rows)`. Two lines: M, and a list over the pieces of the order.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "memory-column-minibatches", "locked": false, "schema_version": 3, "solution": true, "task": false}
def column_minibatches(rows, order, batch_size):
    """
    Minibatches [T, M, …] of rows [T, B, …]: whole environments, in the given order [B]
    """
    ### BEGIN SOLUTION
    size = max(1, batch_size // len(rows))
    return [rows[:, index] for index in order.split(size)]
    ### END SOLUTION


# %% [markdown]
# One of the check's batch sizes is smaller than $T$, and one is larger than all steps together.

# %% nbgrader={"grade": true, "grade_id": "memory-column-minibatches-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_column_minibatches(column_minibatches)
### BEGIN HIDDEN TESTS
check_column_minibatches(column_minibatches, seed=1)
check_column_minibatches(column_minibatches, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The agent
#
# A policy with memory is an agent with two more attributes: `has_memory` tells the package to make its
# minibatches of environments, and to take the agent through their rows one by one; `memory_size` is
# $H$. In row $t$ it reads row $t$ of its memory, resets it with *your* `reset_memory`, and writes what it
# knows afterwards into row $t + 1$. An episode begins where `env/timestep` is 0.


# %%
class RecurrentPolicy(Agent):
    """A policy for two actions, with a GRU cell"""

    has_memory, memory_size = True, 32

    def __init__(self, name="policy"):
        super().__init__(name)
        self.cell = nn.GRUCell(4, self.memory_size)
        for weight, bias in (
            (self.cell.weight_ih, self.cell.bias_ih),
            (self.cell.weight_hh, self.cell.bias_hh),
        ):
            nn.init.orthogonal_(weight)  # detail 32
            nn.init.zeros_(bias)
        self.model = build_ortho_mlp(
            [self.memory_size, 64, 2], activation=nn.Tanh(), output_gain=0.01
        )

    def known(self, t):
        """What it knows when it comes to row t, [B, H]"""
        name, begins = f"{self.prefix}memory", self.get(("env/timestep", t)) == 0
        if t == 0 and name not in self.workspace.variables:
            self.set((name, 0), torch.zeros(len(begins), self.memory_size))
        memory = reset_memory(self.get((name, t)), begins)
        self.set((name, t), memory)
        return memory

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        memory = self.cell(self.get(("env/env_obs", t)), self.known(t))
        self.set((f"{self.prefix}memory", t + 1), memory)
        dist = Categorical(logits=self.model(memory))

        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        else:
            self.set(("action", t), dist.sample() if stochastic else dist.probs.argmax(-1))

        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


# %% [markdown]
# In training we use the package's own, which does the same: `memory: gru` puts such a cell in front of
# the layers of the policy, and another one in front of the critic's, which sees just as little. It takes
# rows in which no episode begins in one pass, as above, and so is faster. The settings follow the package's
# `configs/cartpole_no_velocity_lstm.yaml`. To finish in about a minute, a run has 30,000 steps, not 100,000,
# and a larger learning rate.

# %% tags=["definitions"]
params = {
    "base_dir": "${gym_env.env_name}/memory-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1", "wrappers": ["MaskVelocity"]},
    "algorithm": {
        "seed": 1,
        "n_envs": 8,
        "n_steps": 32,  # as far as the gradient goes back
        "max_epochs": 120 if not TESTING_MODE else 2,
        "eval_interval": 2500 if not TESTING_MODE else 250,
        "nb_evals": 10 if not TESTING_MODE else 2,
        "gae": 0.8,
        "discount_factor": 0.98,
        "normalize_advantage": True,
        "batch_size": 64,  # two environments
        "learning_rate_schedule": "linear",
        "clip_range_schedule": "linear",
        "architecture": {"memory": "gru", "memory_size": 32, "activation": "tanh"},
    },
    "optimizer": {"classname": "torch.optim.Adam", "lr": 2e-3, "eps": 1e-5},
    "compute": {"compile": "never", "threads": 1},
}


# %%
def make_ppo(memory="gru", seed=1):
    """PPO with a memory, or with none"""
    changes = {"algorithm": {"seed": seed, "architecture": {"memory": memory}}}
    return PPOClip(OmegaConf.merge(params, changes))


def rollout_of(policy, n_rows=64):
    """A workspace of so many rows that a policy has filled"""
    collector = PPOClip(OmegaConf.merge(params, {"algorithm": {"seed": 5}}), train_policy=policy)
    workspace = next(iter_partial_episodes(collector, n_rows))
    collector.close()
    return workspace


# %% [markdown]
# Some rows of a rollout, with a fresh policy. Above, the time in the episode; below, how much the policy
# remembers: the norm of its 32 numbers. Where the time is 0, so is the memory.

# %%
workspace = rollout_of(RecurrentPolicy())
memory = workspace["current_policy/memory"]
figure, panels = plt.subplots(2, 1, figsize=(9, 7.6), layout="constrained")
shown = workspace.subtime(10, 22)
workspace_grid(shown, "env/timestep", title="env/timestep", axes=panels[0])
norm = memory[10:22].norm(dim=-1)
workspace_grid(shown, norm, form="{:.2f}", title="norm of current_policy/memory", axes=panels[1])
show(
    figure,
    "Time in the episode, and the size of the memory: both are 0 in the same places.",
    "Two tables of 12 rows. Wherever the timestep is 0, the norm of the memory is 0, too; below "
    "it the memory grows.",
)

# %% [markdown]
# # A bug to find
#
# Anyone who forgets the reset sees no error. The policy acts, the losses fall, and each episode begins with
# the memory of another one. So we write a detector: the workspace holds all it needs.

# %% [markdown]
# ## Exercise: leaks
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Write `leaks`. It gets two variables of a workspace:
#
# - `memory`, what a policy knew when it came to each row, $[T, B, H]$;
# - `timestep`, the time in the episode, $[T, B]$.
#
# It returns a mask, $[T, B]$ of True and False: True where an episode begins and the policy knows
# something all the same, whatever it is.
#
# Useful: `x.any(-1)` looks along the last dimension; `&` is true where both masks are.
#
# <details>
# <summary>A hint</summary>
#
# Two masks [T, B]: where an episode begins, and where any of the H numbers is not 0.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "memory-leaks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def leaks(memory, timestep):
    """
    Where an episode begins and something is remembered, [T, B]
    """
    ### BEGIN SOLUTION
    return (timestep == 0) & (memory != 0).any(-1)
    ### END SOLUTION


# %% [markdown]
# The check's memories have numbers of both signs, some of which cancel out.

# %% nbgrader={"grade": true, "grade_id": "memory-leaks-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_leaks(leaks)
### BEGIN HIDDEN TESTS
check_leaks(leaks, seed=1)
check_leaks(leaks, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Three policies
#
# A, B and C have the same weights, and each of them treats its memory in a different way. At least one has a
# bug. Your detector looks at all three.

# %%
for name, suspect in suspects(4, 2).items():
    workspace = rollout_of(suspect)
    memory, timestep = (
        workspace["current_policy/memory"][: len(workspace["env/timestep"])],
        workspace["env/timestep"],
    )
    begins, found = timestep == 0, leaks(memory, timestep)
    late = begins[1:].sum()
    print(f"{name}: {begins.sum()} beginnings, {late} of them after row 0; {found.sum()} leaks")

# %% [markdown]
# Which ones are wrong, and how do they differ? Look at how much the leaking policies remember where an
# episode begins, and in the row before. Decide, then look below the picture.

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
for axes, (name, suspect) in zip(panels, suspects(4, 2).items(), strict=True):
    workspace = rollout_of(suspect)
    ends = workspace["env/done"][:-1].nonzero()
    for t, b in ends[:12].tolist():
        if 3 <= t < len(workspace["env/done"]) - 4:
            size = workspace["current_policy/memory"][t - 3 : t + 5, b].norm(dim=-1)
            axes.plot(range(-3, 5), size, color="#0072B2", alpha=0.5)
    axes.axvline(1, color="#D55E00", linewidth=1)
    axes.set(title=name, xlabel="rows since the episode's last row")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("norm of the memory")
show(
    figure,
    "The memory around the ends of episodes. Orange: the first row of the next one.",
    "Three panels, a line for each end of an episode, from three rows before its last row to "
    "four rows after it. The panels differ in what the lines do at the orange mark.",
)

# %% [markdown]
# The orange line is the first row of the next episode.
#
# <details><summary>Which ones are wrong, and how</summary>
#
# **B** is right: its memory is 0 on the line. **C** never resets: nothing happens at the line. **A**
# resets, but in the row where `env/done` is true, one row too early. In that row it still sees the last
# observation of the old episode, and carries it into the new one. So it is nearly right, and its memory
# would look right to anyone who tests only the row of the reset.
#
# </details>

# %% [markdown]
# # Does it learn?
#
# First without a memory, with the same settings. Then with one.

# %%
setup_tensorboard("./outputs/tblogs")

# %%
without = make_ppo("none")
run(without)
print(f"Without a memory, best evaluation: {without.best_reward:.0f}")

# %%
ppo_clip = make_ppo()
run(ppo_clip)
print(f"With a memory, best evaluation: {ppo_clip.best_reward:.0f}")

# %%
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for name, algo, colour in (
    ("with a memory", ppo_clip, "#0072B2"),
    ("without", without, "#D55E00"),
):
    curve = read_metrics(algo.base_dir)[["steps", "reward/mean"]].dropna()
    axes.plot(curve["steps"] / 1000, curve["reward/mean"], color=colour, label=name)
    print(
        f"{name}: the mean of the last four evaluations is {curve['reward/mean'][-4:].mean():.0f}"
    )
axes.set(xlabel="environment steps (thousands)", ylabel="return of the evaluations", ylim=(0, 510))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
show(
    figure,
    "CartPole without velocities: with a memory, and without.",
    "Two curves over the steps. That with a memory rises to several hundred; that without stays "
    "below 50.",
)

# %% [markdown]
# Without a memory it never gets beyond about 45 steps, however long it learns: no weights can tell a
# falling pole from a rising one. With a memory the best evaluation was 466 in our run, and the mean of
# the last four 424. That is one seed, and another machine rounds differently. With the package's own file, and
# 100,000 steps, it does better still.
#
# ## What if the reset is forgotten when the policy is used?
#
# The best policy plays in 8 environments, once as it should, once without a reset: then each episode except
# the first begins with the memory of a pole that has just fallen, or stood still for 500 steps.


# %%
def play(policy, *, resets, n_steps=1500 if not TESTING_MODE else 100):
    """The returns of the episodes of 8 environments"""
    envs = gym.make_vec("CartPole-v1", num_envs=8)
    obs, _ = envs.reset(seed=7)
    policy.reset()
    ended, total, returns = torch.zeros(8, dtype=torch.bool).numpy(), 0.0, []
    begins = ended
    for _ in range(n_steps):
        shown = obs * [1, 0, 1, 0]  # without velocities
        actions = policy.predict(shown, episode_start=begins if resets else None)
        obs, rewards, terminated, truncated, _ = envs.step(actions)
        total = total + rewards
        # The environment begins anew in the step after the end.
        begins, ended = ended, terminated | truncated
        returns += total[ended].tolist()
        total = total * ~ended
    envs.close()
    return returns


policy = load(ppo_clip.base_dir)
for name, resets in (("with resets", True), ("without", False)):
    returns = play(policy, resets=resets)
    print(f"{name}: {len(returns)} episodes, mean return {sum(returns) / len(returns):.0f}")

# %% [markdown]
# With the resets we saw 470 on average, without them 394. Most episodes are not affected: after some rows the
# old memory has been replaced. But some of them were over after about ten steps, which never happened with the
# resets: the first pushes went in the wrong direction. Such a bug is easily overlooked: no error, a good mean,
# and now and then a fall that nobody understands.

# %% [markdown]
# # The video
#
# One episode with the best policy with memory:

# %%
ppo_clip.visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** A rollout has 8 environments and 32 rows, and `batch_size` is 64. What is a minibatch?
#
# - (a) any 64 of the 256 transitions
# - (b) 2 environments with all their rows
# - (c) 64 environments
# - (d) 8 environments with 8 rows each

# %%
quiz("07", 1, "?")

# %% [markdown]
# **Question 2.** A rollout ends in the middle of an episode. With which memory does the policy begin
# the next rollout?
#
# - (a) with zeros
# - (b) with one that the new weights make from the first observation of the episode on
# - (c) with the one that it wrote into the last row, under the weights that acted then

# %%
quiz("07", 2, "?")

# %% [markdown]
# **Question 3.** In a rollout, an episode begins in row 8. How does the policy's action in row 12 change the
# gradient of what it saw in row 5?
#
# - (a) not at all
# - (b) as in any other rollout, through seven steps of memory
# - (c) by a random amount, as the two episodes mix

# %%
quiz("07", 3, "?")

# %% [markdown]
# **Question 4.** Somebody forgets the reset, and trains for some iterations. What do they notice?
#
# - (a) PyTorch raises an error in the second episode.
# - (b) The losses become NaN.
# - (c) Nothing at once: it acts and learns, and the memory where an episode begins is not 0.

# %%
quiz("07", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abca"`.


# %% nbgrader={"grade": false, "grade_id": "memory-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "bcac"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "memory-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_07(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_07(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **How much memory is needed?** Let a random policy play CartPole without velocities, and predict the cart's true velocity from the last $k$
#   observations by least squares (`numpy.linalg.lstsq`). Expected: $k = 1$ explains about half of the variance, $k = 2$ nearly 90 %; the
#   velocity of the row *before* is explained completely by two, since the position moves by it.

# %% [markdown] nbgrader={"grade": true, "grade_id": "memory-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

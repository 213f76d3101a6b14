# %% [markdown]
# # Values, TD errors, λ-returns and GAE
#
# How good is it to be in a state? The *critic* answers this question, and every actor-critic
# algorithm, PPO among them, leans on its answer twice: the critic itself learns from *returns*,
# the policy learns from *advantages*. In this notebook we compute both by hand, on an environment
# so small that we know the true values. So we see at once what a wrong line does to them.
#
# If you want to know more:
#
# - [High-Dimensional Continuous Control Using Generalized Advantage Estimation](https://arxiv.org/pdf/1506.02438.pdf)
#   (Schulman et al., 2016) is where GAE comes from;
# - [Time Limits in Reinforcement Learning](https://arxiv.org/pdf/1712.00378.pdf)
#   (Pardo et al., 2018) is about episodes whose time is up;
# - chapters 3, 6 and 12 of the book *Reinforcement Learning: An Introduction* (Sutton and Barto,
#   second edition, 2018) have values, TD errors and λ-returns.
#
# [◀ 01](01_workspace.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [02b ▶](02b_policy_gradient.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - compute TD errors, λ-returns and advantages from the rows of a workspace;
# - say what λ trades for what, and read it from a picture;
# - tell a *terminated* episode from a *truncated* one, and say which estimate needs which flag;
# - recognise four common mistakes by the error that they leave in the critic.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | The TD error | ●○○ | 10 | essential |
# | The λ-return | ●●○ | 20 | essential |
# | GAE | ●●○ | 15 | essential |
# | Fix the critic's targets | ●●● | 20 | useful |
# | What have you understood? (five questions) | ●○○ | 10 | useful |
#
# With reading it takes about 100 minutes. You should know what an agent, a workspace and a
# transition are (notebook 01).

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
import torch

from ppo_bbrl import Agent, Agents, TemporalAgent, Workspace
from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.plots import bootstrap_interval, workspace_grid
from ppo_bbrl.plots.figures import COLOURS
from ppo_bbrl.runs.progress import Progress
from ppo_course import (
    check_critic_targets,
    check_gae_by_hand,
    check_lambda_return,
    check_quiz_02,
    check_td_error,
    quiz,
)
from ppo_course.pictures import show
from ppo_course.probes import corridor_values, register_probes

# The tensors below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)
# The colours of all notebooks, which can be told apart with any eyes.
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)

# With the environment variable TESTING_MODE=on the experiments are short. It is meant for
# automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # A walk of known value
#
# Our environment is a corridor of eight cells. At its left end, in cell 0, is a hole; at its right
# end, behind cell 8, is a wall. The walker goes one cell to the left or to the right, and earns 1
# with each step. At the wall, a step to the right leaves it in cell 8.
#
# - A walker that falls into the hole is gone for good: the episode is **terminated**.
# - After 20 steps we stop watching: the episode is **truncated**. The walker would have gone on.
#
# An episode begins in one of the cells 1 to 4, and our policy tosses a coin.

# %%
register_probes()  # tells Gymnasium of Corridor-v0


class CoinTosser(Agent):
    """Goes to the left (0) or to the right (1), by chance"""

    def forward(self, t, **kwargs):
        cell = self.get(("env/env_obs", t))
        self.set(("action", t), torch.randint(2, cell.shape))


def walk(n_rows, n_envs, seed, **env_args):
    """A workspace with n_rows rows of n_envs walkers; an ended episode is followed by a new one"""
    torch.manual_seed(seed)
    env_agent = EnvAgent("Corridor-v0", n_envs, env_args=env_args).seed(seed)
    workspace = Workspace()
    TemporalAgent(Agents(env_agent, CoinTosser()))(workspace, t=0, n_steps=n_rows)
    return workspace


# %%
show(
    workspace_grid(walk(n_rows=25, n_envs=8, seed=6), "env/env_obs", title="cell of the walker"),
    "Where eight walkers are, row by row.",
    "A grid of 25 rows and 8 columns with the number of a cell in each. From row to row a number "
    "changes by one; where an episode ends in the hole or is cut off, another begins.",
)

# %% [markdown]
# # The value
#
# The value of a state is the discounted sum of the rewards to come, on average over what the
# policy $\pi$ and the environment may do. *Discounted* means that a reward counts less with each step
# that it is away, by the factor $\gamma < 1$:
#
# $$
# V^\pi(s) = \mathbb{E}\left[r_{t+1} + \gamma r_{t+2} + \gamma^2 r_{t+3} + \dots \mid s_t = s\right]
# $$
#
# The time limit plays no part in it. It is ours, not the world's; the walker sees no clock, and
# the same cell is worth the same at every moment. So the values of the corridor solve the
# *Bellman equation* $V = r + \gamma P V$, where $P$ holds the probabilities of getting from cell to cell,
# and $V = (I - \gamma P)^{-1} r$ (Sutton and Barto, 2018, section 4.1). `corridor_values`
# computes that.

# %%
GAMMA = 0.95
true_value = corridor_values(GAMMA)
cells = range(1, 9)  # those that one can walk in

figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
bars = axes.bar(range(9), true_value, color=["0.7"] + 8 * ["#0072B2"], width=0.7)
axes.bar_label(bars, fmt="%.1f", fontsize="small", padding=2)
axes.set(xlabel="cell", ylabel="value", xticks=range(9), ylim=(0, 20))
axes.set_xticklabels(["hole", *cells])
axes.set_title(f"True values of the corridor, γ = {GAMMA}")
show(
    figure,
    "What each cell is really worth: the nearer the hole, the less.",
    "Bars for the hole and cells 1 to 8. The hole is worth 0, cell 1 about 5, and each further "
    "cell more, up to about 17 in cell 8.",
)

# %% [markdown]
# # The TD error
#
# A critic that is not right yet can be corrected by a single step. Before it, the critic said
# $V(s_t)$; after it, we know a reward, and the critic says $V(s_{t+1})$ about the rest. The
# difference is the *temporal-difference error*:
#
# $$
# \delta_t = r_{t+1} + \gamma V(s_{t+1}) - V(s_t)
# $$
#
# It is positive where things went better than the critic had thought. What if the episode ends with
# this step? It depends on how:
#
# | | what comes after $s_{t+1}$ | its value in the formula |
# |---|---|---|
# | terminated | nothing, for ever | 0, whatever the critic says |
# | truncated | something that we do not see | $V(s_{t+1})$, the critic's guess |
# | neither | the next step | $V(s_{t+1})$ |

# %% [markdown]
# ## Exercise: the TD error
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `td_error`. It gets
#
# - `workspace`, with $T$ rows of $B$ environments. In it are `env/reward`, `env/terminated`,
#   `env/truncated`, `env/done` (terminated *or* truncated) and `critic/v_values`, what the critic
#   says of each row. All of them have the shape $[T, B]$, the flags are Boolean tensors;
# - `discount_factor`, the $\gamma$ of the formula.
#
# It returns the TD errors of the $T - 1$ steps from a row to the next one, $[T - 1, B]$. Mind the
# rows: the step from row $t$ to row $t+1$ starts with the value of row $t$. Its reward, and the
# flags that tell whether it ended the episode, came with row $t+1$.
#
# From the last row of an episode to the first of the next one there is no transition. What your
# function returns for such a step does not matter: we leave it out later.
#
# Useful:
#
# - `workspace["env/reward", "env/terminated"]` gives two tensors at once, `x[1:]` all rows but the
#   first, `x[:-1]` all but the last;
# - [Tensor.masked_fill](https://pytorch.org/docs/stable/generated/torch.Tensor.masked_fill.html):
#   `x.masked_fill(mask, 0)` has zeros where `mask` is true.
#
# <details>
# <summary>A hint</summary>
#
# Three lines: read three variables; make the next value, 0 where the row is terminal; the formula.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gae-td-error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def td_error(workspace, discount_factor):
    """The TD error of each step from a row of the workspace to the next one, [T - 1, B]"""
    ### BEGIN SOLUTION
    reward, terminated, value = workspace["env/reward", "env/terminated", "critic/v_values"]
    next_value = value[1:].masked_fill(terminated[1:], 0)
    return reward[1:] + discount_factor * next_value - value[:-1]
    ### END SOLUTION


# %% [markdown]
# The next cell tries your function on a few episodes with all kinds of ends. If something is wrong,
# it says what it saw, what it expected, and where to look.

# %% nbgrader={"grade": true, "grade_id": "gae-td-error-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_td_error(td_error)
### BEGIN HIDDEN TESTS
check_td_error(td_error, seed=1)
check_td_error(td_error, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## What a TD error knows
#
# We let two critics judge the same walks. One says the true values; its TD errors should then be 0
# on average, in every cell. The other says 12 everywhere; what do its TD errors tell?

# %%
walks = walk(n_rows=401 if TESTING_MODE else 4001, n_envs=16, seed=1)
cell, done = walks["env/env_obs", "env/done"]


def mean_by_cell(numbers):
    """Mean and standard error of the numbers [T - 1, B] for each cell, transitions only"""
    groups = [numbers[~done[:-1] & (cell[:-1] == k)] for k in cells]
    return [g.mean() for g in groups], [g.std() / len(g) ** 0.5 for g in groups]


critics = {"the true values": true_value, "12 everywhere": torch.full((9,), 12.0)}
figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axes, (name, value) in zip(panels, critics.items(), strict=True):
    walks.set_full("critic/v_values", value[cell])  # all rows at once: a critic that is a table
    mean, error = mean_by_cell(td_error(walks, GAMMA))
    missing = (true_value - value)[1:]  # true value − what the critic says
    axes.axhline(0, color="0.7", lw=0.8, zorder=0)
    axes.plot(cells, missing, "_", ms=14, color="0.3", label="what the critic lacks")
    axes.errorbar(cells, mean, [2 * e for e in error], fmt="o", capsize=3, label="mean TD error")
    axes.set(xlabel="cell", xticks=cells, title=f"A critic that says {name}")
panels[0].legend(frameon=False)
show(
    figure,
    "The mean TD error in each cell, with two standard errors, for two critics.",
    "Two panels over the cells. For the critic that is right, all TD errors are at 0. For the "
    "one that says 12 everywhere, that of cell 1 is far below 0 and all others are at 0.4, "
    "whatever the critic lacks.",
)

truncated = walks["env/truncated"] & ~walks["env/terminated"]
print(f"{truncated.sum() / done.sum():.0%} of the episodes were truncated.")

# %% [markdown]
# On the left there is nothing to be learned, and the TD errors say so in every cell, although many
# episodes were cut off by the time limit: a rest that we do not see is worth $V(s_{t+1})$.
#
# On the right, only the TD error of cell 1 depends on the hole. The other cells compare 12 with
# $1 + \gamma \cdot 12 = 12.4$, which says nothing about the truth (the grey marks). What cell 1
# has learned would reach cell 2 with the next update, and so on, one cell at a time. To learn faster
# we must look further ahead.

# %% [markdown]
# # From one step to many
#
# With $n$ rewards instead of one, we get the *$n$-step return*
#
# $$
# G_t^{(n)} = r_{t+1} + \gamma r_{t+2} + \dots + \gamma^{n-1} r_{t+n} + \gamma^n V(s_{t+n}).
# $$
#
# The larger $n$, the less it leans on the critic, and the more on what happened by chance. Which $n$
# is best? The *λ-return* takes them all, each with a weight:
#
# $$
# G_t^\lambda = (1 - \lambda) \sum_{n=1}^{\infty} \lambda^{n-1} G_t^{(n)}
# $$
#
# (Sutton and Barto, 2018, equation 12.2). Where an episode ends after $N$ steps, all returns from
# $G_t^{(N)}$ on are the same, and together they have the weight that is left, $\lambda^{N-1}$
# (equation 12.3). So $\lambda = 0$ leaves the one-step return alone, and $\lambda = 1$ the sum of all
# rewards.

# %%
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
n = torch.arange(1, 16)
for k, lam in enumerate((0.0, 0.5, 0.9)):
    axes.bar(n + 0.27 * (k - 1), (1 - lam) * lam ** (n - 1.0), width=0.27, label=f"λ = {lam:g}")
axes.set(xlabel="n", ylabel="weight of the n-step return", xticks=n[::2])
axes.legend(frameon=False)
show(
    figure,
    "How much each n-step return counts.",
    "Bars over n from 1 to 15 for three λ. With 0 all the weight is on n = 1; with 0.5 it halves "
    "with each step; with 0.9 it is spread out, and falls slowly.",
)

# %% [markdown]
# An infinite sum? There is a shorter way. One step later we know $G_{t+1}^\lambda$, and
#
# $$
# G_t^\lambda = r_{t+1} + \gamma \left[(1 - \lambda) V(s_{t+1}) + \lambda G_{t+1}^\lambda\right].
# $$
#
# <details>
# <summary>Why?</summary>
#
# Each $G_t^{(n)}$ begins with $r_{t+1}$, and the weights add up to 1: that is the first term. What
# follows it is $\gamma V(s_{t+1})$ for $n = 1$, with the weight $1 - \lambda$. For $n > 1$ it is
# $\gamma G_{t+1}^{(n-1)}$ with the weight $(1 - \lambda) \lambda^{n-1}$: $\gamma \lambda$ times the sum
# that defines $G_{t+1}^\lambda$.
#
# </details>
#
# So we begin with the last row and go back. At the end of an episode, and of what we have seen,
# something else stands for the bracket:
#
# | the step from $t$ to $t+1$ | what stands for the bracket |
# |---|---|
# | goes on | $(1 - \lambda) V(s_{t+1}) + \lambda G_{t+1}^\lambda$ |
# | ends the episode by termination | 0 |
# | ends it by truncation | $V(s_{t+1})$: the next return belongs to another episode |
# | goes on, but is the last one that we have seen | $V(s_{t+1})$: there is no next return |

# %% [markdown]
# ## Exercise: the λ-return
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `lambda_return`. From now on the tensors are *aligned on transitions*, $[T, B]$ each: number
# $t$ is about the step from row $t$ to row $t+1$, so that nobody needs `[1:]` and `[:-1]` any
# more. So the formula's $r_{t+1}$ is `reward[t]`, its $V(s_{t+1})$ is `next_value[t]`, and `done[t]`
# says whether this step ended the episode. Only the following return $G_{t+1}^\lambda$ is number
# $t+1$. The function gets
#
# - `reward`, $r_{t+1}$;
# - `next_value`, $V(s_{t+1})$, what the critic says, also of a terminal state;
# - `terminated` and `done` (terminated or truncated), whether the step ended the episode;
# - `discount_factor` and `gae_lambda`, the numbers $\gamma$ and $\lambda$.
#
# It returns the λ-returns, $[T, B]$. Leave the arguments as they are: others still need them.
#
# Useful:
#
# - `reversed(range(T))` counts from $T - 1$ down to 0;
# - [torch.where](https://pytorch.org/docs/stable/generated/torch.where.html)`(mask, x, y)` has `x`
#   where `mask` is true, `y` elsewhere;
# - [torch.zeros_like](https://pytorch.org/docs/stable/generated/torch.zeros_like.html)`(reward)`
#   makes a tensor to be filled row by row.
#
# <details>
# <summary>A hint</summary>
#
# Keep a variable `following`, $[B]$: what the next row leaves to this one. Before the loop it is
# the last next value. In the loop, first replace it by `next_value[t]` where the episode is done;
# then comes the formula, with 0 for the bracket where it is terminated. The result is the new
# `following`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gae-lambda-return", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lambda_return(reward, next_value, terminated, done, discount_factor, gae_lambda):
    """The λ-return of each transition; all tensors are [T, B]"""
    ### BEGIN SOLUTION
    returns = torch.zeros_like(reward)
    following = next_value[-1]
    for t in reversed(range(len(reward))):
        following = torch.where(done[t], next_value[t], following)
        bracket = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = reward[t] + discount_factor * bracket.masked_fill(terminated[t], 0)
        returns[t] = following
    return returns
    ### END SOLUTION


# %% [markdown]
# The check shows the first environment that comes out wrong as a table. Read it from the right: your
# loop begins there.

# %% nbgrader={"grade": true, "grade_id": "gae-lambda-return-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_lambda_return(lambda_return)
### BEGIN HIDDEN TESTS
check_lambda_return(lambda_return, seed=1)
check_lambda_return(lambda_return, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## What λ trades for what
#
# We take the bad critic again, which says 12 everywhere, and estimate the values of the cells by
# λ-returns. As we know the truth, we can split their error in two:
#
# - the **bias**, how far the mean of the estimates of a cell is from its true value. It comes from
#   the critic, and more data do not help;
# - the **standard deviation** of the estimates around their mean. It comes from chance, and more
#   data do help.
#
# Here the walkers may walk on for 1000 steps, so that with $\lambda = 1$ the critic is hardly asked.

# %%
size = {"n_rows": 601, "n_envs": 8} if TESTING_MODE else {"n_rows": 3001, "n_envs": 32}
long_walks = walk(**size, seed=2, time_limit=1000)
cell, reward, terminated, done = long_walks[
    "env/env_obs", "env/reward", "env/terminated", "env/done"
]
critic = torch.full((9,), 12.0)
# Not the last 200 rows: their returns are cut short.
early = ~done[:-1] & (torch.arange(len(done) - 1) < len(done) - 200).unsqueeze(-1)

lambdas = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1)
bias, deviation = [], []
for lam in lambdas:
    estimate = lambda_return(
        reward[1:], critic[cell[1:]], terminated[1:], done[1:], GAMMA, gae_lambda=lam
    )
    by_cell = [estimate[early & (cell[:-1] == k)] - true_value[k] for k in cells]
    bias.append(torch.stack([e.mean() for e in by_cell]).square().mean().sqrt())
    deviation.append(torch.stack([e.std() for e in by_cell]).square().mean().sqrt())
total = [(b**2 + d**2).sqrt() for b, d in zip(bias, deviation, strict=True)]

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(lambdas, bias, "o-", label="bias")
axes.plot(lambdas, deviation, "s-", label="standard deviation")
axes.plot(lambdas, total, "--", color="0.3", label="both together (root mean square error)")
axes.set(xlabel="λ", ylabel="error of a single λ-return", ylim=(0, None))
axes.legend(frameon=False)
show(
    figure,
    "The larger λ is, the less bias there is, and the more noise.",
    "Three curves over λ from 0 to 1. The bias falls from 3 to nearly 0, the standard deviation "
    "rises from 2 to 5, and both together are least in between.",
)
print(f"The error of a single estimate is least at λ = {lambdas[torch.stack(total).argmin()]}.")

# %% [markdown]
# With $\lambda = 0$ the estimate is steadiest, and it leans on what the critic says; with
# $\lambda = 1$ it is right on average, and it varies most. In between, the error of a single estimate
# is least. The better the critic becomes, the less bias there is, and the smaller λ may be.
#
# Learning averages over many transitions. This reduces the deviation, but not the bias. So PPO does well
# with a larger λ than the one with the least error for a single estimate: 0.95 is usual.

# %% [markdown]
# # Advantages
#
# The policy asks a different question: was the action better than what the critic expected? This is the
# *advantage*. The estimate of Schulman et al. (2016), *generalised advantage estimation*, adds up
# TD errors that fade with their distance (equation 16 of the paper; 11 to 15 lead there):
#
# $$
# \hat{A}_t = \delta_t + \gamma\lambda\, \delta_{t+1} + (\gamma\lambda)^2 \delta_{t+2} + \dots
# $$
#
# Again a loop from the last row back does it, and the two masks have a place each:
#
# $$
# \begin{aligned}
# \delta_t &= r_{t+1} + \gamma \left(1 - \text{terminated}_{t+1}\right) V(s_{t+1}) - V(s_t) \\
# \hat{A}_t &= \delta_t + \gamma\lambda \left(1 - \text{done}_{t+1}\right) \hat{A}_{t+1}
# \end{aligned}
# $$
#
# What a row hands on to the row before it, $\gamma\lambda \hat{A}_{t+1}$, is called the *trace*: `done`
# cuts it.

# %% [markdown]
# ## Exercise: GAE
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `gae_by_hand`. Its arguments are those of `lambda_return` and one more: `value`,
# $V(s_t)$, after `reward`. All tensors are aligned on transitions, $[T, B]$, and so is the result.
# Number $t$ of `terminated` and `done` is about the step from row $t$ to row $t+1$: it is what the
# formulas call $\text{terminated}_{t+1}$ and $\text{done}_{t+1}$. Only the following advantage is
# number $t+1$.
#
# Useful: `~done` is true where `done` is false, and `~done * x` is 0 where `done` is true.
#
# <details>
# <summary>A hint</summary>
#
# The TD errors need no loop: one line gives all of them, $[T, B]$. Then a loop like that of
# `lambda_return`, in which `following`, $[B]$, is the advantage of the next row, before the loop 0.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gae-advantage", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gae_by_hand(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """The advantage of each transition; all tensors are [T, B]"""
    ### BEGIN SOLUTION
    delta = reward + discount_factor * next_value.masked_fill(terminated, 0) - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + discount_factor * gae_lambda * ~done[t] * following
        advantage[t] = following
    return advantage
    ### END SOLUTION


# %% [markdown]
# The same episodes as before, with their ends of all kinds:

# %% nbgrader={"grade": true, "grade_id": "gae-advantage-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_gae_by_hand(gae_by_hand)
### BEGIN HIDDEN TESTS
check_gae_by_hand(gae_by_hand, seed=1)
check_gae_by_hand(gae_by_hand, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Here are some steps, with the true values as the critic and a shorter time limit: on the left the cells,
# on the right the advantages. The number in a row belongs to the step that starts there (nan or empty:
# there is none). A step into the hole has an advantage of −4.5: it earns 1, and loses a cell that is
# worth 5.5. The steps before it can be even lower: each number also holds some of what came later,
# faded, up to the end of its episode and not beyond.

# %%
some = walk(n_rows=16, n_envs=8, seed=3, time_limit=10)
cell, reward, terminated, done = some["env/env_obs", "env/reward", "env/terminated", "env/done"]
value = true_value[cell]
masks = terminated[1:], done[1:]
advantage = gae_by_hand(reward[1:], value[:-1], value[1:], *masks, GAMMA, gae_lambda=0.8)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 6), layout="constrained")
workspace_grid(some, "env/env_obs", title="cell of the walker", axes=left)
of_transitions = advantage.where(~done[:-1], torch.nan)
workspace_grid(some, of_transitions, form="{:.1f}", title="advantage of the step", axes=right)
show(
    figure,
    "The same sixteen rows: where the walkers were, and the advantage of each step.",
    "Two tables of 16 rows and 8 environments. Advantages are low in the steps before a walker "
    "falls into the hole, and hatched steps between episodes have none.",
)

# %% [markdown]
# You have written the same thing twice, by the way: the λ-return is the advantage plus the value.
# So $\hat{A}_t + V(s_t)$ is what the critic learns from; it costs no second loop.

# %%
returns = lambda_return(reward[1:], value[1:], *masks, GAMMA, gae_lambda=0.8)
difference = (returns - (advantage + value[:-1]))[~done[:-1]]
print(f"The largest difference of the two: {difference.abs().max():.1e}")

# %% [markdown]
# From here on we use `gae` of the package, which does the same a little faster, and its
# `lambda_returns`, which takes advantages and values and adds them up.
#
# # A critic with something wrong
#
# Now a critic learns. It is a table with a number for each cell, 0 at first. From pieces of
# 32 steps of 16 walkers we compute targets, and make a step of gradient descent on the mean squared
# error; then comes the next piece. The policy stays as it is, so that we can collect all walks beforehand, a
# set for each seed.

# %%
LAMBDA, STEP_SIZE = 0.95, 2.0
N_STEPS, N_ENVS = 32, 16
N_PIECES = 20 if TESTING_MODE else 200
SEEDS = range(2 if TESTING_MODE else 8)


def learn(targets_of, walks):
    """A critic's values after each piece of the walks, [N_PIECES, 9]"""
    value, history = torch.zeros(9), []
    for start in range(0, N_PIECES * N_STEPS, N_STEPS):
        piece = walks.subtime(start, start + N_STEPS + 1)  # these rows of it
        piece.set_full("critic/v_values", value[piece["env/env_obs"]])
        cell, target = targets_of(piece, GAMMA, LAMBDA)
        error = target - value[cell]
        value = value + STEP_SIZE * torch.bincount(cell, error, minlength=9) / len(cell)
        history.append(value)
    return torch.stack(history)


walks_of_seeds = []
progress = Progress(len(SEEDS))
for seed in progress.rollouts():
    walks_of_seeds.append(walk(N_PIECES * N_STEPS + 1, N_ENVS, seed))
    progress.show(seed + 1, {"walks": f"of {seed + 1} seeds"})

# %% [markdown]
# The function that makes the targets was found in somebody's project. It looks right, and it runs.


# %%
def found_targets(workspace, discount_factor, gae_lambda):
    """The observations in which the transitions start, and the critic's targets for them"""
    observation, reward, value, done = workspace[
        "env/env_obs", "env/reward", "critic/v_values", "env/done"
    ]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=done[1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value[:-1])
    return observation[:-1].flatten(), target.flatten()


def learned(targets_of):
    """What a critic has learned with each seed: the mean of the second half, [seeds, 9]"""
    histories = [learn(targets_of, walks) for walks in walks_of_seeds]
    return torch.stack([history[N_PIECES // 2 :].mean(0) for history in histories])


values = learned(found_targets)[:, 1:]
low, high = bootstrap_interval(values.double().numpy())
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(cells, true_value[1:], "o-", color="0.3", label="true value")
axes.plot(cells, values.mean(0), "s-", color="#D55E00", label="what the critic has learned")
axes.fill_between(cells, low, high, color="#D55E00", alpha=0.3, linewidth=0)
axes.set(xlabel="cell", ylabel="value", xticks=cells, ylim=(0, 20))
axes.legend(frameon=False)
show(
    figure,
    "What the critic learns from somebody's targets: too little, everywhere but at the hole.",
    "Two curves over the cells. The true values rise with the distance from the hole; those that "
    "were learned rise less, and fall again in the last cells.",
)
off = (values.mean(0) - true_value[1:]).abs().max()
print(f"{len(SEEDS)} seeds, all equally bad: up to {off:.1f} off.")

# %% [markdown]
# The further a cell is from the hole, the more of its value the critic misses; it even rates the last
# cells lower than those before them. More data would not help.

# %% [markdown]
# ## Exercise: fix the critic's targets
#
# *Difficulty: ●●● · about 20 minutes · useful*
#
# In `found_targets` two things are wrong. Write `critic_targets`, the right version: copy the function, find
# the two mistakes, and fix them. The function gets
#
# - `workspace`, with `env/env_obs`, `env/reward`, `env/terminated`, `env/truncated`, `env/done`
#   and `critic/v_values`, $[T, B]$ each. Row 0 may be the last row of an episode, too;
# - `discount_factor` and `gae_lambda`.
#
# It returns two tensors: the observations in which the $N$ transitions start, and their targets
# (λ-returns), $[N]$ each, in any order. `gae` goes back through the rows of each environment, so it
# wants whole columns, $[T - 1, B]$: do not call `get_transitions()` before it.
#
# <details>
# <summary>A hint</summary>
#
# Compare the call of `gae` with the two masks of its formula. And count: does each of the
# $(T - 1) \cdot B$ steps that are returned belong to an episode?
#
# </details>
#
# <details>
# <summary>Another hint</summary>
#
# `x[mask]` takes the numbers of `x` where `mask` is true, in one row. A step that is no transition
# *starts* in a row that is `done`. It has to be left out at the end, not at the beginning: the step
# before needs the value of its row.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gae-mend", "locked": false, "schema_version": 3, "solution": true, "task": false}
def critic_targets(workspace, discount_factor, gae_lambda):
    """The observations in which the transitions start, [N], and the critic's targets, [N]"""
    ### BEGIN SOLUTION
    observation, reward, value, terminated, done = workspace[
        "env/env_obs", "env/reward", "critic/v_values", "env/terminated", "env/done"
    ]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=terminated[1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value[:-1])
    is_transition = ~done[:-1]
    return observation[:-1][is_transition], target[is_transition]
    ### END SOLUTION


# %% [markdown]
# The check says which mistakes are left, and whether you have made a new one.

# %% nbgrader={"grade": true, "grade_id": "gae-mend-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check_critic_targets(critic_targets)
### BEGIN HIDDEN TESTS
check_critic_targets(critic_targets, seed=1)
check_critic_targets(critic_targets, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # What each mistake does
#
# Four mistakes are made again and again, even in published code. Each leaves an error of its own in
# the critic. We let five critics learn from the same walks: yours, and one for each mistake.
#
# - **Truncated = terminated.** The next value counts as 0 wherever an episode ends.
# - **The trace is not cut** at a truncation: `terminated` stands where `done` belongs.
# - **Next value of the reset.** After a truncation the critic is asked about the first row of the
#   next episode, not about the last of this one. It happens where the last rows are thrown away, or
#   where the environment returns the first observation of the next episode in their place.
# - **The reset as a transition.** The step from an episode to the next is learned from.


# %%
def wrong_targets(mistake):
    """critic_targets with one mistake"""

    def targets_of(workspace, discount_factor, gae_lambda):
        observation, reward, value, terminated, done = workspace[
            "env/env_obs", "env/reward", "critic/v_values", "env/terminated", "env/done"
        ]
        next_value, stops, cuts, kept = value[1:], terminated[1:], done[1:], ~done[:-1]
        if mistake == "truncated = terminated":
            stops = done[1:]
        elif mistake == "trace not cut":
            cuts = terminated[1:]
        elif mistake == "next value of the reset":
            next_value = torch.where(done[1:], torch.cat((value[2:], value[-1:])), value[1:])
        elif mistake == "reset as a transition":
            kept = torch.ones_like(kept)
        advantage = gae(
            reward=reward[1:],
            value=value[:-1],
            next_value=next_value,
            terminated=stops,
            done=cuts,
            discount_factor=discount_factor,
            gae_lambda=gae_lambda,
        )
        target = lambda_returns(advantage=advantage, value=value[:-1])
        return observation[:-1][kept], target[kept]

    return targets_of


MISTAKES = (
    "truncated = terminated",
    "trace not cut",
    "next value of the reset",
    "reset as a transition",
)
functions = {"yours": critic_targets} | {name: wrong_targets(name) for name in MISTAKES}
histories = {}
progress = Progress(len(functions))
for k, (name, targets_of) in enumerate(functions.items(), start=1):
    histories[name] = torch.stack([learn(targets_of, walks) for walks in walks_of_seeds])
    progress.show(k, {"learned": name})

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.axhline(0, color="0.7", lw=0.8)
for (name, history), style in zip(histories.items(), ("o-", "s-", "v-", "^--", "D-"), strict=True):
    error = (history - true_value)[..., 1:]  # [seeds, pieces, cells]
    final = error[:, N_PIECES // 2 :].mean(1)
    distance = error.square().mean(-1).sqrt()
    (line,) = left.plot(cells, final.mean(0), style, ms=5, label=name)
    left.fill_between(
        cells, *bootstrap_interval(final.double().numpy()), color=line.get_color(), alpha=0.3, lw=0
    )
    right.plot(range(1, N_PIECES + 1), distance.mean(0), style[1:], color=line.get_color())
    right.fill_between(
        range(1, N_PIECES + 1),
        *bootstrap_interval(distance.double().numpy()),
        color=line.get_color(),
        alpha=0.3,
        lw=0,
    )
    print(f"{name:<24} root mean square error {final.square().mean().sqrt():5.2f}")
left.set(xlabel="cell", ylabel="learned value − true value", xticks=cells)
right.set(xlabel="updates", ylabel="root mean square error over the cells", ylim=(0, None))
figure.suptitle(f"Mean and 95 % interval over {len(SEEDS)} seeds")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
show(
    figure,
    "What each mistake does to the values, and how fast it does it.",
    "On the left, the error in each cell: yours is at 0, each mistake is below it, the most far "
    "from the hole. On the right, the error over the updates: yours falls to nearly 0, the "
    "others stay above it.",
)

# %% [markdown]
# - **Truncated = terminated** is the worst. Where the time limit strikes most often, far from the
#   hole, the critic is told that the world ends there.
# - **Trace not cut** and **next value of the reset** look alike, and for the same reason: both put a
#   cell near the start in the place of the cell where the time was up. They are not the same (see
#   the questions).
# - **The reset as a transition** is the mildest here, as few steps are resets: they teach the last
#   cell of a walk that it is worth γ times a start, and no reward.
#
# Nothing crashes, and no curve is jagged. A policy that learns from them still learns
# something. That is why such mistakes survive for so long, and why it pays to test your code on a problem
# whose answer you know.

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** $V(s_t) = 10$, $r_{t+1} = 1$, $V(s_{t+1}) = 10$, $\gamma = 0.9$, and in row $t+1$
# the episode is truncated. What is the TD error?
#
# - (a) $-9$
# - (b) $0$
# - (c) $1$
# - (d) $-10$

# %%
quiz("02", 1, "?")

# %% [markdown]
# **Question 2.** With $\lambda = 0$, one of these mistakes does no harm at all. Which?
#
# - (a) truncated = terminated
# - (b) the next value of the reset
# - (c) the trace that is not cut

# %%
quiz("02", 2, "?")

# %% [markdown]
# **Question 3.** The critic says exactly the true values. Which of the two does λ then change, the mean or
# the spread of the estimated returns of a cell?
#
# - (a) both
# - (b) only the mean
# - (c) only the spread
# - (d) neither

# %%
quiz("02", 3, "?")

# %% [markdown]
# **Question 4.** Somebody forgets the mask `terminated` in the targets: what the critic says of the
# hole is added. What will our table, which begins with 0 in each cell, learn?
#
# - (a) values that are too high, most of all near the hole
# - (b) the true values
# - (c) values that are too low everywhere

# %%
quiz("02", 4, "?")

# %% [markdown]
# **Question 5.** In a piece of 10 steps, $t = 0$ to 9, the step $t = 4$ ends an episode by
# truncation. On how many rewards does the advantage $\hat{A}_1$ depend, with $\lambda = 0.95$?
#
# - (a) 1
# - (b) 3
# - (c) 4
# - (d) 9

# %%
quiz("02", 5, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcab"`.


# %% nbgrader={"grade": false, "grade_id": "gae-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "bccbc"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gae-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_02(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_02(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Two open tasks without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **A critic that knows nothing.** It says 0 everywhere, and every step of an endless episode earns 1. What
#   are the λ-returns? First on paper, then with `lambda_return` on 500 rows. Expected:
#   $1 / (1 - \gamma\lambda)$, which is the truth, $1 / (1 - \gamma)$, only for $\lambda = 1$.
# - **How far does a reward travel?** A single reward of 1 at the end of 50 steps, values 0. Draw the advantages for $\lambda$ = 0, 0.9
#   and 1. Expected: they shrink by $\gamma\lambda$ with each step back, so that with 0 only the last one is not 0.

# %% [markdown] nbgrader={"grade": true, "grade_id": "gae-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

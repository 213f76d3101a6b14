# %% [markdown]
# # The workspace and its agents
#
# All our programs have the same shape. There is a table, the *workspace*, and there are *agents*
# that sit around it: the environment; the *policy*, which chooses actions; the *critic*, which says
# how good a state is. Each of them reads what it needs from the table, and writes what it has to say
# into it. Nothing else passes between them.
#
# This is the design of [BBRL](https://github.com/osigaud/bbrl). Once you can read such a table, an
# algorithm like PPO is a few operations on its columns. And most of the silent bugs in the field are
# tables that were misread by one row: here we learn to see them.
#
# [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [02 ▶](02_value_and_gae.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - write an agent, and let it run in several environments at once;
# - say what is in each row of a workspace, and when it was written;
# - tell a terminated from a truncated episode, and name the step that is not a transition;
# - leave this step out, as every algorithm of this course has to.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | An agent that balances a pole | ●○○ | 10 | essential |
# | What is in the workspace? | ●●○ | 20 | essential |
# | The step that is not a transition | ●○○ | 10 | essential |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading it takes about 75 minutes. You should know some Python and
# [tensors of torch](https://pytorch.org/docs/stable/tensors.html), and what an observation, an action
# and a reward are. No other notebook is needed.

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
import sys

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from ppo_bbrl import Agent, Agents, EpisodicAlgo, TemporalAgent, Workspace, iter_partial_episodes
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.plots import bootstrap_interval, workspace_grid
from ppo_course import (
    check_pole_agent,
    check_predict_rows,
    check_quiz_01,
    check_transition_mask,
    quiz,
)
from ppo_course.pictures import show

# The tensors below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the experiments are shorter. It is meant for
# automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The workspace
#
# A workspace holds *variables* under names. A variable is a tensor `[T, B, …]`: $T$ rows of time, $B$
# environments side by side, and whatever one entry consists of. `set` writes one row, `get` reads
# one; square brackets read all rows at once.

# %%
workspace = Workspace()
for t in range(3):
    workspace.set("temperature", t, torch.tensor([20.0 + t, 15.0 - t]))  # [B], with B = 2

print("row 1:", workspace.get("temperature", 1))
print("all rows:", workspace["temperature"].shape)
workspace["temperature"]

# %% [markdown]
# All rows of a variable have the same shape and type; the workspace refuses anything else. And what
# you have read is yours: it does not change when the workspace does, nor the other way round.
#
# # Agents
#
# An agent is a class with a method `forward(t)`. It is called for one row, reads variables with
# `self.get((name, t))`, and writes with `self.set((name, t), value)`. Mind the double brackets: an
# agent gives name and row as one pair, unlike the workspace above. What it returns is ignored.
#
# This one acts as planned, whatever happens. `**kwargs` takes arguments that are meant for others:
# all agents are called with the same ones.


# %% tags=["definitions"]
class Plan(Agent):
    """Takes the actions of a plan, [T, B], whatever it sees"""

    def __init__(self, actions):
        super().__init__()
        self.actions = torch.as_tensor(actions)

    def forward(self, t, **kwargs):
        self.set(("action", t), self.actions[t])


# %% [markdown]
# An agent is called with the workspace that it is to work on, and with `t`. One call, one row:

# %%
workspace = Workspace()
plan = Plan([[0, 1], [1, 1], [0, 0]])
plan(workspace, t=0)
plan(workspace, t=1)
workspace["action"]

# %% [markdown]
# ## Exercise: an agent that balances a pole
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# In [CartPole](https://gymnasium.farama.org/environments/classic_control/cart_pole/) a pole stands on
# a cart, and the cart is pushed to the left (action 0) or to the right (action 1). The observation
# has four numbers: position and velocity of the cart, angle and angular velocity of the pole. All
# four are positive to the right.
#
# No learning is needed to balance it. Push to the side to which the pole is *about to* lean:
#
# $$
# a_t = \begin{cases} 1 & \text{if } \theta_t + k\, \dot\theta_t > 0 \\ 0 & \text{otherwise,} \end{cases}
# $$
#
# where $\theta_t$ is the angle, $\dot\theta_t$ the angular velocity, and $k$ the *gain*. Write the
# method `forward` of `PoleAgent`. It
#
# - reads `env/env_obs` in row $t$: a tensor `[B, 4]`, one line for each environment;
# - writes `action` into row $t$: a tensor `[B]` of integers (`torch.int64`), 0 or 1 for each
#   environment. The gain is `self.gain`.
#
# Useful: `obs[:, 2]` is column 2 of all environments, `[B]`; a comparison gives a Boolean tensor, and
# [.long()](https://pytorch.org/docs/stable/generated/torch.Tensor.long.html) turns it into integers.
#
# <details>
# <summary>A hint</summary>
#
# Three lines: read the observation; compare angle plus gain times angular velocity (columns 2 and 3)
# with 0, for all environments at once; write the result as integers. There is no loop over the
# environments, and no `if`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "workspace-pole-agent", "locked": false, "schema_version": 3, "solution": true, "task": false}
class PoleAgent(Agent):
    """Pushes the cart to the side to which the pole is about to lean"""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, t, **kwargs):
        # Read row t of env/env_obs, [B, 4]; write row t of action, [B]
        ### BEGIN SOLUTION
        observation = self.get(("env/env_obs", t))
        falls_to_the_right = observation[:, 2] + self.gain * observation[:, 3] > 0
        self.set(("action", t), falls_to_the_right.long())
        ### END SOLUTION


# %% [markdown]
# The next cell lets your agent act on a few observations. If something is wrong, it says what it
# saw, what it expected, and where to look.

# %% nbgrader={"grade": true, "grade_id": "workspace-pole-agent-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_pole_agent(PoleAgent)
### BEGIN HIDDEN TESTS
check_pole_agent(PoleAgent, seed=1)
check_pole_agent(PoleAgent, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The environment is an agent, too
#
# `EnvAgent` holds $B$ environments. At $t = 0$ it resets them; at $t > 0$ it reads the actions of row
# $t-1$, takes a step in each environment, and writes what came out into row $t$.
#
# `Agents(a, b)` calls agents one after the other. `TemporalAgent(agent)` calls an agent for row after
# row, as many as its `n_steps` says. Together they are the loop of reinforcement learning: the
# environment writes row $t$, your agent answers in row $t$, and so on.

# %%
env = EnvAgent("CartPole-v1", n_envs=4).seed(1)
agent = TemporalAgent(Agents(env, PoleAgent(gain=0.0)))

workspace = Workspace()
agent(workspace, t=0, n_steps=60)
for name in workspace.variables:
    variable = workspace[name]
    print(f"{name:22} {list(variable.shape)!s:12} {variable.dtype}")

# %% [markdown]
# Each variable has one writer: the environment writes all of `env/…`, your agent writes `action`. The
# `timestep` counts the steps of an episode, and `cumulated_reward` adds up its rewards; the three that
# say how it ends come below. The next picture shows the table. Time runs downwards, and each column is
# an environment. Episodes are alternately grey and white, and the colours mark the rows in which one ends.
# (We come to the hatching below, too.)

# %%
show(
    workspace_grid(workspace),
    "A workspace: time runs downwards, each column is an environment.",
    "A grid of rows and four columns. Coloured borders mark the rows in which an episode ends; below "
    "each of them is a hatched step, and the next episode has the other shade.",
)

# %% [markdown]
# With gain 0 the agent looks at the angle alone: it reacts too late each time, and the pole swings
# further and further. A little foresight is enough to keep it up: here is the same with a gain of ½.

# %%
agent = TemporalAgent(Agents(env, PoleAgent(gain=0.5)))
workspace = Workspace()
agent(workspace, t=0, n_steps=60)
print("episodes that ended:", int(workspace["env/done"].sum()))
largest = workspace["env/env_obs"][..., 2].abs().max()
print(f"largest angle: {largest:.3f} rad (an episode ends at 0.209)")

# %% [markdown]
# # What stands in a row
#
# Now we need to be exact. Row $t$ holds
#
# - the observation $s_t$ and the action $a_t$ taken in it;
# - the reward $r_t$ that came *with* $s_t$. It was earned by $a_{t-1}$, the action of the row before.
#
# Sutton and Barto count in the same way (*Reinforcement Learning: An Introduction*, second edition,
# section 3.1). A *transition* takes two rows:
#
# $$
# (s_t, a_t, r_{t+1}, s_{t+1}).
# $$
#
# To see it in numbers we take an environment in which nothing is random: a staircase. Action 1 climbs
# to the next level and earns as much as the level that is reached; action 0 stays and earns nothing.
# The episode is *terminated* at the top, and *truncated* when its time is up.
#
# Its two methods are those that Gymnasium asks of
# [every environment](https://gymnasium.farama.org/api/env/): `reset` returns an observation and a
# dictionary for further information, which is empty here; `step` returns observation, reward,
# terminated, truncated and such a dictionary.


# %% tags=["definitions"]
class Stairs(gym.Env):
    observation_space = gym.spaces.Box(0, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, height=3, time_limit=5):
        self.height, self.time_limit = height, time_limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = self.timestep = 0
        return np.array([self.level], np.float32), {}

    def step(self, action):
        self.level += int(action)
        self.timestep += 1
        reward = float(self.level) if action == 1 else 0.0
        terminated = self.level == self.height
        truncated = self.timestep == self.time_limit
        return np.array([self.level], np.float32), reward, terminated, truncated, {}


if "Stairs-v0" not in gym.registry:
    gym.register("Stairs-v0", entry_point=Stairs)

# %% [markdown]
# Two environments, four rows. The left one climbs at once, the right one waits a step. Compare the
# rewards with the actions: a reward stands one row below the action that earned it.

# %%
plan = Plan([[1, 0], [1, 1], [1, 1], [0, 0]])
workspace = Workspace()
TemporalAgent(Agents(EnvAgent("Stairs-v0", n_envs=2), plan))(workspace, t=0, n_steps=4)

figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for name, panel in zip(("env/env_obs", "action", "env/reward"), axes, strict=True):
    numbers = workspace[name].reshape(4, 2)  # an observation is [4, 2, 1]: one number each
    workspace_grid(workspace, numbers, title=name, axes=panel)
show(
    figure,
    "Two staircases in four rows: what they show, what was done, what it earned.",
    "Three tables of four rows and two environments. The left one is on level 0, 1, 2, 3 and "
    "earns 1, 2, 3, each one row below its action; the right one waits a row, and earns 1 and 2.",
)

# %% [markdown]
# # When an episode ends
#
# A vector of environments cannot wait for the last of its episodes to end. So each environment begins
# anew by itself, in the *following* row:
#
# - The last observation of an episode has its own row. `terminated` or `truncated` is set there, and
#   the last reward is there. `done` means one or the other, and both can be true at once.
# - Your agent writes an action into this row, too, as it does everywhere. Nobody executes it.
# - The next row is the first one of the new episode: the observation after the reset, reward 0,
#   timestep 0.
#
# [Gymnasium](https://gymnasium.farama.org/api/vector/) calls this the *next-step* autoreset.

# %% [markdown]
# ## Exercise: what is in the workspace?
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Take a pencil first. A staircase of height 3 with time limit 5 gets the actions
#
# | row $t$ | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 |
# |---|---|---|---|---|---|---|---|---|---|---|---|---|
# | action | 1 | 0 | 1 | 1 | 1 | 0 | 1 | 0 | 0 | 0 | 1 | 1 |
#
# Which level and which reward stand in each row? In which rows does an episode end, and how?
#
# Then let the computer do the same. Write the inner part of `predict_rows`: what is in row $t$,
# from what was in row $t-1$ and from the action there. It gets
#
# - `actions`, a list of $T$ integers, 0 or 1: `actions[t]` is the action in row $t$;
# - `height` and `time_limit` of the staircase, integers.
#
# It returns a list of $T$ rows `(level, reward, terminated, truncated, timestep)`. Row 0 is there
# already, and your lines change the five variables from one row to the next.
#
# <details>
# <summary>A hint</summary>
#
# There are two cases. Either the row before has ended an episode (`terminated or truncated`, which
# still have their values of row $t-1$): then all five are as in row 0. Or it has not: then the step
# of the class `Stairs` is taken, with `actions[t - 1]`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "workspace-predict-rows", "locked": false, "schema_version": 3, "solution": true, "task": false}
def predict_rows(actions, height, time_limit):
    """
    What a staircase writes into the workspace, with autoreset:
    a list of rows (level, reward, terminated, truncated, timestep), one for each action
    """
    level, reward, terminated, truncated, timestep = 0, 0.0, False, False, 0
    rows = []
    for t in range(len(actions)):
        if t > 0:
            # Change the five variables from what they are in row t-1 to what they are in row t
            ### BEGIN SOLUTION
            if terminated or truncated:
                level, reward, terminated, truncated, timestep = 0, 0.0, False, False, 0
            else:
                level += actions[t - 1]
                reward = float(level) if actions[t - 1] == 1 else 0.0
                timestep += 1
                terminated = level == height
                truncated = timestep == time_limit
            ### END SOLUTION
        rows.append((level, reward, terminated, truncated, timestep))
    return rows


# %% [markdown]
# The next cell compares your rows with those of real workspaces, on several plans.

# %% nbgrader={"grade": true, "grade_id": "workspace-predict-rows-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_predict_rows(predict_rows)
### BEGIN HIDDEN TESTS
check_predict_rows(predict_rows, seed=1)
check_predict_rows(predict_rows, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# And this is what a real workspace has to say about the table above. Was your pencil right?

# %%
actions = [1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1]
workspace = Workspace()
stairs = TemporalAgent(Agents(EnvAgent("Stairs-v0", n_envs=1), Plan([[a] for a in actions])))
stairs(workspace, t=0, n_steps=len(actions))

figure, axes = plt.subplots(1, 4, figsize=(10, 6), layout="constrained")
for name, panel in zip(("env/env_obs", "action", "env/reward", "env/timestep"), axes, strict=True):
    workspace_grid(workspace, workspace[name].reshape(-1, 1), title=name, axes=panel)
show(
    figure,
    "The twelve rows of one staircase. A hatched step is none: a new episode begins below it.",
    "Four tables of twelve rows: level, action, reward and timestep. In row 4 an episode is "
    "terminated at level 3, in row 10 the next one is truncated at level 1. In rows 5 and 11 all "
    "but the action is 0.",
)

# %% [markdown]
# # The step that is not a transition
#
# Look at the hatched step after an end. Above it stands the last observation of an episode, below it
# the first observation of the next one. No action led from one to the other, and the reward below was
# not earned. So these two rows are *no transition*, though they stand one below the other.
#
# If you treat them as one, you teach the critic that a fresh start comes after the end of an episode,
# and the policy that its action there had a consequence. Nothing crashes; it just learns worse.
#
# A workspace with $T$ rows has $T-1$ steps from a row to the next, in each environment. We need a *mask*
# that says which of these steps are transitions.

# %% [markdown]
# ## Exercise: the step that is not a transition
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `transition_mask`. It gets `done`, a bool tensor `[T, B]` as in `workspace["env/done"]`: True in
# the last row of an episode. It returns a bool tensor `[T-1, B]`: entry $[t, b]$ is True if the step
# from row $t$ to row $t+1$ of environment $b$ is a transition.
#
# Useful: `x[:-1]` leaves out the last row of a tensor, `x[1:]` the first one; `~x` inverts a bool tensor, so
# that True becomes False and False becomes True.
#
# <details>
# <summary>A hint</summary>
#
# Of the two steps around a `done` row, which one did an action lead to, and which one is the reset?
# Look at the picture above. The reset is the step that *begins* in the `done` row.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "workspace-transition-mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def transition_mask(done):
    """Which steps are transitions: from done [T, B] to a bool tensor [T-1, B]"""
    ### BEGIN SOLUTION
    return ~done[:-1]
    ### END SOLUTION


# %% [markdown]
# The next cell tries your mask on a few tables.

# %% nbgrader={"grade": true, "grade_id": "workspace-transition-mask-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_transition_mask(transition_mask)
### BEGIN HIDDEN TESTS
check_transition_mask(transition_mask, seed=1)
check_transition_mask(transition_mask, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Let us use it. The agent with gain 0 drops the pole again and again, and we look at how far the
# angle moves in each step. Physics allows a few hundredths of a radian; the resets do not care.

# %%
n_rows, n_envs = 200, 8
env = EnvAgent("CartPole-v1", n_envs).seed(2)
workspace = Workspace(capacity=n_rows)
TemporalAgent(Agents(env, PoleAgent(gain=0.0)))(workspace, t=0, n_steps=n_rows)

mask = transition_mask(workspace["env/done"])
angle = workspace["env/env_obs"][..., 2]
moved = angle[1:] - angle[:-1]  # [T-1, B]

figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.linspace(-0.3, 0.3, 61)
axes.hist(moved[mask], bins, color="#0072B2", label=f"{int(mask.sum())} transitions")
axes.hist(moved[~mask], bins, color="#D55E00", label=f"{int((~mask).sum())} steps that are none")
axes.set(xlabel="change of the angle in one step (rad)", ylabel="steps", yscale="log")
axes.legend(frameon=False)
show(
    figure,
    "The angle moves little in a transition, and any distance in a step that is none.",
    "Histogram with a logarithmic axis. The changes in transitions are a narrow peak around 0; "
    "those of the other steps are spread out, up to a quarter of a radian on both sides.",
)
print(f"Mean reward, all steps: {workspace['env/reward'][1:].mean():.3f}")
print(f"Mean reward, transitions: {workspace['env/reward'][1:][mask].mean():.3f}")

# %% [markdown]
# In CartPole each transition earns exactly 1: the mean over all steps is wrong, and it is wrong by
# more for worse agents, whose episodes are shorter.
#
# The workspace has the same mask built in. `get_transitions()` puts the transitions side by side:
# `[2, N, …]`, with row $t$ at index 0 and row $t+1$ at index 1. The later notebooks use it.

# %%
transitions = workspace.get_transitions()
print("transitions:", transitions.batch_size(), "and by your mask:", int(mask.sum()))
print("observations:", transitions["env/env_obs"].shape)

# %% [markdown]
# # From one workspace to the next
#
# To learn, we collect for a while, learn, and go on collecting where we stopped. `EpisodicAlgo` does
# this: it makes the environments from a configuration, and `iter_partial_episodes(algo, n_rows)` yields
# a workspace of so many rows, again and again. Its first row is the last row of the workspace before,
# so that no transition is lost between the two. $n$ transitions take $n+1$ rows; the `n_steps` of a
# configuration counts transitions.

# %%
params = {
    # The folder of this run, below outputs/: ${…} puts in another key, or the time.
    "base_dir": "${gym_env.env_name}/pole-agent_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "seed": 3,
        "n_envs": 3,
        "n_steps": 8,  # transitions of a workspace, in each environment
        "max_epochs": 2,  # how many workspaces
        "eval_interval": 1000,  # steps from one evaluation to the next
        "nb_evals": 20,  # episodes of an evaluation
    },
}
# With autoreset a new episode begins where one has ended, as above.
algo = EpisodicAlgo(OmegaConf.create(params), autoreset=True)
algo.train_policy = PoleAgent(gain=0.5)

figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for number, workspace in enumerate(iter_partial_episodes(algo, 9)):
    workspace_grid(workspace, "env/timestep", title=f"workspace {number}", axes=axes[number])
show(
    figure,
    "The last row of one workspace is the first row of the next.",
    "Two tables of nine rows and three environments with the timestep of each. Every column goes "
    "on where the column of the workspace before stopped.",
)

# %% [markdown]
# # An experiment: how much foresight?
#
# `algo.evaluate_policy(policy, n)` plays $n$ episodes and reports their returns. We compare gains. The
# band is a 95 % interval of the mean, from the 20 episodes of each gain (by resampling them, the
# [bootstrap](https://en.wikipedia.org/wiki/Bootstrapping_(statistics))).

# %%
gains = [0.0, 0.01, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0] if not TESTING_MODE else [0.0, 0.5]
returns = [
    algo.evaluate_policy(PoleAgent(gain), 20).returns.numpy()
    for gain in tqdm(gains, file=sys.stdout, desc="gains")
]

low, high = bootstrap_interval(np.stack(returns, axis=1))
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
names = [f"{gain:g}" for gain in gains]
axes.plot(names, [episodes.mean() for episodes in returns], "o-", color="#0072B2")
axes.fill_between(names, low, high, color="#0072B2", alpha=0.2, linewidth=0)
axes.set(xlabel="gain", ylabel="return of an episode", ylim=(0, 520))
show(
    figure,
    "The return for each gain: mean of 20 episodes, with a 95 % interval.",
    "A curve over gains from 0 to 4. It begins at about 40, rises to 500 for gains in the "
    "middle, and falls again for the largest.",
)

# %% [markdown]
# Without foresight the pole falls after some 40 steps on average. With too much of it the pole stands,
# but the cart drifts off the track. In between the agent reaches 500, the most that is possible. Finding
# such numbers by itself, thousands of them, is what an agent learns in the next notebooks.
#
# Here is an episode of your agent. `evaluate` remembers the best policy so far, and `visualize_best`
# plays it:

# %%
algo.evaluate(force=True)
print(f"Mean return: {algo.best_reward:.1f}")
algo.visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** A staircase agent writes action 1 into row 6 and climbs. Where is the reward for it?
#
# - (a) In row 6, beside the action
# - (b) In row 7, beside the observation that it led to
# - (c) In row 6 of the next workspace

# %%
quiz("01", 1, "?")

# %% [markdown]
# **Question 2.** A workspace has 33 rows and 8 environments. `done` is True in five entries, two of
# them in the last row. How many transitions are in it?
#
# - (a) 251
# - (b) 253
# - (c) 256
# - (d) 259

# %%
quiz("01", 2, "?")

# %% [markdown]
# **Question 3.** An episode ends in row 9. What becomes of the action that the agent writes into row 9?
#
# - (a) It is executed in the final state
# - (b) It is the first action of the new episode
# - (c) Nobody executes it

# %%
quiz("01", 3, "?")

# %% [markdown]
# **Question 4.** In an environment every transition earns 1, and every episode lasts 4 transitions.
# Somebody takes the mean of `workspace["env/reward"]` over a long workspace. What comes out?
#
# - (a) 1
# - (b) 0.8
# - (c) 0.75
# - (d) 0.67

# %%
quiz("01", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abca"`.


# %% nbgrader={"grade": false, "grade_id": "workspace-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "bbcb"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "workspace-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_01(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_01(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Two open tasks without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **How much foresight?** Let `PoleAgent` play with gains from 0 to 5, twenty episodes of at most 500 steps
#   each. Expected: with 0
#   the pole falls after some 40 steps, from 0.05 to 0.5 it stays up to the end, and with 5 it falls after some 240: too much
#   foresight forgets the angle.
# - **A look at another table**: the rows of `FrozenLake-v1` under a random plan. Expected: a reward of 1 stands in a row that is
#   `terminated`, and nowhere else.

# %% [markdown] nbgrader={"grade": true, "grade_id": "workspace-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

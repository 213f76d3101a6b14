# %% [markdown]
# # Start here
#
# This course teaches PPO by writing it. You fill in the parts that matter, a check says what is wrong with
# them, and the agents you train are your own. This page has the map, how checks work, where you are, a cheat
# sheet and a glossary. Keep it open in a second tab.
#
# [01 ▶](01_workspace.ipynb)

# %% [markdown]
# # The map
#
# | Notebook | You write | Minutes | Needs | If you are short of time |
# |---|---|---|---|---|
# | [01 The workspace](01_workspace.ipynb) | agents, rows, transitions | 75 | Python, a little torch | do all of it |
# | [02 Values and GAE](02_value_and_gae.ipynb) | TD errors, λ-returns, GAE | 100 | 01 | skip *critic targets* |
# | [02b The policy gradient](02b_policy_gradient.ipynb) | scores, baselines, weights, bounds | 110 | 02 | skip *the best baseline* and the trust region |
# | [03 PPO](03_ppo_clip.ipynb) | both objectives, one iteration | 120 | 01, 02 | skip nothing up to the loop |
# | [04 Details](04_ppo_details.ipynb) | minibatches, stopping, statistics | 100 | 03 | the second half needs patience: read it |
# | [05 Continuous actions](05_continuous_actions.ipynb) | a Gaussian policy | 100 | 03 | skip unless you need it |
# | [06 Other spaces](06_other_spaces.ipynb) | masks, several choices at once | 95 | 03 | skip unless you need it |
# | [07 Memory](07_memory.ipynb) | recurrent policies | 90 | 03 | skip unless you need it |
# | [08 A shared trunk](08_shared_trunk_ppo2.ipynb) | PPO2's joint loss and train step | 85 | 03 | skip |
# | [09 Lightning](09_lightning.ipynb) | PPO as a LightningModule | 90 | 03; the extra `lightning` | skip |
# | [10 The bug hunt](10_bug_hunt.ipynb) | instruments, and the culprit | 150 | 02, 03 | stop after the third instrument |
# | [11 Write PPO](11_write_ppo.ipynb) | all of it | 90 | 01 to 04 | the two steps marked *useful* |
# | [12 A language model](12_language_model.ipynb) | PPO and GRPO for texts | 140 | 02, 03 | stop before GRPO |
#
# **All of it** takes 24.5 hours. **To understand PPO**: 01, 02, 03, 10 (8 hours), with 02b if you want to
# know why (10 hours). **To be able to write it**: 01 to
# 04, then 11 (9 hours). **For language models**: 01, 02, 03, 12 (7 hours). 05 to 09 do not depend on one another.

# %% [markdown]
# # How checks work
#
# - An exercise is a cell with a function or class to fill in; the cell below it is its check. Run both.
# - A check that fails says what is wrong, shows an example with what it saw and what it expected, and says
#   where to look. One that passes says "Well done!".
# - Try as often as you like; any correct solution passes.
# - When you are stuck, open the hints; the answer is folded away below the check. In a graded course there are no
#   answers, and further, hidden numbers are tried.
# - **May I use the package's functions?** You may, except for the one that the exercise asks you to write: handing
#   it in is not accepted as your own. What you call inside your own lines is visible to whoever marks it.
#   Notebook 11 is strict: the package's `gae` or losses are refused wherever they are used.
# - Cells that only draw a picture are folded in JupyterLab: click on the three dots to see how it is made.
# - Later exercises are checked on their own: while a check runs in 03, 11 or 12, correct earlier parts stand in for
#   yours.

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
from ppo_course import show_progress

# %% [markdown]
# # Where you are
#
# This cell shows which checks have passed in the notebooks of this folder, even after a restart: they are
# recorded in
# `outputs/course_progress.json`. Delete that file to start afresh. Filled dots are checks that passed.

# %%
show_progress()

# %% [markdown]
# # Cheat sheet
#
# **Shapes.** $T$ rows (time), $B$ environments side by side: variables of a workspace are $[T, B]$ or $[T, B, \dots]$. A
# minibatch has $N$ transitions, in a single row: $[1, N]$.
#
# | You want | You write | You get |
# |---|---|---|
# | a whole variable | `workspace["env/reward"]`, `workspace.get_full("env/reward")` | $[T, B]$ |
# | several at once | `workspace["env/reward", "env/done"]` | a tuple |
# | one row | `workspace.get("action", t)` | $[B]$ |
# | in an agent: read, write row $t$ | `self.get(("action", t))`, `self.set(("action", t), value)` | $[B]$ |
# | write a row, a whole variable | `workspace.set(name, t, value)`, `workspace.set_full(name, value)` | |
# | some rows, as a workspace | `workspace.subtime(0, 5)` | rows 0 to 4 |
# | transitions side by side | `workspace.get_transitions()` | two rows $[2, N]$, without resets |
# | some transitions | `transitions.select_batch(index)` | $[1, M]$ after `subtime(0, 1)` |
# | run an agent on row 0, on many rows | `agent(workspace, t=0)`, `TemporalAgent(agent)(workspace, t=0, n_steps=T)` | |
#
# **Rows.** Row $t$ holds $s_t$, the action $a_t$ taken in it, and the reward that came *with* $s_t$: the reward of $a_t$
# is in row $t + 1$. So, for the $T - 1$ steps: `value[:-1]`, `reward[1:]`, `value[1:]`, `terminated[1:]`, `done[1:]`. No
# transition starts in a row that is `done`.
#
# **Masks.** `terminated`: nothing comes after, the next value counts as 0. `truncated`: the time was up, the next value
# counts. `done` is either of them, and cuts the sum of later errors.
#
# **Signs.**
#
# | Number | It is | Optimisers get |
# |---|---|---|
# | $L^{CLIP}$ (`policy_loss` in 03) | an objective: up is good | minus it |
# | entropy | how undecided the policy is; its bonus is added to the objective | minus `entropy_coef` times it |
# | critic's error | a loss: down is good | it, times `critic_coef` |
# | advantage | good actions positive | no gradient |
# | ratio | 1 before the first step | |
#
# **Metrics**, and what is healthy ([an overview of what others look at](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)):
#
# | Metric | Healthy on small tasks | Look closer if |
# |---|---|---|
# | return of evaluations | rises, with dips | flat from the start |
# | entropy | falls slowly from $\log$(number of actions) | near 0 while the return is low |
# | KL of an update | 0.001 to 0.03 | above 0.1, or exactly 0 |
# | clipped share | 0.02 to 0.3 | 0, or most of them |
# | explained variance | towards 1 | below 0 for long |
#
# Notebook [10](10_bug_hunt.ipynb) shows them side by side for a healthy program and six faulty ones; the
# package's
# `docs/metrics.md` has all others.

# %% [markdown]
# # Glossary
#
# | Word | Meaning |
# |---|---|
# | action, observation, state | what the agent does; what it sees; the situation that the environment is in |
# | advantage $\hat{A}$ | how much better an action was than what the policy does on average there |
# | actor, policy $\pi$ | gives each action a probability |
# | agent (BBRL) | a module that reads and writes variables of a workspace |
# | baseline | what is subtracted from a reward: it reduces the noise, and leaves the mean of the gradient as it is |
# | bootstrap | to use the value of the next state in place of rewards not yet seen |
# | clip range $\epsilon$ | how far a ratio may move before moving further gains nothing |
# | critic, value $V$ | predicts the return that follows a state |
# | discount factor $\gamma$ | what a reward one step later is worth |
# | entropy | how undecided a policy is, in nats |
# | epoch | once through all transitions of a rollout |
# | episode | from a reset to an end, terminated or truncated |
# | group (GRPO) | texts after the same prompt, each compared with the mean of all of them |
# | GAE, $\lambda$ | an estimate of the advantage, in which $\lambda$ trades bias against variance |
# | importance weight | the ratio, as the weight of a sample of another policy |
# | iteration | collect a rollout, learn from it |
# | KL divergence | how different two policies are |
# | λ-return | advantage plus value: the target of the critic |
# | minibatch | the transitions of one step of the optimiser |
# | probe | an environment whose right answer is known |
# | ratio $r$ | probability of an action now, divided by its probability when it was taken |
# | reference | the model before it got any reward; the distance from it is a cost |
# | reward hacking | the reward rises, and what it stood for gets lost |
# | return | the (discounted) sum of rewards to come |
# | rollout | rows of all environments collected with the same policy |
# | score | the gradient of an action's log-probability |
# | seed | what all random numbers of a run are derived from |
# | TD error $\delta$ | reward plus discounted next value, minus value |
# | terminated, truncated | the episode came to a real end; its time was up |
# | transition | from one row to the next, with the action in between |
# | trust region | the policies close enough to the old one for its data to tell about them |
# | workspace | the table of variables by time and environment |

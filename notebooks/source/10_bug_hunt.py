# %% [markdown]
# # The bug hunt
#
# A PPO with a bug does not crash. It trains, its curve goes up or it does not, and nobody can tell whether
# the algorithm is weak, the task hard, the seed unlucky or a line of code wrong. This notebook is a
# detective story: seven programs are under suspicion, and we find out what each of them has done,
# from the outside.
#
# If you want to know more:
#
# - [37 implementation details of
#   PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/) has a part on
#   debugging, and shows what healthy numbers look like;
# - [Deep Reinforcement Learning that Matters](https://arxiv.org/abs/1709.06560)
#   (Henderson et al., 2018) is on what a few seeds prove, and what they do not.
#
# [◀ 09](09_lightning.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [11 ▶](11_write_ppo.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - read curves and the usual metrics as evidence, and say what they cannot tell;
# - choose a probe, an environment on which a single bug is visible and the right answer is known;
# - write small instruments that look into a training program without disturbing it;
# - argue from evidence to a bug, and fix one.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | First instrument: the ratio before the first step | ●○○ | 10 | essential |
# | Second instrument: the error of a critic | ●●○ | 15 | essential |
# | Third instrument: coverage | ●○○ | 10 | useful |
# | Fourth instrument: which weights a loss moves | ●●○ | 20 | useful |
# | The verdict | ●●○ | 20 | essential |
# | Fix it | ●●● | 20 | essential |
# | What have you understood? (five questions) | ●○○ | 10 | useful |
#
# With reading it takes about two and a half hours. You should know the loop of PPO (notebook 03), and
# terminated from truncated (notebook 02).

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
import itertools
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from ppo_bbrl import KWAgentWrapper, setup_tensorboard, train_seeds
from ppo_bbrl.advantages import gae
from ppo_bbrl.plots import bootstrap_interval, read_metrics, workspace_grid
from ppo_bbrl.runs.progress import Progress
from ppo_bbrl.runs.replay import record_video
from ppo_bbrl.runs.replay import show as show_video
from ppo_course import (
    check_coverage,
    check_culprits,
    check_gradients_into,
    check_mended_transitions,
    check_quiz_10,
    check_ratio_error,
    check_value_error,
    quiz,
)
from ppo_course.nb10_bug_hunt.suspects import SUSPECTS, suspect
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the experiments are short. It is meant for
# automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The case
#
# Seven programs, A to G, are the same small PPO: an actor with 64 hidden neurons, and a critic that
# does not read the observation but the actor's hidden layer, its *features*, and puts a small network
# of its own on top. An update goes four times through its rollout (four *epochs*), in minibatches of about 256. One of the seven is innocent. In
# each of the others one thing is wrong:
#
# | Charge | What is wrong |
# |---|---|
# | `"sign of the loss"` | the optimiser minimises what PPO maximises |
# | `"wrong action"` | a transition is judged with the action of another transition |
# | `"leak across truncation"` | GAE goes on into the next episode where the time was up |
# | `"stale observation"` | the agent sees, and learns from, the observation of one row before |
# | `"drawn with replacement"` | a minibatch is drawn anew each time: some transitions come twice, some never |
# | `"critic moves the actor"` | the gradient of the critic's loss goes through the features into the actor |
# | `"innocent"` | nothing |
#
# None of them raises an exception, and none makes a NaN. We do not read their source: in your own
# project you have read it three times already.

# %% [markdown]
# This is how a suspect is questioned. `train` collects and learns; `history` has the usual metrics
# of each update. There is more to look at, and we come to it when we need it.

# %%
someone = suspect("D", "CartPole-v1", seed=0)
someone.train(n_updates=2)
for update in someone.history:
    print({name: round(number, 3) for name, number in update.items()})

# %% [markdown]
# # At the scene: learning curves
#
# First the learning curve, which everybody looks at. All suspects train on CartPole, with a few seeds
# each: 30 updates, each from 64 rows of 16 environments (1024 steps; those that only reset an
# environment are not counted above). On two quiet cores it takes about 45 seconds.

# %%
N_UPDATES = 2 if TESTING_MODE else 30
SEEDS = range(1 if TESTING_MODE else 4)

runs = {name: [suspect(name, "CartPole-v1", seed) for seed in SEEDS] for name in SUSPECTS}
progress = Progress(len(SUSPECTS))
for done, (name, its_runs) in enumerate(runs.items(), start=1):
    for run in its_runs:
        run.train(N_UPDATES)
    last = np.mean([run.history[-1]["return"] for run in its_runs])
    progress.show(done, {"suspect": name, "return at the end": f"{last:.0f}"})

# %% [markdown]
# And what does a healthy program get? We take the package's PPO, with the settings of the suspects
# and as many seeds; `train_seeds` trains it, one process on each core: about 20 seconds of processor
# time. It is no eighth copy of them: its critic has a whole network of its own.

# %%
settings = someone.settings  # every suspect has the same
healthy = {
    "base_dir": "bug_hunt/package-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "max_epochs": N_UPDATES,
        "eval_interval": 1_000_000,  # none on the way: we look at training episodes
        "n_envs": settings.n_envs,
        "n_steps": settings.n_steps,
        "opt_epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "normalize_advantage": True,
        "discount_factor": settings.discount_factor,
        "gae": settings.gae_lambda,
        "clip_range": settings.clip_range,
        "clip_range_vf": 0,
        "entropy_coef": settings.entropy_coef,
        "max_grad_norm": settings.max_grad_norm,
        "architecture": {
            "actor_hidden_size": [64],
            "critic_hidden_size": [64, 64],
            "activation": "tanh",
        },
    },
    "optimizer": {"classname": "torch.optim.Adam", "lr": settings.lr},
}
report = train_seeds(healthy, SEEDS)


# %% tags=["definitions"]
def table(its_runs, metric):
    """A metric of each run after each update, [runs, updates]"""
    return np.array([[update[metric] for update in run.history] for run in its_runs])


def last_20(folder):
    """The mean of about the last 20 training episodes after each update, [updates]

    The metrics of a run have the mean of the episodes that ended in an update. How many were they? An
    update has about 1000 steps, and an episode of CartPole as many as its return.
    """
    episodes, means = [], []
    for mean in read_metrics(folder)["episode/return"]:
        if not np.isnan(mean):  # where none ended
            episodes += [mean] * max(1, round(1000 / mean))
        means.append(np.mean(episodes[-20:]))
    return means


def draw(axes, values, colour="#0072B2"):
    """The mean over the runs, with a 95 % interval of the mean; the runs as thin lines"""
    updates = np.arange(1, values.shape[1] + 1)
    axes.plot(updates, values.T, color=colour, lw=0.5, alpha=0.4)
    axes.fill_between(updates, *bootstrap_interval(values), color=colour, alpha=0.2, lw=0)
    axes.plot(updates, values.mean(0), color=colour, lw=1.8)
    axes.spines[["top", "right"]].set_visible(False)


# %%
RANDOM = 22  # what a coin gets on CartPole
figure, panels = plt.subplots(
    2, 4, figsize=(10, 4.6), sharex=True, sharey=True, layout="constrained"
)
for axes, (name, its_runs) in zip(panels.flat, runs.items(), strict=False):
    draw(axes, table(its_runs, "return"))
    axes.set_title(name, fontweight="bold")
healthy_returns = np.array([last_20(run.folder) for run in report.runs.values()])
draw(panels.flat[-1], healthy_returns, colour="#009E73")
panels.flat[-1].set_title("the package")
for axes in panels.flat:
    axes.axhline(RANDOM, color="0.4", lw=1, ls=":")
figure.supxlabel("updates")
figure.supylabel("return (last 20 training episodes)")
show(
    figure,
    "The returns of the seven suspects, and of the package (green). Dotted: a coin; thick: the mean of "
    "the seeds; shaded: its 95 % interval.",
    "Eight panels, A to G and the package, with the return over the updates and a dotted line for a coin. "
    "Most curves rise, that of the package among them, some less than others; one stays on the dotted "
    "line, and one falls below it.",
)

# %% [markdown]
# What do you see? Take a minute before you read on.
#
# - One suspect ends at about 9, *below* a coin. You have to learn to be that bad. Remember its letter.
# - One stays where the coin is: it learns nothing at all.
# - **Five learn CartPole.** One of them is behind up to about update 20. Is it faulty, or only slow? The
#   intervals of the other four overlap nearly everywhere. Exactly one of the five is innocent.
# - The package shows what is healthy, and neither of the two that fail comes near it. But which of the five
#   is most like it is no evidence: see how far apart its own four seeds end.
#
# So the curve convicts those that fail, makes one suspicious, and acquits nobody. A bug that costs some
# speed looks like a weak algorithm, and a bug that costs nothing *here* looks like nothing.

# %% [markdown]
# # The usual metrics
#
# Next, what everybody logs. *Entropy*: $\log 2 \approx 0.69$ is a coin, 0 is certainty. *KL*: how far
# an update moves the policy. *Explained variance*: how much of the variation of the returns the
# critic explains, 1 is perfect, 0 is a constant. *Clipped*: the share of transitions whose ratio has
# left the clip range, with a gradient or without.

# %%
METRICS = {
    "entropy": "entropy (nats)",
    "kl": "KL(old ‖ new)",
    "explained_variance": "explained variance",
    "clipped": "clipped share",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "-", "-", "-", "--", "--", "--")  # so that one sees a line below another

figure, panels = plt.subplots(2, 2, figsize=(9, 5.2), sharex=True, layout="constrained")
for axes, (metric, title) in zip(panels.flat, METRICS.items(), strict=True):
    for (name, its_runs), colour, line in zip(runs.items(), COLOURS, LINES, strict=True):
        mean = table(its_runs, metric).mean(0)
        axes.plot(range(1, len(mean) + 1), mean, color=colour, ls=line, lw=1.4, label=name)
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
panels[0, 0].set_ylim(0, 0.75)
panels[1, 0].set_ylim(-0.3, 1.05)
panels[0, 1].set_yscale("log")
figure.supxlabel("updates")
figure.legend(
    *panels[0, 0].get_legend_handles_labels(), loc="outside right center", title="suspect"
)
show(
    figure,
    "The usual metrics of the seven suspects.",
    "Four panels with seven lines each: entropy, KL, explained variance and share of clipped "
    "transitions. Most lines lie close together; those of the two that do not learn lie apart.",
)

# %% [markdown]
# - The suspect below the coin has become *certain*: its entropy falls while its return falls, too. It does
#   the worst thing it knows, on purpose. And soon it has the best critic of all: to fall
#   over at once is easy to predict. A good metric can belong to a hopeless policy.
# - The one that stays a coin keeps the entropy of a coin. But its KL and its clipped share are like
#   those of the others: each update moves it, and all of them together lead nowhere.
# - Of the other five, the one that was behind is also the slowest to become certain, and in the
#   middle its critic explains less. This is no second witness: slow learning alone does all of it.
# - Between the other four are small differences: one has the lowest entropy, the critic of another
#   explains less for some updates. Would you accuse anybody for that? And look closely at the
#   explained variance: a solid and a dashed line are one for twelve updates. Remember them.
#
# So we need instruments that look at one thing each, and for which we know what they must show
# *before* we look.
#
# If you prefer TensorBoard: the next cell writes the same numbers for it.

# %%
from torch.utils.tensorboard import SummaryWriter

for name, its_runs in runs.items():
    for seed, run in zip(SEEDS, its_runs, strict=True):
        with SummaryWriter(f"./outputs/tblogs/bug_hunt/{name}-S{seed}") as writer:
            for update in run.history:
                for metric in ("return", *METRICS):
                    writer.add_scalar(metric, update[metric], update["steps"])
setup_tensorboard("./outputs/tblogs/bug_hunt")

# %% [markdown]
# # The first instrument: the ratio
#
# In the first minibatch of an update no step has been taken yet. The policy that learns is still the
# one that acted, and so for each transition
#
# $$
# r_t(\theta) = \exp\left(\log \pi_\theta(a_t \mid s_t) - \log \pi_{\theta_{old}}(a_t \mid
# s_t)\right) = 1
# $$
#
# (equation 7 of [the paper on PPO](https://arxiv.org/abs/1707.06347)), up to rounding. That holds whatever
# the task, the seed and the settings are: no luck is involved. If the ratio is not 1, then the
# observation, the action or the weights are not those of the time when the action was taken.
#
# Of each update, a suspect keeps `(log_prob, old_log_prob)` of its first minibatch in the list
# `first_minibatches`.

# %% [markdown]
# ## Exercise: the ratio before the first step
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `ratio_error`. It gets `log_prob` and `old_log_prob`, $[N]$ each: the log-probabilities of
# the $N$ actions of a minibatch, under the policy that learns and under the one that acted. It
# returns a number, the largest distance of a ratio from 1:
#
# $$
# \max_t \left| r_t(\theta) - 1 \right|.
# $$
#
# The largest, because a single wrong transition is a bug, and because the distances above and below 1
# cancel in a mean.
#
# Useful: [exp](https://pytorch.org/docs/stable/generated/torch.exp.html),
# [abs](https://pytorch.org/docs/stable/generated/torch.abs.html) and
# [max](https://pytorch.org/docs/stable/generated/torch.max.html), which tensors have as methods.
#
# <details>
# <summary>A hint</summary>
#
# One line: difference, `.exp()`, minus 1, `.abs()`, `.max()`. With `.item()` it becomes a plain
# number.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-ratio-error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ratio_error(log_prob, old_log_prob):
    """
    The largest distance of a ratio from 1, a number; log_prob and old_log_prob are [N]
    """
    ### BEGIN SOLUTION
    ratio = (log_prob - old_log_prob).exp()
    return (ratio - 1).abs().max().item()
    ### END SOLUTION


# %% [markdown]
# The check tries ratios that are far away on either side of 1.

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-ratio-error-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_ratio_error(ratio_error)
### BEGIN HIDDEN TESTS
check_ratio_error(ratio_error, seed=1)
check_ratio_error(ratio_error, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Now the suspects, with the runs from above. The axis is logarithmic. What is below $10^{-7}$, or 0, is
# drawn there, a little apart so that each line can be seen.

# %%
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (name, its_runs), colour in zip(runs.items(), COLOURS, strict=True):
    errors = np.array([[ratio_error(*pair) for pair in run.first_minibatches] for run in its_runs])
    shown = errors.max(0).clip(1e-7 * 1.25 ** SUSPECTS.index(name))
    axes.semilogy(range(1, N_UPDATES + 1), shown, ".-", color=colour, lw=1, ms=4, label=name)
    print(f"{name}: {errors[:, 0].max():.1e} in the first update, {errors.max():.1e} in all")
axes.set(xlabel="update", ylabel="largest |ratio − 1|")
axes.legend(ncols=2, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "How far the ratio is from 1 in the first minibatch.",
    "Seven lines over the updates, on a logarithmic axis. Six are below a millionth, all the "
    "time; one is far above them, between a thousandth and 1.",
)

# %% [markdown]
# One suspect, in every update, and no doubt is possible. Look at its first update, though: the error
# is more than a hundred times smaller than later. A fresh policy is nearly a coin, whose log-probabilities
# are all alike, whatever is mixed up. **Test with a policy that has learned something.**
#
# <details>
# <summary>This one keeps the entropy of a coin. How can its ratio be that far from 1?</summary>
#
# The entropy hardly shows it: with the probabilities 0.6 and 0.4 it is 0.67 instead of 0.69, and a
# wrong action has the ratio 1.5. And it is a mean, where our instrument takes the largest distance.
#
# </details>
#
# The other six are acquitted of one thing: they learn with the actions and observations that they
# acted with. These may still be the *wrong* observations: what is wrong twice cancels in the ratio.

# %% [markdown]
# # The second instrument: probes
#
# A probe is an environment so simple that the right answer is known, and in which few things can go
# wrong. The idea has long been handed down among practitioners. Five of them:
#
# | Probe | What is seen | Reward | Episode | If it fails, look at |
# |---|---|---|---|---|
# | `ConstantReward` | always 1 | 1 | one step, terminated | the critic's loss |
# | `Discounting` | the step, 0 or 1 | 0, then 1 | two steps, terminated | $\gamma$, rows that are off by one |
# | `TruncatedOnly` | always 1 | 1 | 8 steps, **truncated** | the ends of episodes |
# | `ActionDecides` | always 1 | action 1: 1, action 0: −1 | one step, terminated | the policy's loss |
# | `ActionAndObservationDecide` | −1 or 1, by chance | 1 for the action of the same sign, else −1 | one step, terminated | what the agent sees |
#
# On the last two a healthy policy gets a return of 1. On the first three actions have no effect,
# and it is the critic that is on trial: what must it say in the first state of an episode? These are
# their rewards, each in the row that its step leads to. (It does not matter who acts.)

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 4.4), layout="constrained")
for panel, probe in zip(panels, ("ConstantReward", "Discounting", "TruncatedOnly"), strict=True):
    rows = suspect("A", f"{probe}-v0", seed=0, n_envs=2, n_steps=11).train(1).workspace
    workspace_grid(rows, "env/reward", title=f"{probe}: reward", axes=panel)
show(
    figure,
    "What three probes pay, row by row.",
    "Three tables of twelve rows and two environments. In ConstantReward each second row has the "
    "reward 1, in Discounting each third one; the others have 0. In TruncatedOnly each row has 1, "
    "but for the one after the reset.",
)

# %% [markdown]
# ## Exercise: the error of a critic
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# First with a pencil: what is $V$ in the first state of an episode, on the first three probes, with
# the discount factor $\gamma$? Then write `value_error`. It gets
#
# - `probe`, a text: `"ConstantReward"`, `"Discounting"` or `"TruncatedOnly"`;
# - `values`, $[N]$: what critics have said about the first state of this probe, one for each run;
# - `discount_factor`, $\gamma < 1$.
#
# It returns a number: the mean of `values` minus the true value. So it is positive where the critics
# say too much.
#
# <details>
# <summary>A hint</summary>
#
# $V(s) = r + \gamma V(s')$, where $V(s') = 0$ if $s'$ is terminal. For `Discounting` begin with its
# second step. `TruncatedOnly` has no terminal state: $s'$ looks like $s$, and has the same value.
#
# </details>
#
# <details>
# <summary>Another hint</summary>
#
# At a time limit *we* stop watching, and nothing ends (notebook 02). Without it the rewards of
# `TruncatedOnly` go on for ever: solve $V = 1 + \gamma V$.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-value-error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def value_error(probe, values, discount_factor):
    """
    Mean of the values, [N], minus the true value of the first state of the probe: a number
    """
    ### BEGIN SOLUTION
    true_values = {
        "ConstantReward": 1,
        "Discounting": discount_factor,
        "TruncatedOnly": 1 / (1 - discount_factor),
    }
    return values.mean().item() - true_values[probe]
    ### END SOLUTION


# %% [markdown]
# The check tries each probe, with too much and with too little.

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-value-error-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_value_error(value_error)
### BEGIN HIDDEN TESTS
check_value_error(value_error, seed=1)
check_value_error(value_error, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Before we look: what must a leak do? Let a critic say what is true on `TruncatedOnly`, 10 everywhere
# for $\gamma = 0.9$. No step is better or worse than it expects: all advantages are 0. Only the reset,
# which starts in row 8, earns nothing and has $\delta = 0 + \gamma \cdot 10 - 10 = -1$. It is no
# transition, and nobody learns from it. A GAE that goes on across the end hands its $-1$ back to the
# episode before, times $\gamma\lambda$ with each row. (Row $t$ has the advantage of the step that starts
# in it.)

# %%
GAMMA = 0.9  # and `rows` are those of TruncatedOnly, from the pictures of the probes
value = torch.full_like(rows["env/reward"], 1 / (1 - GAMMA))
told = {name: rows[f"env/{name}"][1:] for name in ("reward", "terminated")}
told |= {"value": value[:-1], "next_value": value[1:]}
advantages = {
    f"{which}: advantage": gae(
        **told, done=rows[f"env/{cut_by}"][1:], discount_factor=GAMMA, gae_lambda=0.95
    )
    for which, cut_by in {"right": "done", "leaking": "terminated"}.items()
}
figure, panels = plt.subplots(1, 2, figsize=(6.5, 4.4), layout="constrained")
for panel, (title, advantage) in zip(panels, advantages.items(), strict=True):
    workspace_grid(rows, advantage, form="{:.2f}", title=title, axes=panel)
show(
    figure,
    "The advantages of a critic that is right: with the leak they are no longer 0.",
    "Two tables of twelve rows. Where the trace is cut, all advantages of transitions are 0. "
    "Where it leaks, those before the reset are negative, and the more so the nearer to it.",
)

# %% [markdown]
# So with a leak even the right critic is told to say less, in each episode that is truncated.
#
# Now each suspect on each probe, with two seeds: 70 runs, about half a minute.

# %%
SETTINGS = {"n_steps": 32, "batch_size": 256, "lr": 5e-3, "discount_factor": GAMMA}
FIRST_STATE = {"ConstantReward": [1.0], "Discounting": [0.0], "TruncatedOnly": [1.0]}
OF_THE_POLICY = ("ActionDecides", "ActionAndObservationDecide")
PROBES = (*FIRST_STATE, *OF_THE_POLICY)
PROBE_UPDATES = 1 if TESTING_MODE else 20
PROBE_SEEDS = range(1 if TESTING_MODE else 2)

found = np.zeros((len(SUSPECTS), len(PROBES)))
progress = Progress(len(SUSPECTS))
for row, name in enumerate(SUSPECTS):
    for column, probe in enumerate(PROBES):
        its_runs = [
            suspect(name, f"{probe}-v0", seed, **SETTINGS).train(PROBE_UPDATES)
            for seed in PROBE_SEEDS
        ]
        if probe in FIRST_STATE:
            with torch.no_grad():
                first = torch.tensor(FIRST_STATE[probe])
                values = torch.stack([run.critic.value(first) for run in its_runs])
            found[row, column] = value_error(probe, values, GAMMA)
        else:
            found[row, column] = np.mean([run.history[-1]["return"] for run in its_runs])
    progress.show(row + 1, {"suspect": name})

# %%
# The darker, the further from what is right, in units of the true value
right = np.array([0, 0, 0, 1, 1])
scale = np.array([1, GAMMA, 1 / (1 - GAMMA), 2, 2])
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
off = np.abs(found - right) / scale
axes.imshow(off, cmap="Oranges", vmin=0, vmax=0.3, aspect="auto")
for (row, column), number in np.ndenumerate(found):
    colour = "white" if off[row, column] > 0.2 else "black"
    text = f"{round(number, 2) + 0.0:+.2f}"  # + 0.0: no "-0.00" beside "+0.00"
    axes.text(column, row, text, ha="center", va="center", color=colour)
labels = [f"{probe}\nerror of the critic" for probe in FIRST_STATE]
labels += [probe.replace("AndObs", "And\nObs") + "\nreturn" for probe in OF_THE_POLICY]
axes.set_xticks(range(len(PROBES)), labels, fontsize="small")
axes.set_yticks(range(len(SUSPECTS)), SUSPECTS, fontweight="bold")
axes.xaxis.tick_top()
axes.tick_params(length=0)
show(
    figure,
    "The suspects on the probes: the darker a cell, the further it is from what is right.",
    "A map with a row for each suspect and a column for each probe, with the numbers in the "
    "cells. Most cells are pale; some of the guilty have a dark one.",
)

# %% [markdown]
# Read the map by its columns: the darker, the further from what is right. An error of some hundredths
# is noise, as these runs are short; for `TruncatedOnly`, where the value is 10, some tenths.
#
# - On `ActionDecides` two fail. One of them gets the *worst* return that there is. The other, the
#   suspect of the ratio, gets nearly everything on the harder probe next to it: an accident of its
#   size, as we shall see when it is fixed. **A probe that is passed acquits nobody.**
# - On `TruncatedOnly` one critic says a tenth of 10 too little, and this suspect is fine everywhere
#   else.
# - Somebody solves `ActionDecides`, and is a coin on `ActionAndObservationDecide`. These two probes differ
#   in only one thing. The same suspect's critic gives the first state of `Discounting` the
#   value 1, which the second has.
#
# <details>
# <summary>Why the value of the second state?</summary>
#
# It sees one row late. In the second step, which is worth 1, it is shown the observation of the
# first, and learns that *this* is worth 1. In the first step it is shown the end of the episode
# before.
#
# </details>

# %% [markdown]
# Can the curves on CartPole show what `TruncatedOnly` shows? Yes, to a sharp eye. With the same seed,
# two programs that do the same give the same numbers, to the last digit. Which ones do, and until when?

# %%
for one, other in itertools.combinations(SUSPECTS, 2):
    for seed in SEEDS:
        same = (
            table(runs[one], "explained_variance")[seed]
            == table(runs[other], "explained_variance")[seed]
        )
        until = len(same) if same.all() else same.argmin()
        if until > 1:  # the numbers of the first update tell nothing: no one has learned yet
            print(f"{one} and {other}, seed {seed}: the same numbers in {until} updates")

# %% [markdown]
# One pair only, the suspect of `TruncatedOnly` and one other: those were the two lines. They part in
# the update in which, for the first time, an episode reaches step 500 and is truncated. (The return of
# the curve is lower then: it is the mean of 20 episodes, and one of them is enough.)
#
# <details>
# <summary>What does this say about the other one?</summary>
#
# Two bugs of different kinds would differ from the first update on, as all other pairs do. So one of
# the two does nothing wrong before an episode is truncated, and the other nothing at all.
#
# </details>

# %% [markdown]
# # The third instrument: coverage
#
# Each epoch should use each transition once. A suspect keeps the minibatches of its last epoch, as
# tensors of indices, in `last_epoch`; there are `n_transitions` to choose from.
#
# ## Exercise: coverage
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Write `coverage`. It gets
#
# - `minibatches`, a list of tensors of indices, $[M]$ each, where $M$ may differ;
# - `n_transitions`: the indices are from 0 to `n_transitions` $- 1$.
#
# It returns a number between 0 and 1: the share of the transitions that is used at least once.
#
# Useful: [torch.cat](https://pytorch.org/docs/stable/generated/torch.cat.html) and
# [unique](https://pytorch.org/docs/stable/generated/torch.unique.html).
#
# <details>
# <summary>A hint</summary>
#
# How many *different* indices are there in all minibatches together? Python's `set` does not
# help with tensors: it takes any two of them as different, whatever is in them.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-coverage", "locked": false, "schema_version": 3, "solution": true, "task": false}
def coverage(minibatches, n_transitions):
    """
    Which share of the transitions an epoch uses, a number between 0 and 1
    """
    ### BEGIN SOLUTION
    return len(torch.cat(minibatches).unique()) / n_transitions
    ### END SOLUTION


# %% [markdown]
# The check tries epochs that repeat, that drop a rest, and a good one.

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-coverage-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_coverage(coverage)
### BEGIN HIDDEN TESTS
check_coverage(coverage, seed=1)
check_coverage(coverage, seed=2)
### END HIDDEN TESTS

# %%
for name, its_runs in runs.items():
    shares = [coverage(run.last_epoch, run.n_transitions) for run in its_runs]
    print(f"{name}: an epoch uses {min(shares):.1%} to {max(shares):.1%} of the transitions")

# %% [markdown]
# One of those that no probe has caught pays for a thousand steps and looks at about $1 - 1/e \approx
# 63\,\%$ of them in an epoch (notebook 03). No curve, no metric and no probe has shown it: over four
# epochs nearly all are seen, each equally often on average. With one epoch it would learn
# from two thirds of what it pays for.

# %% [markdown]
# # The fourth instrument: gradients
#
# The critic of our suspects reads the actor's features, and must not change them: they have to go
# through `.detach()`. If it is forgotten, nobody complains. The two losses are added, `backward()`
# follows every path that is there, and the actor's body learns what lowers the loss of the critic.
# That loss is in squared returns, the actor's is of order 1: which of them moves the body more?
#
# `losses()` of a suspect gives the losses of its last rollout, with their graph: `losses().policy`
# and `losses().value`. Its networks are `policy` and `critic`.

# %% [markdown]
# ## Exercise: which weights a loss moves
#
# *Difficulty: ●●○ · about 20 minutes · useful*
#
# Write `gradients_into`. It gets
#
# - `loss`, a scalar tensor with its graph;
# - `module`, a network (`nn.Module`).
#
# It returns a list of names, as in `module.named_parameters()`: those of the parameters for which
# `loss` has a gradient that is not zero. A loss that does not reach the network gives an empty list.
#
# An instrument must not disturb what it measures. Afterwards `.grad` of all parameters is what it
# was before, whatever that was, and the training can still call `loss.backward()`.
#
# Useful: [torch.autograd.grad](https://pytorch.org/docs/stable/generated/torch.autograd.grad.html)
# returns gradients, and writes nowhere.
#
# <details>
# <summary>A hint</summary>
#
# `torch.autograd.grad(loss, parameters, …)` wants a list of parameters and returns a tuple of
# gradients. Two of its arguments matter: `allow_unused=True` (a parameter without a path gets
# `None` instead of an exception) and `retain_graph=True` (the graph stays for the training).
#
# </details>
#
# <details>
# <summary>Another hint</summary>
#
# `names, parameters = zip(*module.named_parameters())` makes two tuples of the pairs. And
# `gradient.any()` is true if one entry is not 0; ask first whether the gradient is `None`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-gradients-into", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradients_into(loss, module):
    """
    The names of the parameters of the module for which the loss has a gradient other than 0
    """
    ### BEGIN SOLUTION
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [
        name
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.any()
    ]
    ### END SOLUTION


# %% [markdown]
# The check tries losses that reach all, a part or nothing of a network, and looks at what is left
# behind.

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-gradients-into-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_gradients_into(gradients_into)
### BEGIN HIDDEN TESTS
check_gradients_into(gradients_into, seed=1)
check_gradients_into(gradients_into, seed=2)
### END HIDDEN TESTS

# %%
print("How many tensors get a gradient, from which loss → of whom?")
columns = ("policy → actor", "policy → critic", "critic → actor", "critic → critic")
print("suspect", *(f"{column:>15}" for column in columns))
for name, its_runs in runs.items():
    run = its_runs[0]
    reached = [
        len(gradients_into(loss, agent))
        for loss in (run.losses().policy, run.losses().value)
        for agent in (run.policy, run.critic)
    ]
    print(f"{name:7}", *(f"{number:15}" for number in reached))

# %% [markdown]
# # The verdict
#
# Go through your notes: the curves, the metrics, the ratio, the map of the probes, the coverage,
# the gradients. Who is left when each charge has its suspect?
#
# ## Exercise: name the culprits
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `culprits`. It takes nothing, and returns a dict with seven entries: from each suspect,
# `"A"` to `"G"`, to its charge. The charges are the texts in the first column of the table at the
# top, and each belongs to one suspect:
#
# `"sign of the loss"`, `"wrong action"`, `"leak across truncation"`, `"stale observation"`,
# `"drawn with replacement"`, `"critic moves the actor"`, `"innocent"`.
#
# The check says how many are right, and what speaks against one of the others.
#
# <details>
# <summary>A hint</summary>
#
# Begin with the instruments whose answer is yes or no, whatever the seed: ratio, coverage, gradients.
# Then the map of the probes, for those that are left. The curve comes last.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-culprits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def culprits():
    """
    From each suspect, "A" to "G", to its charge: a dict
    """
    ### BEGIN SOLUTION
    return {
        "A": "drawn with replacement",
        "B": "wrong action",
        "C": "critic moves the actor",
        "D": "innocent",
        "E": "stale observation",
        "F": "leak across truncation",
        "G": "sign of the loss",
    }
    ### END SOLUTION


# %% [markdown]
# And the judge says:

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-culprits-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_culprits(culprits)
### BEGIN HIDDEN TESTS
check_culprits(culprits, seed=1)
check_culprits(culprits, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # What did it cost?
#
# Now that we know who is who, back to the scene. How much return did each bug cost on CartPole, as
# a mean over the whole training, compared with the innocent? With a 95 % interval of the
# difference, seed by seed.

# %%
charges = culprits()
innocent = next(name for name, charge in charges.items() if charge == "innocent")
healthy = table(runs[innocent], "return").mean(1)
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for row, (name, charge) in enumerate(charges.items()):
    if name == innocent:
        axes.plot(0, row, "o", color="0.4")
        continue
    cost = table(runs[name], "return").mean(1) - healthy
    low, high = bootstrap_interval(cost[:, None])[:, 0]
    axes.plot([low, high], [row, row], color="#D55E00", lw=3, alpha=0.5)
    axes.plot(cost.mean(), row, "o", color="#D55E00")
    print(f"{name}, {charge}: {cost.mean():+.0f} (95 % interval {low:+.0f} to {high:+.0f})")
axes.axvline(0, color="0.4", lw=1)
axes.set_yticks(range(len(charges)), [f"{charge}, {name}" for name, charge in charges.items()])
axes.set(xlabel="return, compared with the innocent (mean over the training)")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "What each bug cost, with a 95 % interval.",
    "A row for each suspect. Two intervals lie far to the left of 0; the others are close to it.",
)

# %% [markdown]
# Two bugs are a catastrophe. And the other four? Four seeds are few, and a bootstrap of four numbers
# gives an interval that is too narrow. So we have run these four and the innocent with twelve
# *other* seeds, 4 to 15:
#
# | Charge | Compared with the innocent, 12 other seeds | 95 % interval |
# |---|---|---|
# | drawn with replacement | −9 | −27 to +8 |
# | leak across truncation | +3 | −1 to +9 |
# | stale observation | −19 | −34 to −4 |
# | critic moves the actor | −42 | −59 to −28 |
#
# The innocent suspect averages 179.

# %% [markdown]
# - **Drawn with replacement** wastes data, and does not mislead. What it costs is less than twelve
#   seeds can show.
# - **The leak** needs truncations. On CartPole they come at step 500, when all is learned. With a
#   short time limit the critic is wrong all the time, as on the probe.
# - **The stale observation** costs a tenth (in the table: four seeds cannot see it). In CartPole a row
#   is 0.02 seconds, and what was true a moment ago is nearly true. On the probe, where nothing lasts,
#   the agent is blind.
# - **The critic in the actor** costs a quarter: large enough to lose a comparison of algorithms, and
#   small enough to be taken for a weak algorithm.
#
# A benchmark tells how much a bug matters *there*. It does not tell you whether there is one.

# %% [markdown]
# # The repair
#
# One culprit is to be fixed, the one with the **wrong action**. Here is the function that turns
# its rollout into transitions. `rows` is a dict of tensors $[T + 1, B, …]$, one row more than
# transitions; it returns a dict of $[N, …]$. There is no error of shape, and no warning. Do you see it?


# %%
def found_transitions(rows):
    """The valid transitions of a rollout side by side, [N, ...]"""
    starts = ~rows["done"][:-1]  # [T, B]: where a transition starts
    transitions = {
        name: rows[name][:-1][starts]
        for name in ("obs", "log_prob", "value", "advantage", "target")
    }
    transitions["action"] = rows["action"][:-1].T[starts.T]
    return transitions


# %% [markdown]
# ## Exercise: fix it
#
# *Difficulty: ●●● · about 20 minutes · essential*
#
# Write `mended_transitions`, the right version. It gets `rows`, a dict of tensors $[T + 1, B, …]$ with
# `obs`, `action`, `log_prob`, `value`, `advantage`, `target` and `done` (bool). It returns a new
# dict of the first six, $[N, …]$:
#
# - entry $i$ of all six belongs to the same transition, and is what it was in its row, of the same
#   dtype;
# - each valid transition comes once, in any order. A step that starts in a `done` row is none, and
#   in the last row none starts.
#
# Before you write: take $T = 2$, $B = 2$, no ends, and the actions $\begin{pmatrix} a & b \\ c & d
# \end{pmatrix}$. In which order does `found_transitions` return them, and in which order the
# observations?
#
# <details>
# <summary>In which order?</summary>
#
# The actions are those of $a, c, b, d$, the observations those of $a, b, c, d$: the first and the last
# fit by accident.
#
# </details>
#
# <details>
# <summary>A hint</summary>
#
# `x[mask]` walks through the mask row by row. Row by row of the transposed is column by column of
# the original: all rows of environment 0, then all of environment 1.
#
# </details>
#
# <details>
# <summary>Another hint</summary>
#
# All six can be treated alike: one line for all of them, and no exception for the actions.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-mend", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mended_transitions(rows):
    """
    The valid transitions of a rollout side by side, [N, ...], entry i of each the same transition
    """
    ### BEGIN SOLUTION
    starts = ~rows["done"][:-1]
    return {
        name: rows[name][:-1][starts]
        for name in ("obs", "action", "log_prob", "value", "advantage", "target")
    }
    ### END SOLUTION


# %% [markdown]
# The check uses rollouts in which every entry says where it comes from.

# %% nbgrader={"grade": true, "grade_id": "bug-hunt-mend-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check_mended_transitions(mended_transitions)
### BEGIN HIDDEN TESTS
check_mended_transitions(mended_transitions, seed=1)
check_mended_transitions(mended_transitions, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# A repaired program is tried like a suspect: first the instrument that caught it, which must now be silent,
# and then the curve. We put your function in the place of the old one. And there is a witness that cannot
# err: does it now give the numbers of the innocent, to the last digit? (It does if your function keeps
# the order of the rows. Another order is just as right, but gives other minibatches.)

# %%
guilty = next(name for name, charge in charges.items() if charge == "wrong action")
mended = [suspect(guilty, "CartPole-v1", seed, mended=mended_transitions) for seed in SEEDS]
progress = Progress(len(mended))
for done, run in enumerate(mended, start=1):
    run.train(N_UPDATES)
    progress.show(done, {"return at the end": f"{run.history[-1]['return']:.0f}"})

largest = max(ratio_error(*pair) for run in mended for pair in run.first_minibatches)
print(f"The largest |ratio - 1| before the first step of an update: {largest:.1e}")
same = table(mended, "return") == table(runs[innocent], "return")
print(f"The same return as {innocent}, the innocent, in {same.mean():.0%} of the updates")

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
draw(axes, table(runs[guilty], "return"), colour="#D55E00")
draw(axes, table(mended, "return"))
axes.text(N_UPDATES, 40, f"{guilty}, as it was found", color="#D55E00", ha="right")
axes.set_title(f"{guilty}, repaired", color="#0072B2")
axes.set(xlabel="updates", ylabel="return (last 20 episodes)")
show(
    figure,
    "The suspect that was repaired, before (orange) and after (blue).",
    "Two curves of the return over the updates. The orange one stays low, the blue one rises.",
)

# %% [markdown]
# And why did it pass the hardest probe? There, every second step is a reset, so that $32 \times 16$
# rows hold $16 \times 16$ transitions: a square, whose diagonal stays where it is when it is
# transposed. One action in sixteen is right by accident. On this probe that is mostly enough; with
# `n_steps=34` in place of 32 it fails. (`ActionDecides` has the same square, where it was not enough.)
# Do not count on such luck, nor on a probe of a single size.
#
# Here is one episode of the best of the repaired ones, with its most likely actions:

# %%
best = max(mended, key=lambda run: run.history[-1]["return"])
video = record_video(
    KWAgentWrapper(best.policy, stochastic=False),
    "CartPole-v1",
    Path("./outputs/bug_hunt.mp4"),
    seeds=np.random.SeedSequence(0),
)
show_video(video)

# %% [markdown]
# # What a detective takes home
#
# | Before each run | What it must show | Finds |
# |---|---|---|
# | ratio before the first step | 1, at a policy that has learned something | wrong action, wrong weights, wrong observation when learning |
# | probes of a second each | the known value, the known return | sign, time, ends of episodes, what is seen |
# | coverage of an epoch | 1 | sampling |
# | gradients of each loss | its own network, nothing else | forgotten `detach()` |
# | curve over seeds | more than a coin gets | what is left, and only if it hurts here |
#
# Write them as tests of your project: the tests of this package have them all.

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** On CartPole a program ends far below a coin, and the ratio is 1 in the first
# minibatch of each update. On `ActionDecides` its return becomes $-1$. What do you look at first?
#
# - (a) the sign of the policy's loss
# - (b) the order of the actions
# - (c) the minibatches
# - (d) the time limits

# %%
quiz("10", 1, "?")

# %% [markdown]
# **Question 2.** Two actions, and a policy that has just been initialised gives them the
# probabilities 0.502 and 0.498. All actions of the minibatch are mixed up. What does `ratio_error`
# show in the first update?
#
# - (a) exactly 0
# - (b) about 0.008
# - (c) about 0.5
# - (d) about 1

# %%
quiz("10", 2, "?")

# %% [markdown]
# **Question 3.** GAE takes every time limit for a terminal state (not one of our charges), and the
# critic also sees the time. The true value of `TruncatedOnly` is 10, with $\gamma = 0.9$ and
# episodes of 8 steps. What does the critic learn about their start?
#
# - (a) 10
# - (b) about 9
# - (c) about 5.7
# - (d) 8

# %%
quiz("10", 3, "?")

# %% [markdown]
# **Question 4.** A suspect draws 1000 indices of 1000 transitions with replacement, in each of 4
# epochs. Which share of the transitions is never used in the update?
#
# - (a) 37 %
# - (b) 9 %
# - (c) 2 %
# - (d) 0 %

# %%
quiz("10", 4, "?")

# %% [markdown]
# **Question 5.** An agent acts on the observation of the row before, and learns from the same. Which
# instrument shows it?
#
# - (a) the ratio before the first step
# - (b) the coverage of an epoch
# - (c) `ActionDecides`
# - (d) `ActionAndObservationDecide`

# %%
quiz("10", 5, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcab"`.


# %% nbgrader={"grade": false, "grade_id": "bug-hunt-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "abccd"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "bug-hunt-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_10(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_10(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **An eighth suspect.** Write a bug of your own: advantages with $\gamma = 1$ wherever the next value is added. Which instrument shows
#   it? Expected: `value_error` on `Discounting`, where the critic says 1 in place of $\gamma$; the ratio, the coverage and the gradients
#   show nothing.

# %% [markdown] nbgrader={"grade": true, "grade_id": "bug-hunt-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

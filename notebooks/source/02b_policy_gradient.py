# %% [markdown]
# # The policy gradient, and how far to go
#
# PPO's objective has four parts that look arbitrary when you meet them: an advantage instead of a reward, a
# ratio of probabilities, a minimum, and a limit for the ratio. Each of them answers a question. In this
# notebook you compute the answers, on problems so small that everything can be computed exactly: a slot
# machine with three arms, and a walk on thin ice. Notebook 03 then puts the parts together.
#
# If you want to know more:
#
# - chapter 13 of the book *Reinforcement Learning: An Introduction* (Sutton and Barto, second edition,
#   2018) has the policy gradient and its baseline;
# - [Trust Region Policy Optimization](https://arxiv.org/abs/1502.05477) (Schulman et al., 2015) is where
#   ratio and trust region come from;
# - [Spinning Up](https://spinningup.openai.com/en/latest/spinningup/rl_intro3.html) derives the gradient
#   step by step.
#
# [◀ 02](02_value_and_gae.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [03 ▶](03_ppo_clip.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - compute a policy gradient by hand, and say why a baseline changes its noise but not its mean;
# - learn about one policy from the data of another, and say what that costs;
# - say of what PPO's objective is a lower bound, and of what it is not;
# - say why a step has to be short even where every number promises more.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | The score | ●○○ | 10 | essential |
# | The policy gradient | ●●○ | 10 | essential |
# | The best baseline | ●●○ | 10 | useful |
# | Importance weights | ●●○ | 15 | essential |
# | What the minimum takes away | ●○○ | 10 | essential |
# | Promise and distance | ●●○ | 10 | useful |
# | The largest step | ●○○ | 10 | useful |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading it takes about 110 minutes. You should know what an advantage is (notebook 02), and that a
# gradient points uphill.

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

from ppo_course import (
    check_best_baseline,
    check_clipping_gap,
    check_gain_and_kl,
    check_importance,
    check_line_search,
    check_policy_gradient,
    check_quiz_02b,
    check_score,
    quiz,
)
from ppo_course.pictures import show

# The tensors below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the experiments are short. It is meant for
# automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # A slot machine
#
# The machine has three arms. They pay 11, 12 and 14 on average, with some noise. There are no states, and an
# action determines a single reward. The policy has one parameter for each arm, its *logit*
# $\theta_k$, and plays arm $a$ with the probability
#
# $$
# \pi_\theta(a) = \frac{e^{\theta_a}}{\sum_k e^{\theta_k}}.
# $$
#
# So the expected reward is $J(\theta) = \sum_a \pi_\theta(a)\, \bar{r}_a$, and we want to climb it.

# %%
MEAN_REWARD = torch.tensor([11.0, 12.0, 14.0])
logits = torch.tensor([0.5, 0.3, 0.2]).log()


def play(logits, n):
    """
    n actions of the policy and their rewards, [n] each
    """
    action = torch.multinomial(logits.softmax(-1), n, replacement=True)
    return action, MEAN_REWARD[action] + torch.randn(n)


def expected_reward(logits):
    """
    J, computed exactly
    """
    return (logits.softmax(-1) * MEAN_REWARD).sum()


torch.manual_seed(0)
action, reward = play(logits, 5)
print("actions", action.tolist(), " rewards", [round(r, 1) for r in reward.tolist()])
print(f"expected reward: {expected_reward(logits):.1f}")

# %% [markdown]
# # The score
#
# The machine is a black box: nobody can differentiate through it. The trick of all policy gradients is to
# differentiate the *probability* of what happened instead. Because $\nabla \pi = \pi\, \nabla \log \pi$,
#
# $$
# \nabla J = \sum_a \nabla \pi_\theta(a)\, \bar{r}_a = \sum_a \pi_\theta(a)\, \bar{r}_a \nabla \log \pi_\theta(a) = \mathbb{E}_{a \sim \pi_\theta}\left[r\, \nabla_\theta \log \pi_\theta(a)\right],
# $$
#
# and the right-hand side is an expectation over actions of the policy: the mean over what was played
# estimates it. $\nabla_\theta \log \pi_\theta(a)$ is called the *score*. For our policy,
# $\log \pi_\theta(a) = \theta_a - \log \sum_k e^{\theta_k}$, so that its entry $k$ is
#
# $$
# \frac{\partial \log \pi_\theta(a)}{\partial \theta_k} = [k = a] - \pi_\theta(k),
# $$
#
# where $[k = a]$ is 1 for the arm that was played and 0 for the others.

# %% [markdown]
# ## Exercise: the score
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `score`. It gets `logits`, $[K]$, and `action`, $[N]$, the numbers of the arms that were played. It
# returns the scores, $[N, K]$: a row for each sample.
#
# Useful: [one_hot](https://pytorch.org/docs/stable/generated/torch.nn.functional.one_hot.html) takes
# actions and the number of classes; `logits.softmax(-1)`. (You may also ask autograd for each row; the
# formula is shorter.)


# %% nbgrader={"grade": false, "grade_id": "gradient-score", "locked": false, "schema_version": 3, "solution": true, "task": false}
def score(logits, action):
    """
    The gradient of log pi(action) with respect to the logits, [N, K]
    """
    ### BEGIN SOLUTION
    played = torch.nn.functional.one_hot(action, len(logits))
    return played - logits.softmax(-1)
    ### END SOLUTION


# %% [markdown]
# The check has policies over three and over four arms.

# %% nbgrader={"grade": true, "grade_id": "gradient-score-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_score(score)
### BEGIN HIDDEN TESTS
check_score(score, seed=1)
check_score(score, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# The score has a property that the rest of this notebook relies on: **its expectation is 0**. What makes one
# action more probable makes others less probable. See for yourself:

# %%
every_action = torch.arange(3)
expectation = (logits.softmax(-1).unsqueeze(-1) * score(logits, every_action)).sum(0)
print("expected score:", [round(entry, 6) + 0.0 for entry in expectation.tolist()])

# %% [markdown]
# # The policy gradient, and a baseline
#
# So we may subtract any number $b$ from the rewards: it changes the gradient by $b$ times the expected
# score, which is 0.
#
# $$
# \nabla J = \mathbb{E}_{a \sim \pi_\theta}\left[(r - b)\, \nabla_\theta \log \pi_\theta(a)\right]
# $$
#
# With states, $b$ may depend on the state: it is the critic's $V(s)$, and $r - b$ becomes the advantage.

# %% [markdown]
# ## Exercise: the policy gradient
#
# *Difficulty: ●●○ · about 10 minutes · essential*
#
# Write `policy_gradient`. It gets `logits`, $[K]$, `action` and `reward`, $[N]$, and a number `baseline`.
# It returns the estimate of the gradient, $[K]$: the mean over the samples of $(r - b)$ times the score.


# %% nbgrader={"grade": false, "grade_id": "gradient-policy-gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def policy_gradient(logits, action, reward, baseline):
    """
    An estimate of the gradient of the expected reward, [K]
    """
    ### BEGIN SOLUTION
    weight = (reward - baseline).unsqueeze(-1)
    return (weight * score(logits, action)).mean(0)
    ### END SOLUTION


# %% [markdown]
# The check compares the estimates from a few samples.

# %% nbgrader={"grade": true, "grade_id": "gradient-policy-gradient-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_policy_gradient(policy_gradient)
### BEGIN HIDDEN TESTS
check_policy_gradient(policy_gradient, seed=1)
check_policy_gradient(policy_gradient, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: the best baseline
#
# *Difficulty: ●●○ · about 10 minutes · useful*
#
# The mean of the estimate is the same with every $b$; its variance is not. The variance is smallest
# where $\mathbb{E}[(r - b)^2\, |s|^2]$ is smallest, with $|s|^2$ the squared length of the score, the sum
# of the squares of its entries. Set the derivative with respect to $b$ to 0, and you get a mean of the
# rewards in which each one has the weight $|s|^2$:
#
# $$
# b^* = \frac{\mathbb{E}\left[|s|^2\, r\right]}{\mathbb{E}\left[|s|^2\right]}
# $$
#
# Write `best_baseline`. It gets `logits`, `action` and `reward` as above, and returns $b^*$, with the means
# over the samples in the place of the expectations.


# %% nbgrader={"grade": false, "grade_id": "gradient-best-baseline", "locked": false, "schema_version": 3, "solution": true, "task": false}
def best_baseline(logits, action, reward):
    """
    The baseline with which the gradient's estimate varies least, a number
    """
    ### BEGIN SOLUTION
    weight = score(logits, action).square().sum(-1)
    return (weight * reward).sum() / weight.sum()
    ### END SOLUTION


# %% [markdown]
# The check recognises several other means of rewards.

# %% nbgrader={"grade": true, "grade_id": "gradient-best-baseline-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_best_baseline(best_baseline)
### BEGIN HIDDEN TESTS
check_best_baseline(best_baseline, seed=1)
check_best_baseline(best_baseline, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# What does a baseline do? Here are 300 estimates from 30 samples each: without a baseline, with the mean
# reward, and with the best one. (The three entries of a gradient add up to 0, so that all of them lie in a
# plane, which we look at from above.)

# %%
torch.manual_seed(1)
PLANE = torch.tensor([[0.7071, -0.7071, 0.0], [-0.4082, -0.4082, 0.8165]])
truth = PLANE @ (logits.softmax(-1) * (MEAN_REWARD - expected_reward(logits)))
clouds = {"no baseline": [], "the mean reward": [], "the best baseline": []}
for _ in range(300 if not TESTING_MODE else 50):
    action, reward = play(logits, 30)
    for cloud, baseline in zip(
        clouds.values(), (0.0, reward.mean(), best_baseline(logits, action, reward)), strict=True
    ):
        cloud.append(PLANE @ policy_gradient(logits, action, reward, baseline))

figure, panels = plt.subplots(
    1, 3, figsize=(9, 3.1), sharex=True, sharey=True, layout="constrained"
)
spread = {}
for axes, (name, cloud) in zip(panels, clouds.items(), strict=True):
    points = torch.stack(cloud)
    spread[name] = (points - truth).norm(dim=-1).mean().item()
    axes.scatter(*points.T, s=5, color="#0072B2", alpha=0.5)
    axes.plot(*truth, "x", color="#D55E00", markersize=10, markeredgewidth=2)
    axes.set_title(f"{name}\nmean distance from the truth {spread[name]:.2f}", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].plot([], [], "x", color="#D55E00", label="true gradient")
panels[0].legend(frameon=False, loc="lower left")
show(
    figure,
    "Estimates of the same gradient. All three clouds lie around the cross; the first is much larger.",
    "Three clouds of points around a cross. Without a baseline the cloud is about nine times as "
    "wide as with the mean reward; with the best baseline it looks the same as with the mean reward.",
)

# %% [markdown]
# Without a baseline, whichever arm was played is pushed up hard, because every arm pays a lot; only the
# differences between the pushes carry information. Subtracting the mean reward leaves just these
# differences. The best baseline is hardly
# better: that is why actor-critic algorithms are content with $V(s)$, which is the mean.

# %% [markdown]
# # Data of another policy
#
# After a step the policy is a new one, and the mean over the old data estimates the wrong expectation.
# *Importance weights* repair it. For any function of the action, such as the reward,
#
# $$
# \mathbb{E}_{a \sim \pi_{\text{new}}}[r] = \sum_a \pi_{\text{old}}(a)\, \frac{\pi_{\text{new}}(a)}{\pi_{\text{old}}(a)}\, \bar{r}_a = \mathbb{E}_{a \sim \pi_{\text{old}}}[w\, r], \qquad w = \frac{\pi_{\text{new}}(a)}{\pi_{\text{old}}(a)}.
# $$
#
# This is the ratio of PPO. The price is variance: if the new policy often does what the old one rarely did,
# a few samples with huge weights decide everything. The *effective sample size*
#
# $$
# N_{\text{eff}} = \frac{\left(\sum_i w_i\right)^2}{\sum_i w_i^2}
# $$
#
# says how many samples they are worth: $N$ if all weights are equal, nearly 1 if a single one outweighs the
# others.

# %% [markdown]
# ## Exercise: importance weights
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `importance`. It gets `log_prob` and `old_log_prob`, the log-probabilities of the actions under the
# new and the old policy, and `reward`, $[N]$ each. It returns two numbers: the mean of $w\, r$, and
# $N_{\text{eff}}$.


# %% nbgrader={"grade": false, "grade_id": "gradient-importance", "locked": false, "schema_version": 3, "solution": true, "task": false}
def importance(log_prob, old_log_prob, reward):
    """
    The new policy's mean reward, estimated from data of the old one; effective sample size
    """
    ### BEGIN SOLUTION
    weight = torch.exp(log_prob - old_log_prob)
    estimate = (weight * reward).mean()
    effective_size = weight.sum() ** 2 / (weight**2).sum()
    return estimate, effective_size
    ### END SOLUTION


# %% [markdown]
# The check compares both numbers.

# %% nbgrader={"grade": true, "grade_id": "gradient-importance-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_importance(importance)
### BEGIN HIDDEN TESTS
check_importance(importance, seed=1)
check_importance(importance, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# We move the policy away from the one that collected the data, towards the third arm, and ask 300 times,
# with 100 samples each: what is its expected reward?

# %%
torch.manual_seed(2)
DIRECTION = torch.tensor([-1.0, 0.0, 1.0])
shifts = torch.linspace(0, 3, 13)
rows = []
for shift in shifts:
    new = (logits + shift * DIRECTION).log_softmax(-1)
    found = []
    for _ in range(300 if not TESTING_MODE else 20):
        action, reward = play(logits, 100)
        found.append(torch.stack(importance(new[action], logits[action], reward)))
    estimate, size = torch.stack(found).T
    rows.append([estimate.mean(), estimate.std(), size.mean(), expected_reward(new)])
mean_of_estimates, deviation, size, exact = torch.tensor(rows).T

figure, panels = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
panels[0].fill_between(
    shifts, mean_of_estimates - deviation, mean_of_estimates + deviation, color="#CFE5F3"
)
panels[0].plot(shifts, mean_of_estimates, color="#0072B2", label="estimate ± deviation")
panels[0].plot(shifts, exact, "--", color="0.2", linewidth=1, label="exact")
panels[0].set(ylabel="expected reward of the new policy")
panels[0].legend(frameon=False, loc="upper left")
panels[1].plot(shifts, size, color="#D55E00")
panels[1].set(ylabel="effective sample size (of 100)", ylim=(0, 105))
for axes in panels:
    axes.set_xlabel("how far the new policy has moved")
    axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "Right on average, and worth less and less: what 100 samples of the old policy tell about a new one.",
    "Left: the estimate follows the exact value from 12 to 14, with a band around it that widens from "
    "almost nothing to 3 in both directions. Right: the effective sample size falls from 100 to 23.",
)

# %% [markdown]
# With three arms it ends at 23 of 100, because even the old policy plays the third arm every fifth time.
# With thousands of actions, or a product of ratios over a whole episode, almost nothing would be left. So a
# ratio can only be trusted near 1, and that is the first reason for a limit.

# %% [markdown]
# # Why the minimum is a lower bound
#
# PPO maximises the mean of
#
# $$
# \min\left(r A,\ \operatorname{clip}(r, 1 - \epsilon, 1 + \epsilon)\, A\right),
# $$
#
# where $r$ is the ratio and $A$ the advantage of a sample. Why the minimum, if the clipped product alone
# has the limits already? Because a minimum of two numbers is never larger than either of them. So it is a
# *lower bound* of $r A$, sample by sample, and therefore on average: PPO never believes in more than the
# data say. The clipped product alone is no such bound. Where the policy has moved in the *wrong* direction,
# clipping would hide the damage.

# %% [markdown]
# ## Exercise: what the minimum takes away
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `clipping_gap`. It gets `ratio` and `advantage`, $[N]$ each, and `clip_range`, the $\epsilon$. It
# returns how much lower the minimum is than $r A$, for each sample, $[N]$. Before you write: for which of
# the four cases ($A$ positive or negative, $r$ large or small) do you expect a gap?


# %% nbgrader={"grade": false, "grade_id": "gradient-clipping-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clipping_gap(ratio, advantage, clip_range):
    """
    The unclipped objective minus the one with the minimum, [N]
    """
    ### BEGIN SOLUTION
    unclipped = ratio * advantage
    clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range) * advantage
    return unclipped - torch.min(unclipped, clipped)
    ### END SOLUTION


# %% [markdown]
# The check tries ratios on both sides of the range, with good and bad actions.

# %% nbgrader={"grade": true, "grade_id": "gradient-clipping-gap-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_clipping_gap(clipping_gap)
### BEGIN HIDDEN TESTS
check_clipping_gap(clipping_gap, seed=1)
check_clipping_gap(clipping_gap, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Now for the whole objective. We move the policy along a line, forwards towards the third arm and
# backwards, and draw four curves: the mean of $r A$, of the clipped product alone, of the minimum, and what
# the policy really gains.

# %%
torch.manual_seed(3)
action, reward = play(logits, 2000)
advantage = reward - expected_reward(logits)
shifts = torch.linspace(-1.5, 1.5, 61)
curves = {"$r A$": [], "clipped only": [], "minimum": [], "true gain": []}
for shift in shifts:
    new = (logits + shift * DIRECTION).log_softmax(-1)
    ratio = (new[action] - logits[action]).exp()
    unclipped = (ratio * advantage).mean()
    curves["$r A$"].append(unclipped)
    curves["clipped only"].append((ratio.clamp(0.8, 1.2) * advantage).mean())
    curves["minimum"].append(unclipped - clipping_gap(ratio, advantage, 0.2).mean())
    curves["true gain"].append(expected_reward(new) - expected_reward(logits))
curves = {name: torch.stack(curve) for name, curve in curves.items()}

figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
styles = {
    "$r A$": {"color": "#D55E00"},
    "clipped only": {"color": "#009E73", "linestyle": "-."},
    "minimum": {"color": "#0072B2", "linewidth": 2.5},
    "true gain": {"color": "0.2", "linestyle": ":"},
}
for name, curve in curves.items():
    axes.plot(shifts, curve, label=name, **styles[name])
axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
axes.set(xlabel="how far the policy has moved", ylabel="gain")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The minimum follows the lower of the two others: it stops rewarding on the right, and never "
    "hides the loss on the left.",
    "To the right of 0, r A keeps rising, the minimum and the clipped curve become flat. To the left, "
    "r A and the minimum fall together, and the clipped curve becomes flat above them.",
)

# %% [markdown]
# On the right the minimum gives no reason to go on. On the left the clipped product alone would be content;
# the minimum keeps its full slope, and leads back.
#
# Mind what it is a bound *of*: of the mean of $r A$, which is itself only an estimate. Here, without
# states, $r A$ agrees with the true gain. The next section has states, and there it does not.

# %% [markdown]
# # A trust region
#
# A walker begins at the edge of a frozen lake. Each step to the right (action 1) earns 1 and leads further
# out, where the ice is thin: the sixth step breaks it, which costs 20. Action 0 goes back one step and
# earns nothing. The walker sees nothing, so its policy is a single number: the probability $p$ of going on.
# $\gamma$ is 0.95.
#
# So far it has been careful, $p = 0.2$, and has hardly ever got far. `ice(p)` computes the truth by solving the
# Bellman equation: the value of the beginning, the (discounted) number of visits to each place, and the
# advantages $[S, A]$.


# %%
def ice(p, gamma=0.95, n=6):
    """
    Expected return J, visits [S], advantages [S, A] of a walker that goes on with probability p
    """
    lands = torch.zeros(n, 2, n)  # where an action leads to; the broken ice leads nowhere
    reward = torch.zeros(n, 2)
    for place in range(n):
        lands[place, 0, max(place - 1, 0)] = 1
        if place + 1 < n:
            lands[place, 1, place + 1] = 1
        reward[place, 1] = 1 if place + 1 < n else -20
    policy = torch.tensor([1 - p, p]).expand(n, 2)
    moves = torch.einsum("sa,sat->st", policy, lands)
    value = torch.linalg.solve(torch.eye(n) - gamma * moves, (policy * reward).sum(-1))
    advantage = reward + gamma * lands @ value - value.unsqueeze(-1)
    visits = torch.linalg.solve(torch.eye(n) - gamma * moves.T, torch.eye(n)[0])
    return value[0], visits, advantage


OLD = 0.2
old_return, visits, advantage = ice(OLD)
print("share of visits:", [f"{share:.1%}" for share in visits / visits.sum()])
print("advantage of going on:", [round(a, 1) for a in advantage[:, 1].tolist()])

# %% [markdown]
# The old data say: going on is good, in all places where we have spent 99 % of the time. What do they
# promise a new policy? The *surrogate* weighs the old advantages by the new probabilities, **in the states
# of the old policy**:
#
# $$
# \text{gain} = \sum_s d_{\text{old}}(s) \sum_a \pi_{\text{new}}(a \mid s)\, A_{\text{old}}(s, a),
# $$
#
# where $d_{\text{old}}(s)$ is the share of the visits to $s$. That is what $\mathbb{E}[r A]$ estimates. The
# distance is the divergence in the same states,
#
# $$
# \operatorname{KL} = \sum_s d_{\text{old}}(s) \sum_a \pi_{\text{old}}(a \mid s) \log \frac{\pi_{\text{old}}(a \mid s)}{\pi_{\text{new}}(a \mid s)}.
# $$

# %% [markdown]
# ## Exercise: promise and distance
#
# *Difficulty: ●●○ · about 10 minutes · useful*
#
# Write `gain_and_kl`. It gets the probabilities `old` and `new`, $[S, A]$, the shares `visits`, $[S]$,
# which add up to 1, and the old policy's `advantage`, $[S, A]$. It returns the two numbers of the formulas.


# %% nbgrader={"grade": false, "grade_id": "gradient-gain-and-kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gain_and_kl(old, new, visits, advantage):
    """
    The expected advantage of the new policy in the old one's states, and KL(old || new) there
    """
    ### BEGIN SOLUTION
    gain_by_state = (new * advantage).sum(-1)
    kl_by_state = (old * (old.log() - new.log())).sum(-1)
    gain = (visits * gain_by_state).sum()
    kl = (visits * kl_by_state).sum()
    return gain, kl
    ### END SOLUTION


# %% [markdown]
# The check has two small problems with several states.

# %% nbgrader={"grade": true, "grade_id": "gradient-gain-and-kl-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_gain_and_kl(gain_and_kl)
### BEGIN HIDDEN TESTS
check_gain_and_kl(gain_and_kl, seed=1)
check_gain_and_kl(gain_and_kl, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Promise and truth, for every $p$. (The gain is per step; times the number of visits it is a difference of
# returns.)


# %%
def table(p, n=6):
    """
    The policy as a table [S, A], the same in all places
    """
    return torch.tensor([1 - p, p]).expand(n, 2)


share = visits / visits.sum()
chances = torch.linspace(0.02, 0.98, 97)
found = [gain_and_kl(table(OLD), table(p.item()), share, advantage) for p in chances]
promise = torch.stack([visits.sum() * gain for gain, _ in found])
divergence = torch.stack([kl for _, kl in found])
true_gain = torch.stack([ice(p.item())[0] - old_return for p in chances])

figure, panels = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
near = chances[divergence <= 0.1]
for axes in panels:
    axes.axvspan(near.min(), near.max(), color="0.92", zorder=0)
    axes.axvline(OLD, color="0.6", linewidth=0.8)
    axes.set_xlabel("probability of going on")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].plot(chances, promise, color="#D55E00", label="what the surrogate promises")
panels[0].plot(chances, true_gain, color="#0072B2", label="true gain")
panels[0].legend(frameon=False, loc="lower left")
panels[0].set(ylabel="gain over the old policy")
panels[1].plot(chances, divergence, color="0.2")
panels[1].set(ylabel="KL(old ‖ new)", ylim=(0, 1))
show(
    figure,
    "Near the old policy (vertical line) promise and truth agree. Grey: where the divergence is at most 0.1.",
    "Left: the promise is a straight line that rises from -4 to 15; the true gain touches it at 0.2, "
    "has its maximum of 1.7 at 0.35 and falls to -15. Right: the divergence, a curve with its "
    "minimum 0 at 0.2.",
)

# %% [markdown]
# The promise is a straight line, the tangent of the truth. It goes on rising because it is made of the old
# visits: the new policy would get to places that the data hardly know, and where going on is a very bad
# idea. No weight and no baseline helps, since the error is not noise.
#
# TRPO's answer is a *trust region*: make the promise as large as possible, but only where the divergence is
# small. PPO's answer is the clip range, which takes away the reason to leave that region. It is simpler, but
# it is no wall: nothing keeps the divergence below a limit, which is why notebook 04 stops
# an update whose KL gets too large.

# %% [markdown]
# ## Exercise: the largest step
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# TRPO finds its step by trying. Write `line_search`. It gets
#
# - `try_step`: `try_step(size)` returns the gain and the KL of a step of this size;
# - `max_kl`, a number.
#
# It tries the sizes $1, \frac{1}{2}, \frac{1}{4}, \dots$, ten at most, and returns the first one whose gain
# is positive and whose KL is at most `max_kl`. If there is none, it returns 0.0: then the policy stays as
# it is.


# %% nbgrader={"grade": false, "grade_id": "gradient-line-search", "locked": false, "schema_version": 3, "solution": true, "task": false}
def line_search(try_step, max_kl):
    """
    The first of the sizes 1, 1/2, 1/4, ... (ten) with a gain > 0 and a KL <= max_kl; else 0.0
    """
    ### BEGIN SOLUTION
    size = 1.0
    for _ in range(10):
        gain, kl = try_step(size)
        if gain > 0 and kl <= max_kl:
            return size
        size = size / 2
    return 0.0
    ### END SOLUTION


# %% [markdown]
# In the check, steps are stopped by the KL, by the gain, by both, and by neither.

# %% nbgrader={"grade": true, "grade_id": "gradient-line-search-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_line_search(line_search)
### BEGIN HIDDEN TESTS
check_line_search(line_search, seed=1)
check_line_search(line_search, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# The walker takes ten such steps. After each of them it collects new data, so that the visits and
# advantages are those of the policy that it has become. A full step adds 6 to the logit of $p$, or
# subtracts 6 where going back is better.


# %%
def improve(max_kl, n_steps=10):
    """
    The walker's probability of going on after each step
    """
    path = [OLD]
    for _ in range(n_steps):
        p = path[-1]
        _, visits, advantage = ice(p)
        share = visits / visits.sum()
        uphill = 6 * torch.sign((share * (advantage[:, 1] - advantage[:, 0])).sum())

        def moved(size, p=p, uphill=uphill):
            return torch.sigmoid(torch.logit(torch.tensor(p)) + size * uphill).item()

        def try_step(size, p=p, share=share, advantage=advantage, moved=moved):
            return gain_and_kl(table(p), table(moved(size)), share, advantage)

        path.append(moved(line_search(try_step, max_kl)))
    return path


paths = {limit: improve(limit) for limit in (0.01, 0.1, 10.0)}
figure, axes = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
for (limit, path), colour in zip(paths.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True):
    returns = [ice(p)[0] for p in path]
    axes.plot(returns, "o-", markersize=4, color=colour, label=f"max_kl = {limit:g}")
axes.axhline(max(ice(p.item())[0] for p in chances), color="0.5", linestyle="--", linewidth=1)
axes.set(xlabel="steps", ylabel="expected return")
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The return after each step, for three sizes of the trust region; dashed: the best there is.",
    "With 0.01 the return rises from 4 and stays near the dashed line at 5.6. With 0.1 it jumps between "
    "4 and the dashed line. With 10 it jumps between 4 and -11.",
)

# %% [markdown]
# With a small region the walker climbs to the top and stays there. With a large one it goes too far, finds
# itself on thin ice, runs back to where it began, and starts again. A larger step is not a faster one.

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right
# or wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** A policy has two actions with $\pi = (0.8, 0.2)$. Action 1 was drawn. What is its score?
#
# - (a) $(-0.8, 0.8)$
# - (b) $(0, 1)$
# - (c) $(0.2, -0.2)$
# - (d) $(-0.2, 0.8)$

# %%
quiz("02b", 1, "?")

# %% [markdown]
# **Question 2.** Somebody adds 1000 to all rewards and uses no baseline. What happens to the estimate of
# the policy gradient?
#
# - (a) its mean grows by 1000, its variance stays
# - (b) its mean stays, its variance grows
# - (c) both stay
# - (d) both grow

# %%
quiz("02b", 2, "?")

# %% [markdown]
# **Question 3.** Two samples have the weights 3 and 1. What is the effective sample size?
#
# - (a) 2
# - (b) 1.6
# - (c) 1.33
# - (d) 4

# %%
quiz("02b", 3, "?")

# %% [markdown]
# **Question 4.** An action with $A = -2$ has the ratio 1.5, and $\epsilon = 0.2$. How large is its term in
# PPO's objective, and does it have a gradient?
#
# - (a) $-2.4$, and none
# - (b) $-2.4$, and it has one
# - (c) $-3$, and it has one
# - (d) $-3$, and none

# %%
quiz("02b", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcd"`.


# %% nbgrader={"grade": false, "grade_id": "gradient-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "abbc"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gradient-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_02b(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_02b(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Two tasks without a check, with what you should see:
#
# - **Self-normalised weights**: divide $\sum w r$ by $\sum w$ instead of $N$, in the picture of importance
#   weights. Expected: with these rewards, which are all above 10, the band becomes much narrower, and the
#   mean is a little off.
# - **Where does clipping stop?** Maximise the minimum on the 2000 samples by gradient ascent, with 10 and
#   with 1000 steps. Expected: it stops near the ratio 1.2 of the third arm in both cases, and a little
#   beyond it with large steps.
#
# In a graded course, what you write below earns a bonus.

# %% [markdown] nbgrader={"grade": true, "grade_id": "gradient-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

# %% [markdown]
# # PPO with a clipped objective
#
# In this notebook we write
# [Proximal Policy Optimization (PPO)](https://arxiv.org/pdf/1707.06347.pdf) with BBRL. The paper
# describes two versions; ours is the one that clips the probability ratio.
#
# When you get stuck, or want to know more:
#
# - [a video](https://www.youtube.com/watch?v=uRNL93jV2HE) explains the idea of PPO, with
#   [its slides](http://pages.isir.upmc.fr/~sigaud/teach/ps/10_ppo.pdf);
# - the [page on PPO of Spinning Up](https://spinningup.openai.com/en/latest/algorithms/ppo.html)
#   has the mathematics and pseudocode;
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   says what it takes, besides the formula, to make it work. Some of them are below.
#
# *This notebook retells the PPO notebook of the BBRL course of Sorbonne
# University (MIT licence, © Sorbonne University).*
#
# [◀ 02b](02b_policy_gradient.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [04 ▶](04_ppo_details.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - write the clipped objective of PPO, and say what each part of it is for;
# - tell which transitions still move the policy and which no longer do;
# - write one iteration of PPO, from the rollout to "old := new", and name the details that are easy to get
#   wrong;
# - judge from curves of several seeds, from maps and from a video whether an agent has learned.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | The clipped objective | ●●○ | 20 | essential |
# | Where the gradient stops | ●○○ | 10 | useful |
# | The critic's objective | ●●○ | 10 | useful |
# | The policy as a judge | ●●○ | 15 | essential |
# | One iteration of PPO | ●●● | 30 | essential |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading and watching it takes about two hours. You should know what an agent, a workspace
# and a transition are (notebook 01), and what a value and an advantage are (notebook 02).

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
import copy
import os

import matplotlib.pyplot as plt
import torch
from omegaconf import OmegaConf
from torch import nn

from ppo_bbrl import (
    Agent,
    EpisodicAlgo,
    KWAgentWrapper,
    TemporalAgent,
    build_ortho_mlp,
    copy_parameters,
    iter_partial_episodes,
    setup_optimizer,
    setup_tensorboard,
    train_seeds,
)
from ppo_bbrl.advantages import gae, lambda_returns, normalise
from ppo_bbrl.losses import clipped_surrogate
from ppo_bbrl.plots import critic_map, learning_curve, policy_map, read_metrics, workspace_grid
from ppo_course import (
    check_critic_objective,
    check_discrete_policy,
    check_is_clipped,
    check_iteration,
    check_policy_objective,
    check_quiz_03,
    quiz,
)
from ppo_course.pictures import show
from ppo_course.probes import register_probes

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The objective
#
# A policy takes actions, and afterwards we know how good they were: the *advantage* $\hat{A}_t$ of an action
# says how much better it turned out than expected (notebook 02). PPO makes good actions more probable and bad
# ones less, several times with the same data, but never by too much at once. This is the idea, and this
# section turns it into a formula. The machinery around it comes later.
#
# Let $\theta$ be the weights of the policy, and $\pi_\theta(a \mid s)$ the probability that it gives to
# an action. How does an advantage make it better? The simplest way is the *policy gradient*: climb
#
# $$
# \hat{\mathbb{E}}_t\left[\hat{A}_t \log \pi_\theta(a_t \mid s_t)\right],
# $$
#
# where $\hat{\mathbb{E}}_t$ is the mean over the collected transitions. Actions that were better than
# expected ($\hat{A}_t > 0$) become more probable, the others less. This is the actor-critic algorithm
# A2C. It is right for a single step only, because the mean has to be taken over actions of the
# *present* policy.

# %% [markdown]
# We want to learn from the same data several times. After the first step, however, the policy is
# no longer the one that collected them, and the further it moves away, the less the data tell us about it.
# PPO measures this for each action by the ratio of its probabilities,
#
# $$
# r_t(\theta) = \frac{\pi_\theta\left(a_t \mid s_t\right)}{\pi_{\theta_{\text{old}}}\left(a_t \mid s_t\right)},
# $$
#
# which is 1 where nothing has changed. (The paper writes $r_t(\theta)$; it is no reward.) With it
# comes an objective that takes away the incentive to go further than $1 \pm \epsilon$
# ([equation 7 of the paper](https://arxiv.org/pdf/1707.06347.pdf)):
#
# $$
# L^{CLIP}(\theta) = \hat{\mathbb{E}}_t\left[\min\left(r_t(\theta) \hat{A}_t,\ \operatorname{clip}\left(r_t(\theta), 1-\epsilon, 1+\epsilon\right) \hat{A}_t\right)\right]
# $$
#
# The minimum makes this one-sided. A good action ($\hat{A}_t > 0$) gains nothing from becoming
# more than $1+\epsilon$ times as probable, a bad one ($\hat{A}_t < 0$) nothing from becoming less than
# $1-\epsilon$ times as probable; but a step in the wrong direction is never clipped, so that it can be undone. (Notebook [02b](02b_policy_gradient.ipynb)
# computes why it is a ratio, and why a minimum.)

# %% [markdown]
# A picture says it better (after figure 1 of the paper). We ask the package for the objective of
# single transitions, whose ratio goes from 0 to 2, once with a good and once with a bad action.
# Dotted is what the objective would be without clipping.

# %%
ratios, epsilon = torch.linspace(0.01, 2, 200), 0.2
figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axes, advantage, name in zip(panels, (1.0, -1.0), ("good", "bad"), strict=True):
    objective = [
        -clipped_surrogate(
            log_prob=ratio.log(),
            old_log_prob=torch.tensor(0.0),
            advantage=torch.tensor(advantage),
            clip_range=epsilon,
        )[0]
        for ratio in ratios
    ]
    axes.axvspan(1 - epsilon, 1 + epsilon, color="0.93")
    axes.plot(ratios, advantage * ratios, ":", color="0.4", label="without clipping")
    axes.plot(ratios, objective, color="#0072B2", linewidth=2, label="$L^{CLIP}$")
    axes.plot(1, advantage, "o", color="#D55E00", label="before the first step")
    axes.set(title=f"a {name} action, $\\hat{{A}} = {advantage:.0f}$", xlabel="ratio $r$")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("objective of one transition")
panels[0].legend(frameon=False)
show(
    figure,
    "The objective of one transition: clipped (blue), and without clipping (dotted).",
    "Two panels over the ratio, from 0 to 2, with a grey band from 0.8 to 1.2. For a good action "
    "the objective rises, and is flat from 1.2 on. For a bad one it is flat up to 0.8, and falls "
    "from there.",
)

# %% [markdown]
# ## Exercise: the clipped objective
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `policy_objective`. It gets
#
# - `policy`, the policy that we optimise, an agent: `policy(workspace, t=0, predict_proba=True,
#   compute_entropy=True)` makes it judge the actions that are there instead of taking new ones. It then
#   writes two variables, `logprob_predict` and `entropy`, with its own prefix before them:
#   `f"{policy.prefix}logprob_predict"`. (You write this half of the policy yourself, further down);
# - `workspace`, a minibatch of $N$ transitions: one row, $t = 0$, with `env/env_obs`, `action`,
#   `advantage` and `old_policy/logprob_predict`. So `workspace["advantage"]` has shape $[1, N]$, and
#   `workspace["advantage", "action"]` gives two tensors at once;
# - `cfg`, the configuration: $\epsilon$ is `cfg.algorithm.clip_range`.
#
# It returns three things:
#
# - `policy_loss`, the objective $L^{CLIP}$, a scalar. It is to be *maximised*, as in the paper: the
#   iteration further down puts the minus in front of it;
# - `entropy`, the entropy of the policy for each transition, $[1, N]$, as the policy wrote it;
# - `policy_advantage`, the advantage from the workspace, $[1, N]$.
#
# The gradient must reach the current policy, and nothing else. The old log-probabilities and the
# advantages are constants of this objective; `.detach()` makes sure of that, wherever they come
# from.
#
# Useful functions:
#
# - [torch.clamp](https://pytorch.org/docs/stable/generated/torch.clamp.html) computes
#   $\min(\max(x_i, m), M)$, where $m$ and $M$ are a lower and an upper bound;
# - [torch.min](https://pytorch.org/docs/stable/generated/torch.min.html) of two tensors takes the
#   smaller number in each place;
# - [torch.exp](https://pytorch.org/docs/stable/generated/torch.exp.html): the workspace holds the
#   *logarithms* of the probabilities.
#
# <details>
# <summary>A hint</summary>
#
# Five steps, about a line each:
#
# 1. Run the policy on row 0 of the workspace. It must not take new actions, but say how probable
#    the old ones are, and how large its entropy is.
# 2. Read four variables from the workspace: the two log-probabilities, the advantage, the entropy.
# 3. A ratio of two probabilities is the exponential of the difference of their logarithms.
# 4. Multiply the ratio by the advantage; then the clamped ratio by the advantage.
# 5. The smaller of the two for each transition, then the mean over the transitions.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-policy-objective", "locked": false, "schema_version": 3, "solution": true, "task": false}
def policy_objective(policy, workspace, cfg):
    """
    The clipped objective of PPO on a minibatch, to be maximised.
    Returns policy_loss (a scalar), entropy [1, N], policy_advantage [1, N]
    """
    # Compute the log-probability of the actions in the workspace according to the
    # policy: we do not act again, hence predict_proba=True. The policy is not
    # wrapped into a TemporalAgent, as there is a single row, t=0
    # Compute the ratio of the probabilities
    # Compute the objective, with cfg.algorithm.clip_range and torch.clamp
    ### BEGIN SOLUTION
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    log_prob, old_log_prob, policy_advantage, entropy = workspace[
        f"{policy.prefix}logprob_predict",
        "old_policy/logprob_predict",
        "advantage",
        f"{policy.prefix}entropy",
    ]
    advantage = policy_advantage.detach()

    ratio = torch.exp(log_prob - old_log_prob.detach())
    clip_range = cfg.algorithm.clip_range
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    policy_loss = torch.min(ratio * advantage, clipped_ratio * advantage).mean()
    return policy_loss, entropy, policy_advantage
    ### END SOLUTION


# %% [markdown]
# The next cell tries your function on a few transitions that one can compute by hand. If something
# is wrong, it says what it saw, what it expected, and where to look.

# %% nbgrader={"grade": true, "grade_id": "ppo-clip-policy-objective-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_policy_objective(policy_objective)
### BEGIN HIDDEN TESTS
check_policy_objective(policy_objective, seed=1)
check_policy_objective(policy_objective, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: where the gradient stops
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Where the blue line of the picture is flat, a transition no longer moves the policy: its gradient
# is 0. Which transitions of a minibatch lie there? Write `is_clipped`. It gets
#
# - `ratio`, the ratios $r$ of $N$ transitions, $[N]$;
# - `advantage`, their advantages, $[N]$;
# - `clip_range`, $\epsilon$, a number.
#
# It returns a mask: a Boolean tensor, $[N]$, `True` where the gradient is 0. What you answer
# exactly at the edge of the range, or for an advantage of 0, does not matter.
#
# Useful: comparisons of tensors give masks, as in `advantage > 0`. Masks are combined by `&` (and)
# and `|` (or), with each comparison in parentheses;
# [torch.where](https://pytorch.org/docs/stable/generated/torch.where.html) chooses between two.
#
# <details>
# <summary>A hint</summary>
#
# The minimum takes the clipped product exactly where it is the smaller one. Or read the picture:
# one case for good actions, one for bad ones.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-is-clipped", "locked": false, "schema_version": 3, "solution": true, "task": false}
def is_clipped(ratio, advantage, clip_range):
    """
    Which transitions have no gradient in the clipped objective: a mask [N]
    """
    ### BEGIN SOLUTION
    good = (advantage > 0) & (ratio > 1 + clip_range)
    bad = (advantage < 0) & (ratio < 1 - clip_range)
    return good | bad
    ### END SOLUTION


# %% [markdown]
# The check tries ratios inside and outside of the range, with both signs of the advantage.

# %% nbgrader={"grade": true, "grade_id": "ppo-clip-is-clipped-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_is_clipped(is_clipped)
### BEGIN HIDDEN TESTS
check_is_clipped(is_clipped, seed=1)
check_is_clipped(is_clipped, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Implementations often log a *clip fraction*, the share of all ratios outside the range. It counts
# those that went the wrong way as well. The iteration further down logs yours, as `clipped`.

# %% [markdown]
# # The objective of the critic
#
# The critic has a simpler task: its values should come close to targets, here to the λ-returns
# $\hat{A}_t + V_{\text{old}}(s_t)$ (notebook 02). The error is squared, and its mean is *minimised*.
#
# PPO2 clips it as well (if `clip_range_vf` > 0): the value may not gain anything from moving further from
# the old value than that. Of the two squared errors, with the value and with the clipped one, the larger
# counts. The clipped error alone would have no gradient as soon as a value has left the range, even in the
# wrong direction.
#
# ## Exercise: the critic's objective
#
# *Difficulty: ●●○ · about 10 minutes · useful*
#
# Write `critic_objective`. It gets
#
# - `critic`, an agent: `critic(workspace, t=0)` writes the values as they are now, `critic/v_values`;
# - `workspace`, a minibatch of $N$ transitions as above: one row with `env/env_obs`,
#   `old_critic/v_values` and `critic_target`;
# - `cfg`: the range is `cfg.algorithm.clip_range_vf`, where 0 or less means not at all, and the weight
#   of the loss `cfg.algorithm.critic_coef`.
#
# It returns `critic_coef` times the mean of the squared errors, a scalar. With a range $\epsilon_V > 0$, the
# clipped value is $V_{\text{old}} + \operatorname{clip}(V - V_{\text{old}}, -\epsilon_V, \epsilon_V)$.


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-critic-objective", "locked": false, "schema_version": 3, "solution": true, "task": false}
def critic_objective(critic, workspace, cfg):
    """
    The mean squared error of the critic on a minibatch, to be minimised: a scalar
    """
    ### BEGIN SOLUTION
    critic(workspace, t=0)
    value, old_value, target = workspace["critic/v_values", "old_critic/v_values", "critic_target"]
    error = (value - target) ** 2

    if cfg.algorithm.clip_range_vf > 0:
        # Clip the difference between old and new values
        # NOTE: this depends on the scale of the rewards
        clipped_value = old_value + torch.clamp(
            value - old_value, -cfg.algorithm.clip_range_vf, cfg.algorithm.clip_range_vf
        )
        error = torch.max(error, (clipped_value - target) ** 2)

    return cfg.algorithm.critic_coef * error.mean()
    ### END SOLUTION


# %% [markdown]
# The check has values that moved a little and a lot, towards their targets and away from them, with and
# without a range.

# %% nbgrader={"grade": true, "grade_id": "ppo-clip-critic-objective-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_critic_objective(critic_objective)
### BEGIN HIDDEN TESTS
check_critic_objective(critic_objective, seed=1)
check_critic_objective(critic_objective, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The policy as a judge
#
# `DiscretePolicy` draws one of a few actions. PPO asks one more thing of it: the probability of an
# action that *was* taken, under the policy as it is *now*. With `predict_proba=True` the policy takes no
# action; it reads the one in the workspace and writes its log-probability, `logprob_predict`. With
# `compute_entropy=True` it writes `entropy` as well.
#
# Both come from `log_softmax`. Taking the `softmax` first and the logarithm afterwards is the same
# on paper, but a probability as small as $10^{-50}$ is rounded to 0, and its logarithm is $-\infty$.
#
# ## Exercise: the policy as a judge
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# The half that acts is there. Fill in the other one, in row `t`:
#
# - with `predict_proba=True`: read the action that is there, pick its entry of `log_probs`, $[N, \text{actions}]$,
#   and write it as `logprob_predict`, $[N]$, with the prefix before the name;
# - with `compute_entropy=True`: write the entropy $-\sum_a \pi(a \mid s) \log \pi(a \mid s)$ of each state, $[N]$, as
#   `entropy`, with the prefix as well.
#
# Useful: [gather](https://pytorch.org/docs/stable/generated/torch.gather.html) picks an entry of each row; its
# index has as many dimensions as what it picks from. `self.get(("name", t))` reads row `t`, and
# `self.set(("name", t), value)` writes it.
#
# <details>
# <summary>A hint</summary>
#
# `log_probs.gather(-1, index)` wants an index $[N, 1]$, which `action.unsqueeze(-1)` is, and gives $[N, 1]$,
# from which `.squeeze(-1)` makes $[N]$.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-policy", "locked": false, "schema_version": 3, "solution": true, "task": false}
class DiscretePolicy(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp([state_dim, *hidden_size, n_actions], activation=nn.ReLU())

    def dist(self, obs):
        """π(·|s), for the maps at the end of this notebook"""
        return torch.distributions.Categorical(logits=self.model(obs))

    def forward(
        self,
        t,
        *,
        stochastic=True,
        predict_proba=False,
        compute_entropy=False,
        **kwargs,
    ):
        """
        Choose an action for row t of the workspace, or compute the log-probability
        of the action that is there (predict_proba)
        """
        observation = self.get(("env/env_obs", t))
        scores = self.model(observation)
        log_probs = torch.log_softmax(scores, dim=-1)

        if predict_proba:
            ### BEGIN SOLUTION
            action = self.get(("action", t))
            action_log_probs = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
            self.set((f"{self.prefix}logprob_predict", t), action_log_probs)
            ### END SOLUTION
        else:
            if stochastic:
                action = torch.distributions.Categorical(logits=scores).sample()
            else:
                action = scores.argmax(-1)
            self.set(("action", t), action)

        if compute_entropy:
            ### BEGIN SOLUTION
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            self.set((f"{self.prefix}entropy", t), entropy)
            ### END SOLUTION


# %% [markdown]
# The check asks your policy about actions that somebody else took, and lets it act as before.

# %% nbgrader={"grade": true, "grade_id": "ppo-clip-policy-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_discrete_policy(DiscretePolicy)
### BEGIN HIDDEN TESTS
check_discrete_policy(DiscretePolicy, seed=1)
check_discrete_policy(DiscretePolicy, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The frame
#
# ## Configuration
#
# A configuration says what is run. Besides what the package needs it may hold whatever else you
# like: `OmegaConf.create(params)` makes it, and then `cfg.algorithm.n_envs` is 8. In each *iteration*
# we collect `n_envs` × `n_steps` = 256 transitions and learn from them. 300 iterations, about 76,000
# steps, are enough for CartPole; they take about 15 seconds of processor time. To go on for much longer,
# and see whether the policy stays good, set `max_epochs`, the number of iterations, to 5,000.

# %% tags=["definitions"]
params = {
    # The folder of the run, below outputs/. ${...} refers to another key, and
    # ${current_time:} is the moment at which the run starts
    "base_dir": "${gym_env.env_name}/ppo-clip-S${algorithm.seed}_${current_time:}",
    "save_best": False,
    "logger": {
        "classname": "bbrl.utils.logger.TFLogger",
        "cache_size": 10000,
        "every_n_seconds": 10,
        "verbose": False,
    },
    "gym_env": {
        "env_name": "CartPole-v1",
    },
    "algorithm": {
        # Where every random number of the run comes from: the same seed, the same run
        "seed": 12,
        # Iterations: how many times we collect and learn
        "max_epochs": 300 if not TESTING_MODE else 20,
        # Environments side by side, and transitions that we collect in each of them
        "n_envs": 8,
        "n_steps": 32,
        # At least so many steps between two evaluations, each of so many episodes
        "eval_interval": 2000,
        "nb_evals": 10,
        # The advantages: γ, and λ of generalised advantage estimation
        "discount_factor": 0.98,
        "gae": 0.8,
        # Whether to shift and scale the advantages to mean 0 and deviation 1 (notebook 04)
        "normalize_advantage": False,
        # The updates: how often an iteration goes through its transitions, and how many of
        # them take part in a step: here all at once
        "opt_epochs": 10,
        "batch_size": 256,
        # ε of the clipped objective; the same for the critic, where 0 means not at all
        "clip_range": 0.2,
        "clip_range_vf": 0,
        # The weights of the losses. The entropy is how undecided the policy is: log 2 for a
        # coin, 0 for one that knows what it will do. Its bonus is all but switched off here
        "entropy_coef": 2e-7,
        "policy_coef": 1,
        "critic_coef": 1.0,
        # A longer gradient is shortened to this length
        "max_grad_norm": 0.5,
        "architecture": {
            "actor_hidden_size": [64, 64],
            "critic_hidden_size": [64, 64],
        },
    },
    "optimizer": {
        "classname": "torch.optim.AdamW",
        "lr": 1e-3,
        "eps": 1e-5,
    },
}

# %% [markdown]
# ## The algorithm around the loop
#
# `EpisodicAlgo` holds what an algorithm on episodes needs around its loop. A subclass adds
# `train_policy`, which acts while we collect, and `eval_policy`, which acts while we evaluate. Both
# are BBRL agents: they read the observation from the workspace and write `action` into it. Of an
# `algo` we use
#
# - `algo.cfg`, the configuration, and `algo.nb_steps`, the environment steps so far;
# - `algo.logger.add_log("critic_loss", critic_loss, algo.nb_steps)`: a number for TensorBoard;
# - `algo.evaluate()`, which evaluates `eval_policy` when it is time to, and keeps a copy of the best
#   one so far (by its mean return); `algo.visualize_best()` shows a video of it;
# - `iter_partial_episodes(algo, n_rows)`: in `for workspace in …`, each workspace holds tensors
#   `[n_rows, n_envs, …]` under names such as `env/env_obs`, `action` and `env/reward`.

# %% [markdown]
# # The critic, and the algorithm
#
# ## The critic
#
# PPO learns a value function $V(s)$ beside the policy, as other actor-critic algorithms do. The
# agent `VAgent` reads an observation and writes its value. `build_ortho_mlp` makes a network of such
# layer sizes, initialised as is usual for PPO. `self.prefix` comes before what the agent writes:
# `critic/v_values`.


# %% tags=["definitions"]
class VAgent(Agent):
    def __init__(self, state_dim, hidden_layers, name="critic"):
        super().__init__(name)
        self.is_q_function = False  # as BBRL asks: it judges states, not actions
        self.model = build_ortho_mlp([state_dim, *hidden_layers, 1], activation=nn.ReLU())

    def forward(self, t, **kwargs):
        observation = self.get(("env/env_obs", t))
        critic = self.model(observation).squeeze(-1)
        self.set((f"{self.prefix}v_values", t), critic)


# %% [markdown]
# ## The PPO agent
#
# `PPOClip` has one policy and one critic, and an *old* version of each: the weights that collected
# the last data. What the two policies write must not collide in the workspace, hence the prefixes:
# the log-probabilities are `current_policy/logprob_predict` and `old_policy/logprob_predict`.
#
# We evaluate the greedy policy, which takes the most probable action: `KWAgentWrapper` calls the same
# policy, always with `stochastic=False`. `setup_optimizer` makes the optimiser of the configuration.


# %% tags=["definitions"]
class PPOClip(EpisodicAlgo):
    def __init__(self, cfg):
        super().__init__(cfg, autoreset=True)
        obs_size, act_size = self.train_env.get_obs_and_actions_sizes()
        architecture = self.cfg.algorithm.architecture

        self.train_policy = DiscretePolicy(
            obs_size, architecture.actor_hidden_size, act_size
        ).with_prefix("current_policy/")
        self.eval_policy = KWAgentWrapper(
            self.train_policy,
            stochastic=False,
            predict_proba=False,
            compute_entropy=False,
        )
        self.critic_agent = VAgent(obs_size, architecture.critic_hidden_size).with_prefix("critic/")

        self.old_policy = copy.deepcopy(self.train_policy).with_prefix("old_policy/")
        self.old_critic_agent = copy.deepcopy(self.critic_agent).with_prefix("old_critic/")

        self.policy_optimizer = setup_optimizer(self.cfg.optimizer, self.train_policy)
        self.critic_optimizer = setup_optimizer(self.cfg.optimizer, self.critic_agent)


# %% [markdown]
# ## What a workspace looks like
#
# Row $t$ of a workspace holds the observation $s_t$, the action $a_t$ taken in it, and the reward
# that came *with* $s_t$: the reward of $a_t$ is in row $t+1$. With `autoreset=True` an environment
# whose episode has ended starts a new one in the following row. Between these two rows nothing was
# decided, so they are not a transition.
#
# We collect a few rows with a policy that has learned nothing, and draw them: a column for each
# environment, time downwards. The numbers are the time in the running episode. We leave out the first
# ten rows, so that row 0 of the picture is row 10 of the workspace. Find the row of an episode's end,
# and the hatched step after it.

# %%
small = OmegaConf.merge(params, {"algorithm": {"n_envs": 6}})
workspace = next(iter_partial_episodes(PPOClip(small), 24))

# %%
show(
    workspace_grid(workspace.subtime(10, 24), "env/timestep", title="time in the episode"),
    "Some rows of a rollout, with the time in the running episode.",
    "A grid of 14 rows and 6 columns. In each column the numbers count up; after the end of an "
    "episode, which has a coloured border, they begin again with 0.",
)

# %% [markdown]
# # Minibatches
#
# In an *epoch* we go through the collected transitions in minibatches; an iteration has `opt_epochs`
# of them. Each transition should be used, and used once, in each: this is one of the 37 details. A quicker
# way that one often sees is to draw each minibatch at random from all transitions, *with*
# replacement. How much does an epoch then miss?

# %%
n_transitions, n_epochs = 256, 1000
times_used = torch.stack(
    [
        torch.randint(n_transitions, (n_transitions,)).bincount(minlength=n_transitions)
        for _ in range(n_epochs)
    ]
)
shares = [(times_used == times).float().mean() for times in range(6)]

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
places = [times - 0.2 for times in range(6)]
axes.bar(places, shares, width=0.4, color="#D55E00", label="drawn with replacement")
axes.bar(1.2, 1.0, width=0.4, color="#0072B2", label="shuffled, then cut into minibatches")
axes.set(xlabel="times a transition is used in an epoch", ylabel="share of the transitions")
axes.legend(frameon=False)
show(
    figure,
    "How often a transition is used in an epoch, drawn with replacement or shuffled.",
    "Bars over 0 to 5 uses. Shuffled, all transitions are used once. Drawn with replacement, 37 % "
    "are never used, 37 % once, and the rest more often.",
)
print(f"Drawn with replacement, {shares[0]:.1%} of the transitions are not seen in an epoch.")

# %% [markdown]
# It is about $1/e$: more than a third of the data that we paid for. So we shuffle the transitions
# and cut them into minibatches instead. (With the configuration above, one minibatch holds them all;
# try a `batch_size` of 64.)


# %% tags=["definitions"]
def minibatches(transitions, batch_size):
    """Workspaces with at most batch_size transitions; each transition is in one of them"""
    n_transitions = transitions.batch_size()
    shuffled = torch.randperm(n_transitions)
    # batch_size 0 means everything at once
    for index in shuffled.split(batch_size or n_transitions):
        yield transitions.select_batch(index)


# %% [markdown]
# # One iteration of PPO
#
# Everything is on the table: the rollout in its workspace, two networks with their old versions, two
# objectives and minibatches. One iteration puts them together:
#
# | | What | Where it ends up |
# |---|---|---|
# | 1 | the old policy judges the actions of the rollout, the old critic its observations | `old_policy/logprob_predict`, `old_critic/v_values`, all rows |
# | 2 | GAE of the transitions, with both masks | `advantage` |
# | 3 | the targets: advantage + old value | `critic_target` |
# | 4 | `opt_epochs` times: minibatches, and in each of them a step of the policy and one of the critic | the weights |
# | 5 | old := new | the old agents |
#
# Some details are easy to get wrong:
#
# - **Rows and transitions.** A transition leads from a row to the next one, so that 32 transitions
#   have 33 rows. `run` asks for `n_steps + 1` rows and we run the agents on all of them, so that
#   `n_steps` counts transitions, as it does in the package and in most published settings.
# - **Two masks.** `terminated` says that nothing comes after: there is no next value to add. `done`
#   says that the episode is over, for this reason or because its time is up (`truncated`): what the next
#   rows hold belongs to another episode. `gae` needs both.
# - **No transition between two episodes.** From the last row of an episode to the first of the next
#   one nothing was decided; `get_transitions()` leaves these pairs of rows out, and so neither the
#   policy nor the critic learns from them.
# - **The critic learns as often as the policy**, in each minibatch.
#
# Your function reports what it does through this one, which writes to TensorBoard. It comes after the two
# steps of a
# minibatch.


# %% tags=["definitions"]
def log_step(ppo_clip, sample_workspace, policy_loss, entropy, policy_advantage, critic_loss):
    """Log the numbers of a minibatch; values of the same step are averaged"""
    step, eps = ppo_clip.nb_steps, ppo_clip.cfg.algorithm.clip_range
    ppo_clip.logger.log_losses(critic_loss, entropy[0].mean(), policy_loss, step)
    ppo_clip.logger.add_log("advantage", policy_advantage[0].mean(), step)
    log_prob, old_log_prob = sample_workspace[
        "current_policy/logprob_predict", "old_policy/logprob_predict"
    ]
    ratio = torch.exp(log_prob - old_log_prob)[0].detach()
    clipped = is_clipped(ratio, policy_advantage[0], eps)
    ppo_clip.logger.add_log("clipped", clipped.float().mean(), step)


# %% [markdown]
# ## Exercise: one iteration of PPO
#
# *Difficulty: ●●● · about 30 minutes · essential*
#
# Write `iteration`. It gets `ppo_clip`, with its four agents and two optimisers as in `PPOClip` above, and
# `workspace`, the rollout. It returns nothing: what it leaves behind are better weights. Use what is there:
#
# - `TemporalAgent(agent)(workspace, t=0, n_steps=n_rows, …)` runs an agent on the first `n_rows` rows. It passes
#   further arguments on, such as `predict_proba=True`. The old agents are run under `torch.no_grad()`;
# - `gae(reward=…, value=…, next_value=…, terminated=…, done=…, discount_factor=…, gae_lambda=…)`, all $[T, B]$,
#   and `lambda_returns(advantage=…, value=…)`. $\gamma$ and $\lambda$ are `discount_factor` and `gae` in
#   `ppo_clip.cfg.algorithm`;
# - `workspace.set_full(name, tensor)` writes a whole variable, $[T + 1, B]$. No transition starts in the last row:
#   it gets zeros;
# - `workspace.get_transitions().subtime(0, 1)`: the $N$ transitions side by side, $[1, N]$, with all variables;
# - `minibatches(transitions, batch_size)`, your `policy_objective` and `critic_objective`, and `normalise(x)`, which
#   is applied to the `advantage` of a minibatch if `normalize_advantage` says so: read it with
#   `sample_workspace.get("advantage", 0)` and write it back with `sample_workspace.set("advantage", 0, …)`;
# - the loss of the policy is $-$`policy_coef` $\cdot L^{CLIP} -$ `entropy_coef` $\cdot$ mean entropy. The loss of the critic
#   is complete;
# - each step: `zero_grad()`, `backward()`, `torch.nn.utils.clip_grad_norm_(agent.parameters(), max_grad_norm)`, `step()`;
# - `log_step(ppo_clip, sample_workspace, policy_loss, entropy, policy_advantage, critic_loss)`;
# - `copy_parameters(new, old)` copies weights.
#
# <details>
# <summary>A hint: rows and transitions</summary>
#
# With all variables $[T + 1, B]$: rewards, next values and masks are `[1:]`, values `[:-1]`. A row of zeros is
# `torch.zeros_like(advantage[:1])`, and `torch.cat` puts it below.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-iteration", "locked": false, "schema_version": 3, "solution": true, "task": false}
def iteration(ppo_clip, workspace):
    """
    Learn from a rollout of n_steps + 1 rows, then let the old agents be the new ones
    """
    # 1. What the old policy and the old critic say about the rollout
    # 2. The advantages, from rewards, values and both masks
    # 3. The targets of the critic; both into the workspace
    # 4. Epochs of minibatches: two objectives, two steps
    # 5. old := new
    ### BEGIN SOLUTION
    cfg = ppo_clip.cfg
    n_rows = cfg.algorithm.n_steps + 1

    # The actions come from the current policy, which is still the same as the old one: it will
    # change below. The old policy does not act, it writes how probable it finds the actions
    with torch.no_grad():
        TemporalAgent(ppo_clip.old_policy)(workspace, t=0, n_steps=n_rows, predict_proba=True)
        TemporalAgent(ppo_clip.old_critic_agent)(workspace, t=0, n_steps=n_rows)

    reward, terminated, done, old_value = workspace[
        "env/reward", "env/terminated", "env/done", "old_critic/v_values"
    ]

    # Transition t leads from row t to row t+1, where its reward is
    advantage = gae(
        reward=reward[1:],
        value=old_value[:-1],
        next_value=old_value[1:],
        terminated=terminated[1:],
        done=done[1:],
        discount_factor=cfg.algorithm.discount_factor,
        gae_lambda=cfg.algorithm.gae,
    )
    critic_target = lambda_returns(advantage=advantage, value=old_value[:-1])

    # No transition starts in the last row, which gets zeros
    zeros = torch.zeros_like(advantage[:1])
    workspace.set_full("advantage", torch.cat((advantage, zeros)))
    workspace.set_full("critic_target", torch.cat((critic_target, zeros)))

    # The transitions side by side, [2, N, ...]; we need their first row
    transitions = workspace.get_transitions().subtime(0, 1)

    for _ in range(cfg.algorithm.opt_epochs):
        for sample_workspace in minibatches(transitions, cfg.algorithm.batch_size):
            if cfg.algorithm.normalize_advantage:
                advantage = sample_workspace.get("advantage", 0)
                sample_workspace.set("advantage", 0, normalise(advantage))

            # --- The policy

            policy_loss, entropy, policy_advantage = policy_objective(
                ppo_clip.train_policy, sample_workspace, cfg
            )
            # A bonus on the entropy can keep the policy exploring. It is no part of the
            # clipped objective; entropy_coef=0 switches it off
            loss_policy = -cfg.algorithm.policy_coef * policy_loss
            loss_entropy = -cfg.algorithm.entropy_coef * entropy[0].mean()
            loss = loss_policy + loss_entropy
            ppo_clip.policy_optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(
                ppo_clip.train_policy.parameters(), cfg.algorithm.max_grad_norm
            )
            ppo_clip.policy_optimizer.step()

            # --- The critic

            critic_loss = critic_objective(ppo_clip.critic_agent, sample_workspace, cfg)
            ppo_clip.critic_optimizer.zero_grad()
            critic_loss.backward()
            torch.nn.utils.clip_grad_norm_(
                ppo_clip.critic_agent.parameters(), cfg.algorithm.max_grad_norm
            )
            ppo_clip.critic_optimizer.step()

            log_step(
                ppo_clip, sample_workspace, policy_loss, entropy, policy_advantage, critic_loss
            )

    # From now on, what has been learned is the old policy and the old critic
    copy_parameters(ppo_clip.train_policy, ppo_clip.old_policy)
    copy_parameters(ppo_clip.critic_agent, ppo_clip.old_critic_agent)
    ### END SOLUTION


# %% [markdown]
# The check watches your function learn from a made-up rollout that has every kind of end. It asks whether the
# ratio is 1 before the first step, whether every transition is used once an epoch, whether the gradient of each
# step is the right one and stays in its network, and whether old is new in the end. (Notebook 10 builds such
# instruments.) While it does, the right objectives stand in for yours, so that no mistake is reported twice.

# %% nbgrader={"grade": true, "grade_id": "ppo-clip-iteration-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check_iteration(iteration)
### BEGIN HIDDEN TESTS
check_iteration(iteration, seed=1)
check_iteration(iteration, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The loop
#
# Collect, learn, evaluate; again and again.


# %% tags=["definitions"]
def run(ppo_clip: PPOClip):
    n_rows = ppo_clip.cfg.algorithm.n_steps + 1
    for train_workspace in iter_partial_episodes(ppo_clip, n_rows):
        iteration(ppo_clip, train_workspace)
        # Evaluate, if it is time to
        ppo_clip.evaluate()


# %% [markdown]
# Before CartPole, an environment whose answer is known. In `TruncatedOnly`, each step earns 1, and after eight
# steps the time is up, which is no real end: with $\gamma = 0.9$ every state is worth $1 / (1 - \gamma) = 10$. A critic
# that says 5.7 takes the time limit for an end; much less than 10 may be a GAE that runs on into the next episode.

# %%
register_probes()
probe = OmegaConf.merge(
    params,
    {
        "gym_env": {"env_name": "TruncatedOnly-v0"},
        "algorithm": {"discount_factor": 0.9, "max_epochs": 20, "eval_interval": 100_000},
        "optimizer": {"lr": 1e-2},
    },
)
on_probe = PPOClip(probe)
run(on_probe)
with torch.no_grad():
    value = on_probe.critic_agent.model(torch.ones(1)).item()
print(f"The critic says {value:.2f}; the truth is 10.")

# %% [markdown]
# # Watching it learn
#
# TensorBoard draws the curves while the run goes on. On Colab it opens below the next cell;
# elsewhere the cell prints the command that starts it in a terminal.

# %%
setup_tensorboard("./outputs/tblogs")

# %% [markdown]
# The line below the next cell counts the steps, and shows the return of the last evaluation and of
# the best one. A policy that acts at random gets about 20; 500 is the most that is possible.

# %%
ppo_clip = PPOClip(OmegaConf.create(params))
run(ppo_clip)
print(f"Best evaluation: {ppo_clip.best_reward:.1f}")

# %% [markdown]
# The same numbers are in the folder of the run, `ppo_clip.base_dir`, so that we can draw them where
# there is no TensorBoard, too. The entropy starts at $\log 2 \approx 0.69$, that of a coin, and falls,
# with ups and downs, while the policy makes up its mind. Once all episodes reach 500, every advantage
# is close to 0: there is little left to learn, and the entropy drifts. The clipping is at work: a few
# percent of each update's transitions are clipped, late in the run as well, as AdamW divides by the
# size of the gradients: small ones make steps that are just as long. A late peak in the critic's loss
# is a single episode that failed when the critic expected the best.

# %%
metrics = read_metrics(ppo_clip.base_dir)
titles = {
    "reward/mean": "return of the evaluations",
    "entropy_loss": "entropy of the policy (nats)",
    "critic_loss": "loss of the critic",
    "clipped": "share of clipped transitions",
}
figure, panels = plt.subplots(2, 2, figsize=(8, 4.5), sharex=True, layout="constrained")
for axes, (name, title) in zip(panels.flat, titles.items(), strict=True):
    curve = metrics[["steps", name]].dropna()
    axes.plot(curve["steps"] / 1000, curve[name], color="#0072B2", linewidth=1)
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
for axes in panels[1]:
    axes.set_xlabel("environment steps (thousands)")
show(
    figure,
    "Four metrics of the run.",
    "Four curves over the steps. The return of the evaluations rises to 500, with setbacks on the "
    "way; the entropy falls from 0.69 to about 0.4, with ups and downs, and rises again late in the "
    "run; the loss of the critic has its peaks in the first half, and a single one late; mostly a "
    "few percent of the transitions are clipped, now and then a quarter.",
)

# %% [markdown]
# # Was it luck?
#
# One run proves little: weights, actions and environments are random, and another seed gives
# another curve. We run the same with two more seeds, which takes twice as long, and draw the mean of all
# three with a 95 % interval of the mean, by resampling the seeds. With three of them the band simply
# reaches from the worst to the best; a paper should show ten or more.

# %%
runs = [ppo_clip.base_dir]
for seed in (13, 14):
    other = PPOClip(OmegaConf.merge(params, {"algorithm": {"seed": seed}}))
    run(other)
    runs.append(other.base_dir)
    print(f"Seed {seed}, best evaluation: {other.best_reward:.1f}")

# %%
show(
    learning_curve(runs),
    "The mean return of your three runs, with its 95 % interval, and each run.",
    "Three thin lines over the steps, and their mean in a band. All rise from about 20 to 500, at "
    "different times and with setbacks, where the band is wide, and stay there in the end.",
)

# %% [markdown]
# Your functions live in this notebook, so these runs had to wait for one another. The package's own
# `PPOClip` can be sent to other processes: `train_seeds` trains it with many seeds, one on each core.
# Six seeds with the same `params` take about 90 seconds of processor time, so half of that on two idle
# cores. Of each run, the last policy and the best one play 20 new episodes; what is printed is the
# interquartile mean over the seeds, the mean of the middle half (notebook 04).

# %%
report = train_seeds(params, seeds=6 if not TESTING_MODE else 1)
print(f"Last policies: {report.last}")
print(f"Best policies: {report.best}")

# %%
figure = report.figure()
(axes,) = figure.axes
for folder in runs:
    curve = read_metrics(folder)[["steps", "reward/mean"]].dropna()
    (yours,) = axes.plot(curve["steps"], curve["reward/mean"], color="#D55E00", linewidth=1)
yours.set_label("each of yours")
axes.legend(framealpha=0.8, edgecolor="none", fontsize="small")
show(
    figure,
    "Your three runs (orange) over six seeds of the package (grey; blue is their interquartile mean).",
    "Thin lines over the steps, grey and orange, all from about 10 to 500. They rise at different times "
    "and fall back on the way, down to 150; the orange ones do as the grey ones do. The interquartile "
    "mean, with a wide band, rises in zigzag and stays at 500 at the end.",
)

# %% [markdown]
# Both numbers are at or near 500, the most that is possible: they cannot tell one good program from another. So
# compare the curves. Do yours rise when the grey ones do, and fall back no deeper? The seeds alone
# make a difference: where we ran it, one of the six first had 475 after 25,000 steps, another after
# 66,000. An orange line among grey ones is as right as they are; three that come later than all of
# them are a reason to look for a bug (notebook 10).

# %% [markdown]
# # What it has learned
#
# A state of CartPole has four numbers. We let the cart stand in the middle, and look at the angle
# of the pole and at its velocity. First the probability that the best policy gives to action 1,
# pushing the cart to the right:

# %%
show(
    policy_map(ppo_clip.best_policy, "CartPole-v1"),
    "The best policy: the probability of pushing the cart to the right.",
    "A map over the pole's angle and its velocity. It is near 0 where both are negative and near 1 "
    "where both are positive; a narrow band, slightly lower to the right, separates the "
    "two.",
)

# %% [markdown]
# Where the pole leans to the right, or is about to, the cart is pushed to the right, under the pole.
# Now the critic: how much reward it expects from there on, discounted. With $\gamma = 0.98$ the most
# is $1/(1 - \gamma) = 50$; beyond 0.21 rad, 12 degrees, the episode is over.
#
# Look at the corners: a pole that leans far to one side and falls there is lost, and its true value
# is about 1. The critic says far too much. A policy that has become good does not visit such states any
# more, and a critic is right only where the data are.

# %%
show(
    critic_map(ppo_clip.critic_agent, "CartPole-v1"),
    "The critic: the rewards that it expects from there on, discounted.",
    "A map over the pole's angle and its velocity. The values are highest in a band where the pole "
    "is upright, or turns back towards it, and lower above and below.",
)

# %% [markdown]
# And one episode with the best policy:

# %%
ppo_clip.visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** An action had the probability 0.4 when the data were collected, and now has 0.6.
# Its advantage is $-1$, and $\epsilon = 0.2$. What does this transition add to the objective, before
# the mean?
#
# - (a) $-1$
# - (b) $-1.2$
# - (c) $-1.5$
# - (d) $0$

# %%
quiz("03", 1, "?")

# %% [markdown]
# **Question 2.** With $\epsilon = 0.2$, which of these transitions no longer moves the policy?
#
# - (a) $\hat{A} > 0$ and $r = 0.7$
# - (b) $\hat{A} > 0$ and $r = 1.3$
# - (c) $\hat{A} < 0$ and $r = 1.3$
# - (d) $\hat{A} < 0$ and $r = 0.9$

# %%
quiz("03", 2, "?")

# %% [markdown]
# **Question 3.** We have just collected, and no step has been taken yet. Which gradient does
# $L^{CLIP}$ have?
#
# - (a) none, because both policies are the same and all ratios are 1
# - (b) the plain policy gradient, that of $\hat{\mathbb{E}}_t[\hat{A}_t \log \pi_\theta(a_t \mid s_t)]$
# - (c) half of that one, because the two products are equal

# %%
quiz("03", 3, "?")

# %% [markdown]
# **Question 4.** Somebody draws minibatches with replacement, and makes up for it by three epochs
# instead of one. About what share of the transitions is still never used?
#
# - (a) none
# - (b) 5 %
# - (c) 12 %
# - (d) 37 %

# %%
quiz("03", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abca"`.


# %% nbgrader={"grade": false, "grade_id": "ppo-clip-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "cbbb"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ppo-clip-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_03(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_03(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Two open tasks without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **One step only.** Set `opt_epochs` to 1 and `batch_size` to 0, which is the whole rollout. Expected: the share of clipped transitions is
#   exactly 0 in every update, because the ratio is 1 before the only step. So this is A2C, and it learns more slowly.
# - **No clipping**: a `clip_range` of 10. Expected: nothing is clipped either, but now the policy moves: log the mean of
#   $(r - 1) - \log r$ in `log_step`, and it grows in most updates from the first minibatch to the last.

# %% [markdown] nbgrader={"grade": true, "grade_id": "ppo-clip-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

# %% [markdown]
# # Write PPO
#
# So far you have filled in parts of a PPO that somebody else had built. Here you build all of it, from an
# empty `EpisodicAlgo` to an agent that balances a pole. Nothing in it will be new to you, and that is the
# point: after this notebook you have written PPO, and can write it again.
#
# It is built in eight steps, each with a check of its own. A check says which mistake it thinks you made.
# The last one compares no numbers: your PPO has to learn.
#
# If you want to know more:
#
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
#   does the same in a single file, step by step;
# - [CleanRL's `ppo.py`](https://github.com/vwxyzjn/cleanrl/blob/master/cleanrl/ppo.py) is the program that
#   most people read when they want to see a PPO that works.
#
# [◀ 10](10_bug_hunt.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [12 ▶](12_language_model.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - write PPO from memory, and say what each of its parts needs from the others;
# - test each part on its own before you train anything;
# - log the four numbers that show whether an update is healthy;
# - show that a program learns: on problems whose answer is known, and with several seeds.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | Step 1: networks | ●○○ | 5 | useful |
# | Step 2: acting | ●●○ | 15 | essential |
# | Step 3: advantages | ●●○ | 10 | essential |
# | Step 4: transitions and minibatches | ●●○ | 15 | essential |
# | Step 5: losses | ●●○ | 10 | essential |
# | Step 6: diagnostics | ●○○ | 5 | useful |
# | Step 7: one iteration | ●●● | 15 | essential |
# | Step 8: the loop, and learning | ●●● | 10 | essential |
# | What have you understood? (three questions) | ●○○ | 5 | useful |
#
# With reading it takes about 90 minutes, if you have done notebooks 01 to 04, whose parts come together here.
# If you are short of time, leave out the two that are only useful: the answers below their checks will do.

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
from torch import nn

from ppo_bbrl import (
    Agent,
    EpisodicAlgo,
    KWAgentWrapper,
    iter_partial_episodes,
    setup_optimizer,
)
from ppo_bbrl.plots import learning_curve, read_metrics
from ppo_course import (
    check_acting,
    check_advantages,
    check_batches,
    check_diagnostics,
    check_learn,
    check_learning,
    check_losses,
    check_network,
    check_quiz_11,
    quiz,
)
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The plan
#
# Arrows say what each part needs. You write what is blue; the grey parts are the package's.

# %%
BOXES = {  # name: (column, row, whether you write it)
    "EpisodicAlgo\nenvironments, log, evaluation": (0, 2, False),
    "1 network": (1, 0, True),
    "2 Policy, Critic": (1, 1, True),
    "3 advantages": (2, 0, True),
    "4 transitions, minibatches": (2, 1, True),
    "5 losses": (3, 0, True),
    "6 diagnostics": (3, 1, True),
    "7 PPO, learn": (2, 2, True),
    "8 run": (3, 2, True),
}
WIDTHS = {"E": 72, "7": 34, "8": 22}  # where an arrow leaves a box sideways
ARROWS = ["1 2", "3 4", "2 7", "4 7", "5 7", "6 7", "E 7", "7 8"]
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
place = {name[0]: (2.6 * x, -y) for name, (x, y, _) in BOXES.items()}
for name, (x, y, own) in BOXES.items():
    box = {"boxstyle": "round,pad=0.4", "fc": "#CFE5F3" if own else "0.92", "ec": "0.4"}
    axes.text(2.6 * x, -y, name, ha="center", va="center", fontsize="small", bbox=box)
for start, end in map(str.split, ARROWS):
    level = place[start][1] == place[end][1]
    shrink = [WIDTHS[name] if level else 14 for name in (start, end)]
    style = {"arrowstyle": "->", "color": "#0072B2", "shrinkA": shrink[0], "shrinkB": shrink[1]}
    axes.annotate("", place[end], place[start], arrowprops=style)
axes.set(xlim=(-1.3, 9), ylim=(-2.5, 0.5))
axes.set_axis_off()
show(
    figure,
    "The plan: yours are the blue boxes, the arrows say what needs what.",
    "Arrows lead from 1 network to 2 Policy and Critic, from 3 advantages to 4 transitions and "
    "minibatches; from 2, 4, 5 losses, 6 diagnostics and the grey EpisodicAlgo to 7 PPO and learn; "
    "and from 7 to 8 run.",
)

# %% [markdown]
# **What counts as yours.** Of the package you may use `Agent`, `EpisodicAlgo`, `KWAgentWrapper`,
# `iter_partial_episodes` and `setup_optimizer`; and everything that torch has. The checks look at the names
# that your functions use, also in functions that those call: the package's `gae`, for example, is refused
# here, whereas a copy of *your* `gae_by_hand` from notebook 02 is your own work and welcome.
#
# While a step is checked, the earlier steps are taken from the course. So no mistake is reported twice.
# Only step 8 uses everything that you wrote.

# %% [markdown]
# # Step 1: networks
#
# PPO begins with orthogonal weights: a layer neither stretches nor squeezes what comes in. The gain
# $\sqrt 2$ of the hidden layers makes up for what the activation takes away. The last layer of the policy
# has the tiny gain 0.01, so that all scores are nearly 0 and the first policy is a fair coin.
#
# ## Exercise: networks
#
# *Difficulty: ●○○ · about 5 minutes · useful*
#
# Write `network`. It gets
#
# - `sizes`, a list of numbers: with `[4, 64, 64, 2]`, three linear layers lead from 4 inputs to 2 outputs;
# - `output_gain`, the gain of the last layer.
#
# It returns an `nn.Sequential`: the linear layers with an `nn.Tanh()` between any two of them, and none
# behind the last one. All biases are 0.
#
# Useful: [nn.init.orthogonal_](https://pytorch.org/docs/stable/nn.init.html) takes the weights of a layer and
# a gain; [nn.init.zeros_](https://pytorch.org/docs/stable/nn.init.html) the biases.


# %% nbgrader={"grade": false, "grade_id": "write-ppo-network", "locked": false, "schema_version": 3, "solution": true, "task": false}
def network(sizes, output_gain):
    """
    Linear layers of these sizes with Tanh between them; orthogonal weights, biases of 0
    """
    ### BEGIN SOLUTION
    layers = []
    for k in range(len(sizes) - 1):
        layer = nn.Linear(sizes[k], sizes[k + 1])
        nn.init.orthogonal_(layer.weight, 2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    layers.pop()  # no activation behind the last layer
    nn.init.orthogonal_(layers[-1].weight, output_gain)
    return nn.Sequential(*layers)
    ### END SOLUTION


# %% [markdown]
# The check makes networks of several depths, and looks at layers, weights and outputs.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-network-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_network(network)
### BEGIN HIDDEN TESTS
check_network(network, seed=1)
check_network(network, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Does the gain matter? Here are the first policies of 200 networks with each gain, asked about the same
# observation: how probable is action 1? An actor that begins with a strong opinion has to unlearn it first.

# %%
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
for gain, colour in ((1.0, "#D55E00"), (0.01, "#0072B2")):
    networks = [network([4, 64, 64, 2], gain) for _ in range(200)]
    with torch.no_grad():
        probability = [model(torch.ones(4)).softmax(-1)[1].item() for model in networks]
    bins = [k / 40 for k in range(41)]
    axes.hist(probability, bins=bins, color=colour, alpha=0.6, label=f"gain {gain:g}")
axes.set(xlabel="probability of action 1 before anything is learned", ylabel="networks")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The first opinion of 200 networks, with a large and a small gain of the last layer.",
    "Two histograms over the probability of action 1. With gain 0.01 all networks are at one "
    "half; with gain 1 they are spread from 0.2 to 0.9.",
)

# %% [markdown]
# # Step 2: acting
#
# The policy is an agent of the workspace (notebook 01). In row $t$ it reads `env/env_obs` and writes two
# variables: `action`, and `log_prob`, the log-probability that it gave to this action. That number is the
# *old* one of the ratio, so it is recorded while it is true: when the action is taken. It is data from then
# on, and
# carries no gradient.
#
# ## Exercise: acting
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write two classes. `Policy(n_obs, n_actions)` is an `Agent` with
#
# - `model`: a network with two hidden layers of 64, and the output gain 0.01;
# - `evaluate(obs, action)`: `obs` is $[\dots, D]$ and `action` is $[\dots]$, with any leading dimensions. It
#   returns the log-probabilities of the actions and the entropies of the policy, $[\dots]$ each, with their
#   gradient;
# - `forward(t, *, stochastic=True, **kwargs)`: writes `action` and `log_prob` into row `t`. The action is
#   drawn, or, with `stochastic=False`, the most probable one.
#
# `Critic(n_obs)` is an `nn.Module` with a network `model` (two hidden layers of 64, output gain 1). Called
# with observations $[\dots, D]$, it returns their values, $[\dots]$.
#
# Useful: `self.get(("name", t))` and `self.set(("name", t), value)` of an agent; `log_softmax` and `gather`
# from notebook 03; [Categorical](https://pytorch.org/docs/stable/distributions.html#categorical) for drawing.
#
# <details>
# <summary>A hint</summary>
#
# `forward` is short if it uses `evaluate`: draw the action from the scores, then evaluate it. All of
# it happens under `torch.no_grad()`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "write-ppo-acting", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Policy(Agent):
    def __init__(self, n_obs, n_actions):
        super().__init__("policy")
        ### BEGIN SOLUTION
        self.model = network([n_obs, 64, 64, n_actions], 0.01)
        ### END SOLUTION

    def evaluate(self, obs, action):
        """
        Log-probabilities of the actions and entropies of the policy
        """
        ### BEGIN SOLUTION
        log_probs = torch.log_softmax(self.model(obs), dim=-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return log_prob, entropy
        ### END SOLUTION

    def forward(self, t, *, stochastic=True, **kwargs):
        """
        Write action and log_prob into row t of the workspace
        """
        ### BEGIN SOLUTION
        obs = self.get(("env/env_obs", t))
        with torch.no_grad():
            scores = self.model(obs)
            if stochastic:
                action = torch.distributions.Categorical(logits=scores).sample()
            else:
                action = scores.argmax(-1)
            log_prob, _ = self.evaluate(obs, action)
        self.set(("action", t), action)
        self.set(("log_prob", t), log_prob)
        ### END SOLUTION


class Critic(nn.Module):
    def __init__(self, n_obs):
        super().__init__()
        ### BEGIN SOLUTION
        self.model = network([n_obs, 64, 64, 1], 1.0)
        ### END SOLUTION

    def forward(self, obs):
        """
        The values of observations, [..., D] to [...]
        """
        ### BEGIN SOLUTION
        return self.model(obs).squeeze(-1)
        ### END SOLUTION


# %% [markdown]
# The check lets your policy act thousands of times, greedily and at random, and asks it about actions that
# somebody else took.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-acting-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_acting(Policy, Critic)
### BEGIN HIDDEN TESTS
check_acting(Policy, Critic, seed=1)
check_acting(Policy, Critic, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 3: advantages
#
# Generalised advantage estimation once more (notebook 02), this time from memory:
#
# $$
# \delta_t = r_{t+1} + \gamma V(s_{t+1}) - V(s_t), \qquad \hat{A}_t = \delta_t + \gamma\lambda \hat{A}_{t+1}.
# $$
#
# The two masks: no next value after a terminal state, no next advantage after any end.
#
# ## Exercise: advantages
#
# *Difficulty: ●●○ · about 10 minutes · essential*
#
# Write `advantages`. Its tensors are aligned on transitions, $[T, B]$ each, as in `gae_by_hand`: `reward[t]`
# is the reward of transition $t$, `value[t]` and `next_value[t]` are the values of the states before and
# after it, and `terminated[t]` and `done[t]` say whether the state after it was an end. Then come
# `discount_factor` and `gae_lambda`. It returns the advantages, $[T, B]$.
#
# <details>
# <summary>A hint</summary>
#
# A loop over `reversed(range(T))`. What is carried from row to row is the advantage of the row below, which
# begins as zeros. `~done[t]` is 1 where the episode goes on.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "write-ppo-advantages", "locked": false, "schema_version": 3, "solution": true, "task": false}
def advantages(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """
    Generalised advantage estimation, [T, B]
    """
    ### BEGIN SOLUTION
    advantage = torch.zeros_like(value)
    following = torch.zeros_like(value[0])
    for t in reversed(range(len(value))):
        bootstrap = next_value[t] * ~terminated[t]
        delta = reward[t] + discount_factor * bootstrap - value[t]
        following = delta + discount_factor * gae_lambda * following * ~done[t]
        advantage[t] = following
    return advantage
    ### END SOLUTION


# %% [markdown]
# The check has episodes that end, that are cut off, and that go on.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-advantages-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_advantages(advantages)
### BEGIN HIDDEN TESTS
check_advantages(advantages, seed=1)
check_advantages(advantages, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 4: transitions and minibatches
#
# A rollout comes as a workspace with $T + 1$ rows of $B$ environments. Learning needs transitions, in any order.
# In between lie the two details that are most often wrong: the reward and the ends of
# transition $t$ are in row $t + 1$, and from a row that is `done` no transition starts.
#
# ## Exercise: transitions and minibatches
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `transitions`. It gets
#
# - `workspace`, with `env/env_obs`, `env/reward`, `env/terminated`, `env/done`, `action` and `log_prob`;
#   `workspace["action"]` is $[T + 1, B]$, and `workspace["action", "log_prob"]` gives two tensors at once;
# - `critic`: `critic(obs)` gives values;
# - `cfg`, the configuration, with $\gamma$ as `cfg.algorithm.discount_factor` and $\lambda$ as
#   `cfg.algorithm.gae`.
#
# It returns a dict of tensors with one entry for each of the $N$ transitions: `obs`, $[N, D]$, and `action`,
# `log_prob`, `advantage` and `target`, $[N]$. The target of the critic is the advantage plus the value. All
# of it is data, without a gradient.
#
# And write `minibatches(n, batch_size)`. It returns index tensors: shuffled, each of $0, \dots, n - 1$ in
# exactly one of them, none longer than `batch_size`. The last one may be shorter.
#
# <details>
# <summary>A hint</summary>
#
# Put what belongs to a transition into a dict of tensors $[T, B, \dots]$, all with `[:-1]`. Then index each
# with the mask `~done[:-1]`: that makes one dimension of time and environments.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "write-ppo-transitions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def transitions(workspace, critic, cfg):
    """
    The N transitions of a rollout: a dict of obs [N, D], action, log_prob, advantage, target [N]
    """
    ### BEGIN SOLUTION
    obs, reward, terminated, done = workspace[
        "env/env_obs", "env/reward", "env/terminated", "env/done"
    ]
    with torch.no_grad():
        value = critic(obs)
    advantage = advantages(
        reward[1:],
        value[:-1],
        value[1:],
        terminated[1:],
        done[1:],
        cfg.algorithm.discount_factor,
        cfg.algorithm.gae,
    )
    rows = {
        "obs": obs[:-1],
        "action": workspace["action"][:-1],
        "log_prob": workspace["log_prob"][:-1],
        "advantage": advantage,
        "target": advantage + value[:-1],
    }
    starts = ~done[:-1]
    return {name: tensor[starts] for name, tensor in rows.items()}
    ### END SOLUTION


def minibatches(n, batch_size):
    """
    The index tensors of one epoch
    """
    ### BEGIN SOLUTION
    return torch.randperm(n).split(batch_size)
    ### END SOLUTION


# %% [markdown]
# The check has a rollout with every kind of end, and numbers of transitions that leave a remainder.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-transitions-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_batches(transitions, minibatches)
### BEGIN HIDDEN TESTS
check_batches(transitions, minibatches, seed=1)
check_batches(transitions, minibatches, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 5: losses
#
# ## Exercise: losses
#
# *Difficulty: ●●○ · about 10 minutes · essential*
#
# Write `losses`. It gets `policy` and `critic` with the interface of step 2, a minibatch `batch` with the
# entries of step 4, and `cfg`. It returns two scalars, both to be *minimised*:
#
# - `policy_loss`: minus the clipped objective (notebook 03), minus `cfg.algorithm.entropy_coef` times the
#   mean entropy. Here the advantages are normalised within the minibatch: minus their mean, divided by their
#   standard deviation plus $10^{-8}$. $\epsilon$ is `cfg.algorithm.clip_range`;
# - `value_loss`: the mean squared difference of the critic's values and the targets.


# %% nbgrader={"grade": false, "grade_id": "write-ppo-losses", "locked": false, "schema_version": 3, "solution": true, "task": false}
def losses(policy, critic, batch, cfg):
    """
    policy_loss and value_loss of a minibatch, scalars to be minimised
    """
    ### BEGIN SOLUTION
    advantage = batch["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
    ratio = torch.exp(log_prob - batch["log_prob"])
    clip_range = cfg.algorithm.clip_range
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    objective = torch.min(ratio * advantage, clipped_ratio * advantage).mean()
    policy_loss = -objective - cfg.algorithm.entropy_coef * entropy.mean()

    error = critic(batch["obs"]) - batch["target"]
    value_loss = error.square().mean()
    return policy_loss, value_loss
    ### END SOLUTION


# %% [markdown]
# The check compares values and gradients, on transitions on both sides of the clip range.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-losses-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_losses(losses)
### BEGIN HIDDEN TESTS
check_losses(losses, seed=1)
check_losses(losses, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 6: diagnostics
#
# A return says *that* something is wrong, much later. Four numbers about each update say what (see
# notebook 10): **entropy**, whether the policy still explores; **KL**, how far the update moved it; **clipped**,
# how many ratios left the clip range; **explained variance**, whether the critic predicts anything.
#
# | | Healthy on CartPole | Look closer if |
# |---|---|---|
# | `entropy` | begins at 0.69, falls slowly | near 0 while the return is low |
# | `kl` | 0.001 to 0.03 | above 0.1, or exactly 0 |
# | `clipped` | 0.02 to 0.3 | 0, or most of them |
# | `explained_variance` | rises towards 1 | below 0 for long |
#
# ## Exercise: diagnostics
#
# *Difficulty: ●○○ · about 5 minutes · useful*
#
# Write `diagnostics`, with the same arguments as `losses`. It is called after an update, with all of its
# transitions, and returns a dict of four plain numbers:
#
# - `"entropy"`: the mean entropy;
# - `"kl"`: the mean of $(r - 1) - \log r$, where $r$ is the ratio;
# - `"clipped"`: the share of the transitions with $|r - 1| > \epsilon$;
# - `"explained_variance"`: $1 - \operatorname{Var}(\text{target} - \text{value}) /
#   \operatorname{Var}(\text{target})$.


# %% nbgrader={"grade": false, "grade_id": "write-ppo-diagnostics", "locked": false, "schema_version": 3, "solution": true, "task": false}
def diagnostics(policy, critic, batch, cfg):
    """
    Plain numbers about an update: entropy, kl, clipped, explained_variance
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
        error = batch["target"] - critic(batch["obs"])
    log_ratio = log_prob - batch["log_prob"]
    ratio = log_ratio.exp()
    outside = (ratio - 1).abs() > cfg.algorithm.clip_range
    return {
        "entropy": entropy.mean().item(),
        "kl": (ratio - 1 - log_ratio).mean().item(),
        "clipped": outside.float().mean().item(),
        "explained_variance": (1 - error.var() / batch["target"].var()).item(),
    }
    ### END SOLUTION


# %% [markdown]
# The check compares the four numbers, for two batches.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-diagnostics-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_diagnostics(diagnostics)
### BEGIN HIDDEN TESTS
check_diagnostics(diagnostics, seed=1)
check_diagnostics(diagnostics, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 7: one iteration
#
# All parts are there. An iteration of PPO puts them together:
#
# 1. the rollout becomes a batch of transitions, once, before anything is learned;
# 2. `opt_epochs` times, the batch is cut into new minibatches;
# 3. for each minibatch come the two losses, and for each network a step: clear the old gradients, compute
#    new ones, scale them down to `max_grad_norm` if they are longer, step;
# 4. the diagnostics of the whole batch tell how it went.
#
# Where is "old := new"? In the workspace. The next rollout is collected by the new policy, which writes new
# `log_prob`s.
#
# ## Exercise: one iteration
#
# *Difficulty: ●●● · about 15 minutes · essential*
#
# Write the class `PPO` and the function `learn`.
#
# `PPO(cfg)` is an `EpisodicAlgo` whose environments start a new episode after each end. It has
#
# - `train_policy` and `critic`, a `Policy` and a `Critic` of the right sizes, which
#   `self.train_env.get_obs_and_actions_sizes()` gives: numbers in an observation, number of actions;
# - `eval_policy`, which acts in evaluations: the same policy, greedy (`KWAgentWrapper`, as in notebook 03);
# - `policy_optimizer` and `critic_optimizer`, made by `setup_optimizer(self.cfg.optimizer, network)`.
#
# `learn(algo, workspace)` runs one iteration on a rollout and returns its diagnostics. The settings are
# `algo.cfg.algorithm.opt_epochs`, `.batch_size` and `.max_grad_norm`.
#
# Useful: [clip_grad_norm_](https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html).


# %% nbgrader={"grade": false, "grade_id": "write-ppo-iteration", "locked": false, "schema_version": 3, "solution": true, "task": false}
class PPO(EpisodicAlgo):
    def __init__(self, cfg):
        ### BEGIN SOLUTION
        super().__init__(cfg, autoreset=True)
        n_obs, n_actions = self.train_env.get_obs_and_actions_sizes()
        self.train_policy = Policy(n_obs, n_actions)
        self.eval_policy = KWAgentWrapper(self.train_policy, stochastic=False)
        self.critic = Critic(n_obs)
        self.policy_optimizer = setup_optimizer(self.cfg.optimizer, self.train_policy)
        self.critic_optimizer = setup_optimizer(self.cfg.optimizer, self.critic)
        ### END SOLUTION


def learn(algo, workspace):
    """
    One iteration of PPO: learn from a rollout; returns the diagnostics
    """
    ### BEGIN SOLUTION
    cfg = algo.cfg
    batch = transitions(workspace, algo.critic, cfg)

    for _ in range(cfg.algorithm.opt_epochs):
        for index in minibatches(len(batch["obs"]), cfg.algorithm.batch_size):
            minibatch = {name: tensor[index] for name, tensor in batch.items()}
            policy_loss, value_loss = losses(algo.train_policy, algo.critic, minibatch, cfg)

            algo.policy_optimizer.zero_grad()
            policy_loss.backward()
            nn.utils.clip_grad_norm_(algo.train_policy.parameters(), cfg.algorithm.max_grad_norm)
            algo.policy_optimizer.step()

            algo.critic_optimizer.zero_grad()
            value_loss.backward()
            nn.utils.clip_grad_norm_(algo.critic.parameters(), cfg.algorithm.max_grad_norm)
            algo.critic_optimizer.step()

    return diagnostics(algo.train_policy, algo.critic, batch, cfg)
    ### END SOLUTION


# %% [markdown]
# The check uses the instruments of notebook 10. It watches both networks while you learn from a made-up
# rollout: which transitions each step uses, whether every one is used once an epoch, and whether each
# gradient is the right one, in its own network. From a wrong gradient it can often infer a mistake that was
# made far away, such as a mask in the wrong row.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-iteration-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check_learn(PPO, learn)
### BEGIN HIDDEN TESTS
check_learn(PPO, learn, seed=1)
check_learn(PPO, learn, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Step 8: the loop, and learning
#
# ## Exercise: the loop
#
# *Difficulty: ●●● · about 10 minutes · essential*
#
# The loop is four lines. The difficulty is that now everything has to work together.
#
# Write `run(algo)`. For each workspace of `iter_partial_episodes(algo, n_rows)`, with enough rows for
# `algo.cfg.algorithm.n_steps` transitions, it learns, logs each diagnostic under its name with
# `algo.logger.add_log(name, number, algo.nb_steps)`, and lets `algo.evaluate()` decide whether it is time to
# evaluate. It returns nothing.


# %% nbgrader={"grade": false, "grade_id": "write-ppo-run", "locked": false, "schema_version": 3, "solution": true, "task": false}
def run(algo):
    """
    Collect, learn, log and evaluate, until the configuration's iterations are over
    """
    ### BEGIN SOLUTION
    for workspace in iter_partial_episodes(algo, algo.cfg.algorithm.n_steps + 1):
        for name, number in learn(algo, workspace).items():
            algo.logger.add_log(name, number, algo.nb_steps)
        algo.evaluate()
    ### END SOLUTION


# %% [markdown]
# Now all of it is yours, and the check only asks whether it learns. First on five probes, whose values and
# returns are known (notebook 10), then on CartPole: within 37,000 steps an evaluation has to reach 475 of
# 500. It takes about 5 seconds of processor time. When it is graded, three more seeds have to do it, too.
#
# If it fails although steps 1 to 7 passed, it says on which problem. That is your next clue.

# %% nbgrader={"grade": true, "grade_id": "write-ppo-run-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} tags=["seconds-300"]
check_learning(PPO, run, cartpole=not TESTING_MODE)
### BEGIN HIDDEN TESTS
check_learning(PPO, run, seed=1)
check_learning(PPO, run, seed=2)
check_learning(PPO, run, seed=3)
### END HIDDEN TESTS

# %% [markdown]
# # Your PPO at work
#
# A run to look at, with the configuration of the check and more evaluations: about 5 seconds of processor time.

# %%
params = {
    "base_dir": "${gym_env.env_name}/write-ppo-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "seed": 4,
        "max_epochs": 40 if not TESTING_MODE else 3,
        "n_envs": 16,
        "n_steps": 64,
        "eval_interval": 3000 if not TESTING_MODE else 1000,
        "nb_evals": 10,
        "discount_factor": 0.98,
        "gae": 0.95,
        "opt_epochs": 6,
        "batch_size": 256,
        "clip_range": 0.2,
        "entropy_coef": 0.0,
        "max_grad_norm": 0.5,
    },
    "optimizer": {"classname": "torch.optim.Adam", "lr": 3e-3},
}
algo = PPO(params)
run(algo)
print(f"Best evaluation: {algo.best_reward:.1f}")

# %% [markdown]
# The return, and your four diagnostics. Compare them with the table above: which of them tells first that
# the policy is getting somewhere?

# %%
metrics = read_metrics(algo.base_dir)
titles = {
    "reward/mean": "return of the evaluations",
    "entropy": "entropy (nats)",
    "kl": "KL(old ‖ new)",
    "clipped": "clipped share",
    "explained_variance": "explained variance",
}
figure, panels = plt.subplots(1, 5, figsize=(12, 2.6), sharex=True, layout="constrained")
for axes, (name, title) in zip(panels, titles.items(), strict=True):
    if name in metrics:
        curve = metrics[["steps", name]].dropna()
        axes.plot(curve["steps"] / 1000, curve[name], color="#0072B2", linewidth=1.2)
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
figure.supxlabel("environment steps (thousands)", fontsize="medium")
show(
    figure,
    "Your run: the return and the four diagnostics.",
    "Five curves over the steps: return, entropy, KL, share of clipped transitions and explained "
    "variance. The return rises, and the entropy falls.",
)

# %%
show(
    learning_curve([algo.base_dir]),
    "The return of the evaluations, with the range of their episodes.",
    "A line over the steps that rises from about 340 to 500 and stays there, with a dot for each "
    "evaluation. The band around it is wide at first, closes, and is gone.",
)

# %% [markdown]
# And one episode with the best policy. Every line that taught it is yours.

# %%
algo.visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** A rollout has 65 rows of 16 environments. In rows 0 to 63, 40 entries of `done` are true.
# How many transitions does it have?
#
# - (a) 1040
# - (b) 1024
# - (c) 1000
# - (d) 984

# %%
quiz("11", 1, "?")

# %% [markdown]
# **Question 2.** Somebody lets the policy write `log_prob` again, with its current weights, at the beginning
# of each epoch. What does the clipping then do?
#
# - (a) the same as before
# - (b) it limits each epoch to its own $1 \pm \epsilon$, so that six epochs may move a ratio up to about 3
# - (c) nothing at all, because every ratio is always 1

# %%
quiz("11", 2, "?")

# %% [markdown]
# **Question 3.** All checks of steps 1 to 7 pass, and `TruncatedOnly` fails in step 8: the critic says 5.7
# instead of 10. With $\gamma = 0.9$ and episodes of 8 steps, which number is that?
#
# - (a) $8 \gamma$
# - (b) $(1 - \gamma^8) / (1 - \gamma)$
# - (c) $\gamma / (1 - \gamma)$

# %%
quiz("11", 3, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abc"`.


# %% nbgrader={"grade": false, "grade_id": "write-ppo-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "dbb"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "write-ppo-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_11(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_11(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Your program is 150 lines long and learns any task with a few numbers to observe and a few actions to
# choose from. Two tasks without a check, with what you should see:
#
# - **Clip the values** as PPO2 does (notebook 04), with `clip_range_vf`. Expected: with a handful of seeds
#   on CartPole it is too close to tell, as in notebook 04.
# - **Acrobot-v1**: the same program, $\gamma = 0.99$, 120 iterations (a minute of processor time). Expected: the
#   best evaluation rises from $-500$ to better than $-100$. If it stays at $-500$, look at the entropy first.
#
# In a graded course, what you write below earns a bonus.

# %% [markdown] nbgrader={"grade": true, "grade_id": "write-ppo-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

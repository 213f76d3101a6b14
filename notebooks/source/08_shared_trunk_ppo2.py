# %% [markdown]
# # One trunk for policy and critic: PPO2 from torch.hub
#
# So far policy and critic were two networks. Many implementations of PPO give them one: a trunk that
# both use, and two small heads. Then one loss has to serve both. In this notebook we take such a
# model, PPO2, write its functions to act and to learn, and look at what happens in the trunk.
#
# When you get stuck, or want to know more:
#
# - [37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/):
#   details 9 to 11 are the joint loss and its clipping, detail 13 is our question;
# - [PPO2 of OpenAI Baselines](https://github.com/openai/baselines/tree/master/baselines/ppo2), which
#   the model follows;
# - [torch.hub](https://pytorch.org/docs/stable/hub.html), which loads models from repositories.
#
# [◀ 07](07_memory.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb) · [09 ▶](09_lightning.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - load a model through `torch.hub`, and act with it: without dropout, without gradients;
# - write the joint loss of PPO, with each sign where it belongs;
# - write a train step with one gradient and one limit of its norm;
# - measure what two losses do to one trunk, and say why their coefficients matter there.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | Acting: `eval_fn` | ●○○ | 10 | useful |
# | The joint loss | ●●○ | 20 | essential |
# | Learning: `train_fn` | ●●○ | 20 | useful |
# | What have you understood? (four questions) | ●○○ | 10 | useful |
#
# With reading and watching it takes about 85 minutes. You should know the clipped objective
# (notebook 03) and advantages (notebook 02).

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
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
from omegaconf import OmegaConf

import ppo_bbrl
from ppo_bbrl import PPOClip, run, setup_tensorboard, shared_agents
from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.plots import bootstrap_interval, critic_map, policy_map, read_metrics
from ppo_course import check_eval_fn, check_joint_loss, check_quiz_08, check_train_fn, quiz
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # The model
#
# `torch.hub.load(repository, name, …)` reads the file `hubconf.py` of a repository, and calls the
# function `name` in it. The repository may be one on GitHub; with `source="local"` it is a folder,
# and nothing is downloaded. Where you have a clone of this course, we load from its folder. Where
# only the package is installed, without the repository, we take the same model from `ppo_bbrl.hub`.


# %%
def load_ppo2():
    """The PPO2 model for CartPole: 4 observed numbers, 2 actions"""
    repository = Path(ppo_bbrl.__file__).parents[2]
    if (repository / "hubconf.py").is_file():
        return torch.hub.load(
            str(repository),
            "ppo2",
            source="local",
            reset_param=True,  # orthogonal weights, biases 0
            input_dim=4,
            hidden_dim=64,
            action_space=2,
            dropout=0,
        )
    from ppo_bbrl.hub import PPO2

    model = PPO2(input_dim=4, hidden_dim=64, action_space=2, dropout=0)
    model.reset_parameters()
    return model


torch.manual_seed(1)
model = load_ppo2()
model

# %% [markdown]
# `latent` is the trunk. Its 64 outputs are all that `policy_head` and `value_head` know of an
# observation: two logits and one value come from the same numbers.
#
# The model can do two things. For $N$ observations, a tensor $[N, 4]$,
#
# - `model(obs)` draws actions,
# - `model(obs, action=action)` judges actions that were taken.
#
# Both return four tensors $[N]$: the values, the actions, their *negative log-likelihoods*
# $-\log \pi_\theta(a \mid s)$, and the entropies of the policy.

# %%
observations = torch.randn(3, 4)
value, action, neg_log_prob, entropy = model(observations)
print("probability of the action", (-neg_log_prob).exp().detach())
_, _, judged, _ = model(observations, action=action)
print("the same, when it is judged", (-judged).exp().detach())

# %% [markdown]
# ## Exercise: acting
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Write `eval_fn`, which acts while we collect data. It gets
#
# - `model`, the PPO2 model, maybe in training mode, and maybe with dropout;
# - `obs`, observations of $B$ environments as a NumPy array, $[B, D]$, maybe in double precision.
#
# It returns three tensors $[B]$ without gradient: the values, the actions, and the negative
# log-likelihoods. Dropout belongs to learning: the policy that acts should be the whole network.
#
# Useful: [`model.eval()`](https://pytorch.org/docs/stable/generated/torch.nn.Module.html) switches
# dropout off; [`torch.no_grad()`](https://pytorch.org/docs/stable/generated/torch.no_grad.html) keeps
# PyTorch from remembering how a result was made; `torch.tensor(array).float()`.
#
# <details>
# <summary>A hint</summary>
#
# Switch to evaluation mode. Within `with torch.no_grad():` make a tensor of the observations and run
# the model, once. Drop the entropy.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "shared-eval-fn", "locked": false, "schema_version": 3, "solution": true, "task": false}
def eval_fn(model, obs):
    """
    Act: values, actions, negative log-likelihoods [B] for observations [B, D] of NumPy
    """
    ### BEGIN SOLUTION
    model.eval()
    with torch.no_grad():
        value, action, neg_log_prob, _ = model(torch.tensor(obs).float())
    return value, action, neg_log_prob
    ### END SOLUTION


# %% [markdown]
# The check brings a model with dropout, in training mode.

# %% nbgrader={"grade": true, "grade_id": "shared-eval-fn-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_eval_fn(eval_fn)
### BEGIN HIDDEN TESTS
check_eval_fn(eval_fn, seed=1)
check_eval_fn(eval_fn, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The joint loss
#
# One trunk, one optimiser, one loss to be minimised (equation 9 of the
# [PPO paper](https://arxiv.org/pdf/1707.06347.pdf) with the signs reversed, details 9 and 10):
#
# $$
# L = L_\pi - c_{\text{ent}}\, \hat{\mathbb{E}}[H] + c_{\text{vf}}\, L_V
# $$
#
# The policy loss is the objective of notebook 03 with a minus sign, so that the minimum in it is now a maximum:
#
# $$
# L_\pi = \hat{\mathbb{E}}\left[\max\left(-\hat{A}\, r,\ -\hat{A} \operatorname{clip}(r, 1-\epsilon, 1+\epsilon)\right)\right],
# \quad r = \frac{\pi_\theta(a \mid s)}{\pi_{\theta_{\text{old}}}(a \mid s)}
# $$
#
# and the value loss takes the larger of two squared errors, as the critic of notebook 03 could:
#
# $$
# L_V = \frac{1}{2} \hat{\mathbb{E}}\left[\max\left((V - R)^2,\ (V_{\text{old}} + \operatorname{clip}(V - V_{\text{old}}, -\epsilon, \epsilon) - R)^2\right)\right]
# $$

# %% [markdown]
# ## Exercise: the joint loss
#
# *Difficulty: ●●○ · about 20 minutes · essential*
#
# Write `joint_loss`. It gets, in the order of the model's own loss,
#
# - `returns` ($R$), `value_f` ($V$), `neg_log_probs`, `entropy` ($H$), `advantages` ($\hat{A}$),
#   `old_values` ($V_{\text{old}}$) and `old_neg_log_probs`, tensors $[N]$;
# - three numbers: `clip_range` ($\epsilon$, of both losses), `ent_coef` ($c_{\text{ent}}$) and
#   `vf_coef` ($c_{\text{vf}}$).
#
# It returns three scalar tensors: the total $L$, the policy loss $L_\pi$, the value loss $L_V$ (with
# its ½, without $c_{\text{vf}}$).
#
# Useful: [torch.exp](https://pytorch.org/docs/stable/generated/torch.exp.html),
# [torch.clamp](https://pytorch.org/docs/stable/generated/torch.clamp.html), and
# [torch.max](https://pytorch.org/docs/stable/generated/torch.max.html) of two tensors.
#
# <details>
# <summary>A hint about the ratio</summary>
#
# A probability is `exp(-neg_log_prob)`. Which of the two comes first in the difference?
#
# </details>
#
# <details>
# <summary>A hint about the signs</summary>
#
# Everything in $L$ is made small: the policy loss, which has its minus inside; the error of the
# critic; but not the entropy, which should be large.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "shared-joint-loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def joint_loss(
    returns,
    value_f,
    neg_log_probs,
    entropy,
    advantages,
    old_values,
    old_neg_log_probs,
    clip_range,
    ent_coef,
    vf_coef,
):
    """
    The joint loss of policy and critic on a minibatch, to be minimised.
    Returns total, policy_loss, value_loss
    """
    ### BEGIN SOLUTION
    ratio = torch.exp(old_neg_log_probs - neg_log_probs)
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    policy_loss = torch.max(-advantages * ratio, -advantages * clipped_ratio).mean()

    clipped_value = old_values + torch.clamp(value_f - old_values, -clip_range, clip_range)
    error = torch.max((value_f - returns) ** 2, (clipped_value - returns) ** 2)
    value_loss = 0.5 * error.mean()

    total = policy_loss - ent_coef * entropy.mean() + vf_coef * value_loss
    return total, policy_loss, value_loss
    ### END SOLUTION


# %% [markdown]
# The check compares the three losses with those of the model, and their gradients.

# %% nbgrader={"grade": true, "grade_id": "shared-joint-loss-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_joint_loss(joint_loss)
### BEGIN HIDDEN TESTS
check_joint_loss(joint_loss, seed=1)
check_joint_loss(joint_loss, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# The model's own `model.loss(…)` takes the same arguments. It returns five things: these three with
# the mean entropy and an estimate of the KL divergence (total, policy loss, value loss, entropy, KL).

# %% [markdown]
# # Learning
#
# A model of torch.hub comes with a page that says how it is used, its *model card*. The one of PPO2
# names four numbers; we add what a loop around them needs.

# %%
args = SimpleNamespace(
    # Of the model card
    clip_range=0.2,
    ent_coef=0.0,
    vf_coef=0.5,
    max_grad_norm=0.5,
    # Of our loop
    n_envs=8,
    n_steps=32,
    n_rollouts=60 if not TESTING_MODE else 4,
    n_epochs=10,
    gamma=0.98,
    gae_lambda=0.8,
)

# %% [markdown]
# ## Exercise: a train step
#
# *Difficulty: ●●○ · about 20 minutes · useful*
#
# Write `train_fn`: one step of the optimiser on a minibatch. It gets `model`, its `optimizer`, `args`
# as above, observations `obs`, $[N, D]$, and four tensors $[N]$ from the time of collecting: `returns`,
# `old_actions`, `old_values`, `old_neg_log_probs`. In this order:
#
# - the advantages are the returns minus the old values, *normalised*: minus their mean, divided by
#   their standard deviation (plus $10^{-8}$). They are constants;
# - the model, in training mode, judges the old actions, and `model.loss` gives the five losses;
# - the gradient of the total is computed, for all weights together. It is one vector: where its norm
#   exceeds `args.max_grad_norm`, it is scaled down to it (detail 11). Then the optimiser steps.
#
# It returns the five losses.
#
# Useful: [clip_grad_norm_](https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html)
# of `torch.nn.utils`, with `model.parameters()`; `model.train()`, `model.zero_grad()`,
# `loss.backward()`, `optimizer.step()`.
#
# <details>
# <summary>A hint</summary>
#
# `losses = model.loss(…)` wants ten things, in the order of `joint_loss`. `losses[0]` is the total.
# Clear the gradients, run backward, clip, step: each of the four has its place.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "shared-train-fn", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train_fn(model, optimizer, args, obs, returns, old_actions, old_values, old_neg_log_probs):
    """
    One optimiser step on a minibatch; returns the five losses of the model
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        advantages = returns - old_values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

    model.train()
    value_f, _, neg_log_probs, entropy = model(obs, action=old_actions)
    losses = model.loss(
        returns,
        value_f,
        neg_log_probs,
        entropy,
        advantages,
        old_values,
        old_neg_log_probs,
        args.clip_range,
        args.ent_coef,
        args.vf_coef,
    )
    model.zero_grad()
    losses[0].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
    optimizer.step()
    return [loss.item() for loss in losses]
    ### END SOLUTION


# %% [markdown]
# The check lets your function make a step, and looks at how the weights have changed.

# %% nbgrader={"grade": true, "grade_id": "shared-train-fn-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_train_fn(train_fn)
### BEGIN HIDDEN TESTS
check_train_fn(train_fn, seed=1)
check_train_fn(train_fn, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Collecting
#
# Your `eval_fn` acts in eight CartPoles side by side. From their rewards and values come advantages
# and returns, as in notebook 02. After the end of an episode an environment's next step only resets
# it: no action counted, so that it is left out.


# %%
def rollouts(model, args, seed):
    """All transitions of one rollout after the other, in the order that train_fn wants"""
    env = gym.make_vec("CartPole-v1", args.n_envs, vectorization_mode="vector_entry_point")
    obs, _ = env.reset(seed=seed)
    done = np.zeros(args.n_envs, dtype=bool)
    for _ in range(args.n_rollouts):
        rows = []
        for _ in range(args.n_steps):
            value, action, neg_log_prob = eval_fn(model, obs)
            seen, only_resets = torch.tensor(obs), torch.tensor(done)
            obs, reward, terminated, truncated, _ = env.step(action.numpy())
            done = terminated | truncated
            outcome = [torch.tensor(x) for x in (reward, terminated, done)]
            rows.append([seen, only_resets, value, action, neg_log_prob, *outcome])
        seen, only_resets, value, action, neg_log_prob, reward, terminated, ended = (
            torch.stack(column) for column in zip(*rows, strict=True)
        )
        last_value, _, _ = eval_fn(model, obs)
        advantage = gae(
            reward=reward.float(),
            value=value,
            next_value=torch.cat((value[1:], last_value[None])),
            terminated=terminated,
            done=ended,
            discount_factor=args.gamma,
            gae_lambda=args.gae_lambda,
        )
        returns = lambda_returns(advantage=advantage, value=value)
        yield tuple(x[~only_resets] for x in (seen, returns, action, value, neg_log_prob))
    env.close()


batch = next(rollouts(model, args, seed=1))
print(f"A rollout has {len(batch[0])} transitions.")

# %% [markdown]
# # Two gradients in one trunk
#
# The gradient of the joint loss in the trunk is a sum: what the policy wants, and $c_{\text{vf}}$ times
# what the critic wants. We compute the two apart. Each is a vector with as many numbers as
# the trunk has weights, so that we can ask how long they are, and whether they point in the same
# direction: the cosine of the angle between them is 1 if they do, $-1$ if they are
# opposed, and 0 if neither helps or hinders the other.


# %%
def trunk_gradients(model, args, obs, returns, old_actions, old_values, old_neg_log_probs):
    """The gradients of the policy loss and of the value loss (without vf_coef) in the trunk"""
    value_f, _, neg_log_probs, entropy = model(obs, action=old_actions)
    advantages = returns - old_values
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    _, policy_loss, value_loss = joint_loss(
        returns,
        value_f,
        neg_log_probs,
        entropy,
        advantages,
        old_values,
        old_neg_log_probs,
        args.clip_range,
        args.ent_coef,
        args.vf_coef,
    )
    trunk = list(model.latent.parameters())
    return [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, trunk, retain_graph=True)])
        for loss in (policy_loss, value_loss)
    ]


def cosine(one, other):
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


policy_gradient, value_gradient = trunk_gradients(model, args, *batch)
print(f"norm of the policy's gradient {policy_gradient.norm():.3f}")
print(f"norm of the value's gradient  {args.vf_coef * value_gradient.norm():.3f}, with vf_coef")
print(f"cosine {cosine(policy_gradient, value_gradient):.2f}")

# %% [markdown]
# Before any step, with normalised advantages, the policy's gradient is of size 1 or less. That of the
# values is not: CartPole's returns are around ten, the first values around 0, and an error of 10
# has ten times the gradient of an error of 1. Only the coefficient makes up for it.
#
# On the left are the two norms, for coefficients $c_{\text{vf}}$ from 0.01 to 100. On the right is what the
# limit `max_grad_norm` = 0.5 makes of it. To keep it simple we look only at the trunk, and ask what
# length of the policy's part is left after the *sum* has been shortened.

# %%
coefficients = torch.logspace(-2, 2, 50)
value_norms = coefficients * value_gradient.norm()
sums = torch.stack([policy_gradient + c * value_gradient for c in coefficients]).norm(dim=1)
left = policy_gradient.norm() * (args.max_grad_norm / sums).clamp(max=1)

figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True, layout="constrained")
panels[0].loglog(coefficients, value_norms, color="#D55E00", label="value")
panels[0].axhline(policy_gradient.norm(), color="#0072B2", label="policy")
panels[0].set(title="gradients in the trunk", ylabel="norm")
panels[0].legend(frameon=False)
panels[1].loglog(coefficients, left, color="#0072B2")
panels[1].set(title="what is left of the policy's", ylabel="norm after clipping the sum")
for axes in panels:
    axes.axvline(args.vf_coef, color="0.6", linestyle=":")
    axes.set_xlabel("coefficient of the value loss")
    axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "Left: how long the two gradients are. Right: what the limit leaves of the policy's.",
    "Two panels over the coefficient, from 0.01 to 100, on logarithmic axes. The critic's "
    "gradient grows with it and crosses the policy's, which stays the same. What is left of the "
    "policy's falls once the critic's is the longer one.",
)

# %% [markdown]
# The dotted line is the coefficient of the model card. Further to the right the limit is used up by
# the critic: the step is as long as ever, but hardly any of it is the policy's. With two
# networks this cannot happen. Each has its own gradient and its own limit.
#
# (Adam, which we use below, divides by the recent size of the gradients, so that short ones do no harm as
# such. But it sees the sum: what is drowned in it stays drowned.)

# %% [markdown]
# ## While it learns
#
# Now the loop of the model card: your `eval_fn` collects, your `train_fn` learns from each rollout ten
# times. It takes some seconds. Before each rollout's first step we keep the two norms and the
# cosine. Whether it learns can be seen from the episodes that end in a rollout: the fewer the
# better.

# %%
torch.manual_seed(1)
model = load_ppo2()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-5)
history = {"policy": [], "value": [], "cosine": [], "ends": []}
for number, batch in enumerate(rollouts(model, args, seed=1), start=1):
    policy_gradient, value_gradient = trunk_gradients(model, args, *batch)
    history["policy"].append(policy_gradient.norm().item())
    history["value"].append(args.vf_coef * value_gradient.norm().item())
    history["cosine"].append(cosine(policy_gradient, value_gradient))
    history["ends"].append(args.n_envs * args.n_steps - len(batch[0]))
    for _ in range(args.n_epochs):
        train_fn(model, optimizer, args, *batch)
    print(f"\rrollout {number} of {args.n_rollouts}", end="", flush=True)

tenth = -(-args.n_rollouts // 10)
print(f"\nends of episodes per rollout, at first {np.mean(history['ends'][:tenth]):.1f}")
print(f"and in the last tenth {np.mean(history['ends'][-tenth:]):.1f}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
panels[0].semilogy(history["value"], color="#D55E00", label="value")
panels[0].semilogy(history["policy"], color="#0072B2", label="policy")
panels[0].axhline(args.max_grad_norm, color="0.6", linestyle=":", label="max_grad_norm")
panels[0].set(title="gradients in the trunk", ylabel="norm")
panels[0].legend(frameon=False, ncols=2, fontsize="small", loc="upper right")
panels[0].set_ylim(top=100)
panels[1].axhline(0, color="0.8")
panels[1].plot(history["cosine"], color="#009E73")
panels[1].set(title="cosine of the two", ylim=(-1, 1))
for axes in panels:
    axes.set_xlabel("rollout")
    axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "The two gradients in the trunk while PPO2 learns, and the angle between them.",
    "Left: over the rollouts, the critic's norm is mostly ten times the policy's and above the "
    "dotted limit. Right: their cosine goes up and down around 0.",
)
print(
    f"median norm: policy {np.median(history['policy']):.2f}, value {np.median(history['value']):.2f}"
)
print(f"mean cosine: {np.mean(history['cosine']):.2f}")

# %% [markdown]
# With the coefficient 0.5 the critic's gradient is the longer one, mostly by a factor of ten and
# more, and far above the limit: a few percent of the policy's gradient are left. The cosine goes up
# and down around 0. The two losses neither fight all the time nor help each other;
# they share the trunk, and each is noise to the other. Still, it learns.
#
# ## What the two heads say
#
# `shared_agents(model)` makes two agents out of one model, a policy and a critic, and so we can draw the maps
# of notebook 03 for both. The cart stands in the middle. First the probability of pushing it to the
# right:

# %%
policy, critic = shared_agents(model)
show(
    policy_map(policy, "CartPole-v1"),
    "The policy: the probability of pushing the cart to the right.",
    "A map over the pole's angle and its velocity. One colour below a line that is nearly level, "
    "the other above it: a step.",
)

# %% [markdown]
# And the value, from the same 64 numbers:

# %%
show(
    critic_map(critic, "CartPole-v1"),
    "The value of a state, from the same trunk.",
    "A map over the pole's angle and its velocity. A ridge along the same line, falling on both "
    "sides of it.",
)

# %% [markdown]
# Two pictures from one trunk. The policy is undecided along a line that is nearly level: what counts is,
# above all, how fast the pole turns. Along the same line the value is highest, and it falls on
# both sides. So across this line the policy is a step and the value is a ridge, and both heads need the same
# thing from the trunk: how far from the line we are.
#
# (With $\gamma = 0.98$ the largest possible value is $1 / (1 - \gamma) = 50$. After these few rollouts the
# critic is far below it.)

# %% [markdown]
# # Does it matter?
#
# We ask CartPole, with the package's `PPOClip` and its loop. It takes two agents. Where they are the two
# of `shared_agents`, it uses one optimiser, the joint loss and one limit, as your `train_fn` does. Its value loss has no ½, so that `critic_coef` = 0.25 is `vf_coef` = 0.5. Three ways:
#
# - `separate`: two networks of the same size as the trunk, the package's own;
# - `shared`: PPO2, with the coefficient of the model card;
# - `shared, critic × 100`: PPO2, with a hundred times this coefficient.

# %%
params = {
    "base_dir": "${gym_env.env_name}/ppo2-S${algorithm.seed}_${current_time:}",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "n_envs": 8,
        "n_steps": 32,
        "max_epochs": 64 if not TESTING_MODE else 6,
        "eval_interval": 1000 if not TESTING_MODE else 500,
        "nb_evals": 10,
        "discount_factor": 0.98,
        "gae": 0.8,
        "normalize_advantage": True,
        "opt_epochs": 10,
        "batch_size": 256,
        "clip_range_vf": 0.2,
        "max_grad_norm": 0.5,
        "architecture": {"activation": "tanh"},  # as in PPO2
    },
    "optimizer": {"classname": "torch.optim.Adam", "lr": 1e-3, "eps": 1e-5},
    "compute": {"compile": "never", "threads": 1},  # compiling would take as long as it saves
}
WAYS = {"separate": 0.25, "shared": 0.25, "shared, critic × 100": 25.0}


def make_ppo(way, seed):
    cfg = OmegaConf.merge(
        params,
        {"algorithm": {"seed": seed, "critic_coef": WAYS[way]}, "extra": {"networks": way}},
    )
    if way == "separate":
        return PPOClip(cfg)
    torch.manual_seed(seed)  # of the model's first weights
    policy, critic = shared_agents(load_ppo2())
    return PPOClip(cfg, train_policy=policy, critic_agent=critic)


# %%
setup_tensorboard("./outputs/tblogs")

# %% [markdown]
# Nine runs of 16,000 steps, in about half a minute of processor time; the line below each counts the steps.

# %%
trained = {}
for way in WAYS:
    for seed in (1, 2, 3) if not TESTING_MODE else (1,):
        ppo_clip = trained[way, seed] = make_ppo(way, seed)
        run(ppo_clip)
        print(f"{way}, seed {seed}, best evaluation: {ppo_clip.best_reward:.0f}")

# %%
tables = {
    way: [
        read_metrics(ppo_clip.base_dir)[["steps", "reward/mean"]].dropna()
        for (name, _), ppo_clip in trained.items()
        if name == way
    ]
    for way in WAYS
}
for way in WAYS:
    means = [round(table["reward/mean"].mean()) for table in tables[way]]
    print(f"{way:22} mean of all evaluations, seed by seed: {means}")

# %% [markdown]
# A panel for each way: thin lines are seeds, the thick line is their mean, with a 95 % interval of the
# mean. The means of the other two ways are grey.

# %%
every = [table for way in WAYS for table in tables[way]]
# Evaluations of two runs are not at the same steps. In between we draw straight lines.
steps = np.linspace(
    max(table["steps"].iloc[0] for table in every), min(table["steps"].iloc[-1] for table in every)
)
returns = {
    way: np.stack([np.interp(steps, table["steps"], table["reward/mean"]) for table in tables[way]])
    for way in WAYS
}

figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
for axes, way, colour in zip(panels, WAYS, ("#0072B2", "#D55E00", "#009E73"), strict=True):
    for other in WAYS:
        axes.plot(steps, returns[other].mean(0), color="0.75")
    low, high = bootstrap_interval(returns[way])
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, returns[way].T, color=colour, linewidth=0.6, alpha=0.6)
    axes.plot(steps, returns[way].mean(0), color=colour, linewidth=2)
    axes.set(title=way, xlabel="steps", xticks=[0, 5000, 10_000, 15_000])
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("return of the greedy policy")
show(
    figure,
    "The return of each way, seed by seed (thin), and their mean (thick); grey: the other two.",
    "Three panels over the steps. All three ways rise; the one with the large coefficient rises "
    "last.",
)

# %% [markdown]
# The large coefficient costs thousands of steps: until the critic has found its values, the policy
# hardly learns. For the other two the intervals overlap, and three seeds decide nothing. But the mean
# over a run was better with two networks for each of our seeds (about 300 on average; 230 with the
# trunk, 165 with the large coefficient). Detail 13 of the 37 says the same of such simple tasks.
#
# So why share? CartPole gives four numbers, and there is not much to find out about them. Where the
# observation is an image, most of the work is seeing, and most of the weights are there: policy
# and critic need the same features, and computing them once is cheaper. For Atari the trunk is
# usually shared. Then the coefficients, and the scale of the rewards, are worth a second look.

# %% [markdown]
# One episode with the best policy on a shared trunk:

# %%
shared = [ppo_clip for (way, _), ppo_clip in trained.items() if way == "shared"]
max(shared, key=lambda ppo_clip: ppo_clip.best_reward).visualize_best()

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right or
# wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** The negative log-likelihood of an action was 1.0 when the data were collected, and
# is 0.8 now. What is the ratio $r$?
#
# - (a) 0.8
# - (b) 0.82
# - (c) 1.22
# - (d) 1.25

# %%
quiz("08", 1, "?")

# %% [markdown]
# **Question 2.** In the trunk the policy's gradient has the norm 0.3 and that of the values the norm
# 4. They are orthogonal, and all other gradients are 0. The sum is clipped to the norm 0.5. Which
# norm does the policy's part have then?
#
# - (a) 0.3
# - (b) 0.25
# - (c) 0.15
# - (d) 0.037

# %%
quiz("08", 2, "?")

# %% [markdown]
# **Question 3.** Policy and critic are two networks without a common weight, each with its own optimiser
# and its own limit of the norm. Somebody multiplies the value loss by 100. What happens to the
# policy's next step?
#
# - (a) nothing
# - (b) it becomes shorter
# - (c) it turns towards what the critic wants

# %%
quiz("08", 3, "?")

# %% [markdown]
# **Question 4.** The gradient of the joint loss is longer than `max_grad_norm`. We multiply the whole
# loss by 10, all three terms. What happens to the clipped gradient?
#
# - (a) nothing
# - (b) it is ten times as long
# - (c) it has the same length, but another direction

# %%
quiz("08", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abca"`.


# %% nbgrader={"grade": false, "grade_id": "shared-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "cdaa"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "shared-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_08(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_08(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# An open task without a check, with what you should see. In a graded course, what you write below earns a bonus.
#
# - **Ten times the loss.** Switch the limit of the norm off (`max_grad_norm = 1e9`), and multiply the whole joint loss by 10; the
#   optimiser is Adam. Expected: a step hardly changes, because Adam divides by the size of the gradients. Try it with `torch.optim.SGD`:
#   there it is ten times as long.

# %% [markdown] nbgrader={"grade": true, "grade_id": "shared-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

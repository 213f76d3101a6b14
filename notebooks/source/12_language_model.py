# %% [markdown]
# # A language model learns from a reward
#
# PPO and its relatives do not only play games. They also teach language models to be helpful, to follow
# instructions, or to solve problems. In this notebook you do the same in miniature: a model that writes one
# character after the other, a reward for its texts, PPO with a penalty that keeps its language intact, and
# GRPO, which needs no critic. Everything runs on your own computer, and nothing is downloaded.
#
# If you want to know more:
#
# - [Fine-Tuning Language Models from Human Preferences](https://arxiv.org/abs/1909.08593) (Ziegler et al.,
#   2019) did it first, and [InstructGPT](https://arxiv.org/abs/2203.02155) (Ouyang et al., 2022) made it
#   big;
# - [DeepSeekMath](https://arxiv.org/abs/2402.03300) (Shao et al., 2024) introduced GRPO;
# - [Approximating KL Divergence](http://joschu.net/blog/kl-approx.html) (Schulman, 2020) is two pages about
#   the estimates that you will write.
#
# [◀ 11](11_write_ppo.ipynb) · [Start here: map, cheat sheet, glossary](00_start_here.ipynb)

# %% [markdown]
# # Goals
#
# After this notebook you can
#
# - say what states, actions, rewards and episodes are when a language model learns;
# - estimate a KL divergence from samples in two ways, and say which one to use where;
# - turn one reward for a whole text into an advantage for each character, with a critic or with a group;
# - recognise reward hacking, and hold it back.
#
# | Exercise | Difficulty | Minutes | Importance |
# |---|---|---|---|
# | The page | ●●○ | 15 | essential |
# | The writer | ●○○ | 10 | useful |
# | Two estimates of the KL divergence | ●●○ | 10 | essential |
# | The reward of a character | ●●○ | 15 | essential |
# | The advantage of a character | ●●○ | 15 | essential |
# | The loss of a text | ●○○ | 5 | useful |
# | One iteration of PPO | ●●● | 20 | essential |
# | The advantage in a group | ●○○ | 10 | essential |
# | One iteration of GRPO | ●●○ | 10 | useful |
# | What have you understood? (four questions) | ●○○ | 5 | useful |
#
# With reading it takes about 140 minutes. You should have written PPO's objective (notebook 03) and GAE
# (notebook 02). If you are short of time, stop before GRPO.

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
import random
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
from torch import nn

from ppo_bbrl import Agent, Agents, TemporalAgent, Workspace
from ppo_course import (
    check_group_advantages,
    check_kl_estimates,
    check_learn_grpo,
    check_learn_ppo,
    check_page,
    check_quiz_12,
    check_text_loss,
    check_token_advantages,
    check_token_rewards,
    check_writer,
    quiz,
)
from ppo_course.pictures import show

# The networks below are so small that several threads would mostly wait for each other.
torch.set_num_threads(1)

# With the environment variable TESTING_MODE=on the notebook learns for a second only. It is meant
# for automatic tests, which want to know whether every cell runs.
TESTING_MODE = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")

# %% [markdown]
# # A small language
#
# A language model learns from texts. Ours are sentences of a very small language, made by chance: someone
# does something to someone. There are $4 \cdot 8 \cdot 8 \cdot 8 \cdot 4 \cdot 8 \cdot 8$ of them, half a
# million; the model will see 3000.

# %%
ARTICLES = ["a", "the", "one", "my"]
ADJECTIVES = ["big", "old", "small", "dark", "green", "sweet", "tired", "clever"]
NOUNS = ["cat", "dog", "fox", "owl", "bee", "sheep", "eel", "deer"]
VERBS = ["finds", "asks", "likes", "hugs", "sees", "meets", "feeds", "greets"]


def sentence(draw):
    """
    A sentence such as "the old cat sees a green bee."; draw is a random.Random
    """
    parts = (ARTICLES, ADJECTIVES, NOUNS, VERBS, ARTICLES, ADJECTIVES, NOUNS)
    return " ".join(draw.choice(part) for part in parts) + "."


draw = random.Random(0)
corpus = [sentence(draw) for _ in range(3000)]
CHARACTERS = sorted(set("".join(corpus)))
NUMBER = {character: number for number, character in enumerate(CHARACTERS)}
END = NUMBER["."]  # ends a text
print(f"{len(CHARACTERS)} characters, {sum(map(len, corpus)) / len(corpus):.0f} in a sentence\n")
print("\n".join(corpus[:4]))

# %% [markdown]
# # The text is the environment
#
# A model that writes is an agent that acts. Everything you know has a counterpart here:
#
# | Reinforcement learning | Language model |
# |---|---|
# | observation | the text so far (as much of it as the *context window* shows) |
# | action | the next character (in a large model: the next *token*, a piece of a word) |
# | policy | the model: a probability for every possible next character |
# | environment | the page: it appends the character, and nothing else happens |
# | episode | a text; it begins with a *prompt* and ends with a full stop, or when the page is full |
# | reward | a single number for the finished text |
#
# In our workspace, **time is the text**: row $t$ holds what the model saw, and the character that it wrote
# then. The $B$ columns are $B$ texts that are written side by side. Texts have different lengths. The rows
# below a full stop hold characters, too, because a table has no holes; they are *padding*, and must not
# count anywhere.
#
# | Row | 0 | 1 | 2 | 3 | 4 |
# |---|---|---|---|---|---|
# | `env/env_obs` (here a window of 4) | `.the` | `the ` | `he b` | `e be` | … |
# | `action` | ` ` | `b` | `e` | `e` | … |
# | `env/done` | no | no | no | no | … |

# %% [markdown]
# ## Exercise: the page
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `Page(prompts, end)`, the environment as an agent. It gets
#
# - `prompts`, the windows in which the texts begin: numbers of characters, $[B, W]$. Where a prompt is
#   shorter than the window, it is padded on the left with full stops, as if another text had just ended;
# - `end`, the number of the character that ends a text.
#
# Its `forward(t)` writes two variables into row $t$:
#
# - `env/env_obs`, $[B, W]$: in row 0 the prompts; afterwards the window of row $t - 1$, without its first
#   character, and with `action` of row $t - 1$ as its last one;
# - `env/done`, $[B]$, a mask: whether the text has ended *before* this row. In row 0 none has. A text that
#   has ended stays ended, whatever is written afterwards.
#
# Useful: `self.get((name, t))`, `self.set((name, t), value)`;
# [torch.cat](https://pytorch.org/docs/stable/generated/torch.cat.html) of two tensors along `dim=1`;
# `action.unsqueeze(-1)` is $[B, 1]$; `|` is *or* for masks.


# %% nbgrader={"grade": false, "grade_id": "language-page", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Page(Agent):
    """
    The page on which B texts are written side by side
    """

    def __init__(self, prompts, end):
        super().__init__("page")
        ### BEGIN SOLUTION
        self.prompts = prompts
        self.end = end
        ### END SOLUTION

    def forward(self, t, **kwargs):
        """
        Write env/env_obs [B, W] and env/done [B] into row t
        """
        ### BEGIN SOLUTION
        if t == 0:
            window = self.prompts
            done = torch.zeros(len(window), dtype=torch.bool)
        else:
            before = self.get(("env/env_obs", t - 1))
            action = self.get(("action", t - 1))
            window = torch.cat([before[:, 1:], action.unsqueeze(-1)], dim=1)
            done = self.get(("env/done", t - 1)) | (action == self.end)
        self.set(("env/env_obs", t), window)
        self.set(("env/done", t), done)
        ### END SOLUTION


# %% [markdown]
# The check writes a few texts onto your page, among them one with an empty prompt, and one that has two
# full stops.

# %% nbgrader={"grade": true, "grade_id": "language-page-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_page(Page)
### BEGIN HIDDEN TESTS
check_page(Page, seed=1)
check_page(Page, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # The writer
#
# The policy is a network that sees the last characters and gives every next character a probability. In a
# large model a transformer stands in its place, and the window holds a whole book; nothing else would
# change in what follows.

# %% [markdown]
# ## Exercise: the writer
#
# *Difficulty: ●○○ · about 10 minutes · useful*
#
# Write the agent `Writer(model)`, as in notebook 11. `model` gives scores, $[\dots, V]$, for windows
# $[\dots, W]$: one for each of the $V$ characters.
#
# - `evaluate(obs, action)` returns the log-probabilities of characters, $[\dots]$, with their gradient;
# - `forward(t)` reads the windows of row $t$, draws the next characters, and writes them as `action`, and
#   their log-probabilities as `log_prob`, $[B]$ each, without a gradient.
#
# Useful: [torch.multinomial](https://pytorch.org/docs/stable/generated/torch.multinomial.html) draws from
# probabilities: `torch.multinomial(probabilities, 1)` is $[B, 1]$.


# %% nbgrader={"grade": false, "grade_id": "language-writer", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Writer(Agent):
    """
    Writes the next character
    """

    def __init__(self, model):
        super().__init__("writer")
        self.model = model

    def evaluate(self, obs, action):
        """
        The log-probabilities [...] of characters [...] after windows [..., W]
        """
        ### BEGIN SOLUTION
        log_probs = self.model(obs).log_softmax(-1)
        return log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        ### END SOLUTION

    def forward(self, t, **kwargs):
        """
        Write action and log_prob into row t
        """
        ### BEGIN SOLUTION
        obs = self.get(("env/env_obs", t))
        with torch.no_grad():
            probabilities = self.model(obs).softmax(-1)
            action = torch.multinomial(probabilities, 1).squeeze(-1)
            log_prob = self.evaluate(obs, action)
        self.set(("action", t), action)
        self.set(("log_prob", t), log_prob)
        ### END SOLUTION


# %% [markdown]
# The check lets your writer write thousands of characters after the same window.

# %% nbgrader={"grade": true, "grade_id": "language-writer-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_writer(Writer)
### BEGIN HIDDEN TESTS
check_writer(Writer, seed=1)
check_writer(Writer, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# Here is the network. It sees 20 characters, and turns each of them into 8 numbers first, which are
# learned, too. The critic is a network of the same kind.

# %%
WINDOW, ROWS = 20, 40  # what the writer sees; how long a text may be


def network(n_outputs):
    """
    From windows [..., W] to numbers [..., n_outputs]
    """
    return nn.Sequential(
        nn.Embedding(len(CHARACTERS), 8),
        nn.Flatten(-2),
        nn.Linear(8 * WINDOW, 128),
        nn.ReLU(),
        nn.Linear(128, n_outputs),
    )


class Critic(nn.Module):
    """
    The value of what is written so far: [..., W] to [...]
    """

    def __init__(self):
        super().__init__()
        self.model = network(1)

    def forward(self, obs):
        return self.model(obs).squeeze(-1)


# %% [markdown]
# ## Learning the language
#
# *Pretraining* is supervised: for every place in every sentence, make the character that really comes there
# more probable. It takes about 10 seconds of processor time.
#
# The best that any model can reach is the entropy of the language: seven choices in a sentence, divided by
# its number of characters. That is the dashed line.


# %%
def window_of(text):
    """
    The last characters of a text, as numbers, with full stops before its beginning
    """
    return [NUMBER[character] for character in ("." * WINDOW + text)[-WINDOW:]]


def pretrain(writer, n_steps):
    """
    Learn to continue the sentences of the corpus; returns the loss of each step
    """
    places = [(text, k) for text in corpus for k in range(len(text))]
    obs = torch.tensor([window_of(text[:k]) for text, k in places])
    action = torch.tensor([NUMBER[text[k]] for text, k in places])
    optimizer = torch.optim.Adam(writer.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, n_steps)
    losses = []
    for _ in range(n_steps):
        index = torch.randint(len(obs), (256,))
        loss = -writer.evaluate(obs[index], action[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return torch.tensor(losses)


torch.manual_seed(0)
reference = Writer(network(len(CHARACTERS)))
losses = pretrain(reference, n_steps=1500 if not TESTING_MODE else 200)
reference.requires_grad_(False)

# %%
choices = [len(part) for part in (ARTICLES, ADJECTIVES, NOUNS, VERBS, ARTICLES, ADJECTIVES, NOUNS)]
best = torch.tensor(choices).log().sum() / (sum(map(len, corpus)) / len(corpus))
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
smooth = losses.unfold(0, 20, 20).mean(-1)
axes.plot(20 * torch.arange(len(smooth)) + 10, smooth, color="#0072B2")
axes.axhline(best, color="0.5", linestyle="--", linewidth=1)
axes.set(xlabel="steps", ylabel="loss per character (nats)", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "Pretraining: the loss of the writer, and the entropy of the language (dashed).",
    "A curve that falls from 3 to about 0.4 within the first steps, and stays on the dashed line.",
)

# %% [markdown]
# It can write. The prompts are an article and an adjective; the rest is the writer's.

# %%
PROMPTS = [f"{article} {adjective} " for article in ARTICLES for adjective in ADJECTIVES]


def write(writer, prompts, n_rows=ROWS):
    """
    A workspace in which a text was written after each prompt
    """
    workspace = Workspace()
    page = Page(torch.tensor([window_of(prompt) for prompt in prompts]), END)
    with torch.no_grad():
        TemporalAgent(Agents(page, writer))(workspace, t=0, n_steps=n_rows)
    return workspace


def texts(workspace):
    """
    What was written, without the prompts, as a list of strings
    """
    action, done = workspace["action", "env/done"]
    columns = zip(action.T.tolist(), done.T.tolist(), strict=True)
    return [
        "".join(CHARACTERS[a] for a, ended in zip(*column, strict=True) if not ended)
        for column in columns
    ]


workspace = write(reference, PROMPTS[::5])
for prompt, text in zip(PROMPTS[::5], texts(workspace), strict=True):
    print(f"{prompt}| {text}")

# %% [markdown]
# # The reward
#
# Large models are rewarded by a network that imitates what people prefer, or by a program that knows
# whether a solution is right. We want a reward that you can *see*. Imagine a reader who loves the letter
# **e**: a text earns 1 for each e in it.
#
# Two numbers, of which the reward knows nothing, tell how the language is doing: the share of texts that are
# sentences of our language, from prompt to full stop, and later the distance from the reference.

# %%
THING = f"({'|'.join(ARTICLES)}) ({'|'.join(ADJECTIVES)}) ({'|'.join(NOUNS)})"
SENTENCE = re.compile(f"{THING} ({'|'.join(VERBS)}) {THING}[.]")


def reward_of(text):
    """
    The number of e's
    """
    return float(text.count("e"))


def share_of_sentences(prompts, written):
    """
    How many of the texts are sentences of the language, 0 to 1
    """
    pairs = zip(prompts, written, strict=True)
    return sum(bool(SENTENCE.fullmatch(prompt + text)) for prompt, text in pairs) / len(prompts)


prompts = 10 * PROMPTS
written_by_reference = texts(write(reference, prompts))
mean = sum(map(reward_of, written_by_reference)) / len(prompts)
print(f"The reference writes {mean:.1f} e's in a text,")
print(f"and {share_of_sentences(prompts, written_by_reference):.0%} of its texts are sentences.")

# %% [markdown]
# # How far from the reference?
#
# A writer that is only rewarded for e's will forget everything else. So the distance from the *reference*,
# the model before it got any reward, is a cost. It is measured by the KL divergence, which is an
# expectation over texts that *the writer* writes:
#
# $$
# \operatorname{KL}(\pi_\theta \,\|\, \pi_{\text{ref}}) = \mathbb{E}_{a \sim \pi_\theta}\left[\log \frac{\pi_\theta(a)}{\pi_{\text{ref}}(a)}\right].
# $$
#
# We estimate it from the characters that were written. With $r = \pi_{\text{ref}}(a) / \pi_\theta(a)$,
# Schulman compares two estimates for a single character:
#
# $$
# k_1 = -\log r, \qquad k_3 = (r - 1) - \log r.
# $$
#
# Both are right on average, because $r - 1$ is 0 on average. $k_1$ may be negative; $k_3$ never is, and it
# varies less while the policies are close.

# %% [markdown]
# ## Exercise: two estimates of the KL divergence
#
# *Difficulty: ●●○ · about 10 minutes · essential*
#
# Write `kl_estimates`. It gets log-probabilities of the same characters, $[T, B]$ each:
#
# - `log_prob`, under the writer, who has written them;
# - `ref_log_prob`, under the reference.
#
# It returns `k1` and `k3`, $[T, B]$ each, with their gradient.
#
# In notebooks 04 and 11 the samples came from the *old* policy, and $r$ was new / old. The rule behind
# both: the policy that the samples come from is the denominator.


# %% nbgrader={"grade": false, "grade_id": "language-kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kl_estimates(log_prob, ref_log_prob):
    """
    The estimates k1 and k3 of KL(writer || reference) for each character
    """
    ### BEGIN SOLUTION
    log_ratio = ref_log_prob - log_prob
    k1 = -log_ratio
    k3 = log_ratio.exp() - 1 - log_ratio
    return k1, k3
    ### END SOLUTION


# %% [markdown]
# The check compares both estimates for single characters, and their gradients.

# %% nbgrader={"grade": true, "grade_id": "language-kl-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_kl_estimates(kl_estimates)
### BEGIN HIDDEN TESTS
check_kl_estimates(kl_estimates, seed=1)
check_kl_estimates(kl_estimates, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# How much less does $k_3$ vary? Here is a writer whose weights have moved a little. We know all of its
# probabilities, so we can compute the divergence itself, and compare it with estimates from 100
# characters each.

# %%
torch.manual_seed(1)
moved = copy.deepcopy(reference)
with torch.no_grad():
    for weight in moved.parameters():
        weight.add_(0.08 * weight.std() * torch.randn_like(weight))

workspace = write(moved, 40 * PROMPTS if not TESTING_MODE else PROMPTS)
obs, action, log_prob, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
with torch.no_grad():
    every, ref_every = moved.model(obs).log_softmax(-1), reference.model(obs).log_softmax(-1)
    exact = (every.exp() * (every - ref_every)).sum(-1)[~done].mean()
estimates = kl_estimates(log_prob, reference.evaluate(obs, action))
done_moved, order = done, torch.randperm(int((~done).sum()))
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
for estimate, name, colour in zip(
    estimates, ("$k_1$", "$k_3$"), ("#D55E00", "#0072B2"), strict=True
):
    means = estimate[~done_moved][order].unfold(0, 100, 100).mean(-1)
    axes.hist(means, bins=20, color=colour, alpha=0.6, label=f"mean of 100 {name}")
    print(
        f"{name.strip('$').replace('_', '')}: {means.mean():.4f} on average, standard deviation {means.std():.4f}"
    )
print(f"exact: {exact:.4f}")
axes.axvline(exact, color="0.2", linestyle="--", linewidth=1)
axes.set(xlabel="estimate of the KL divergence per character (nats)", ylabel="estimates")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
show(
    figure,
    "Estimates from 100 characters each, and the divergence itself (dashed).",
    "Two histograms around the same dashed line; that of k3 is narrower and has nothing below 0.",
)

# %% [markdown]
# # From one reward to many
#
# The reader judges the whole text, at its end. The penalty, however, belongs to single characters: we know
# which one was unusual. PPO on language models puts both together:
#
# $$
# r_t = -\beta \left(\log \pi_\theta(a_t) - \log \pi_{\text{ref}}(a_t)\right) + \begin{cases} \text{reward of the text} & \text{if } a_t \text{ is its last character,} \\ 0 & \text{otherwise.} \end{cases}
# $$
#
# The sum over a text is its reward minus $\beta$ times the $k_1$ of the text. $\beta$ is the price of a
# *nat*, the unit of divergences and entropies with the natural logarithm.

# %% [markdown]
# ## Exercise: the reward of a character
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# Write `token_rewards`. It gets
#
# - `reward`, the rewards of the texts, $[B]$;
# - `log_prob` and `ref_log_prob`, $[T, B]$;
# - `written`, a mask $[T, B]$: True in the rows of a text, False in its padding;
# - `beta`, a number.
#
# It returns the rewards $r_t$, $[T, B]$, with 0 in the padding.
#
# <details>
# <summary>A hint</summary>
#
# A row holds the last character of a text if it is written and the next row is not. Below the last row
# nothing is written: `torch.cat` can append a row of False, made by `torch.zeros_like(written[:1])`. There
# are other ways, such as counting the characters of each text: `written.sum(0)`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "language-token-rewards", "locked": false, "schema_version": 3, "solution": true, "task": false}
def token_rewards(reward, log_prob, ref_log_prob, written, beta):
    """
    The reward of each character [T, B]: its penalty, and that of the text at the end
    """
    ### BEGIN SOLUTION
    below = torch.zeros_like(written[:1])
    last = written & ~torch.cat([written[1:], below])
    k1, _ = kl_estimates(log_prob, ref_log_prob)
    penalty = -beta * k1 * written
    return penalty + reward * last
    ### END SOLUTION


# %% [markdown]
# The check has texts of all lengths: a single character, all rows, and some in between.

# %% nbgrader={"grade": true, "grade_id": "language-token-rewards-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_token_rewards(token_rewards)
### BEGIN HIDDEN TESTS
check_token_rewards(token_rewards, seed=1)
check_token_rewards(token_rewards, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: the advantage of a character
#
# *Difficulty: ●●○ · about 15 minutes · essential*
#
# This is GAE once more (notebook 02), with two simplifications. Texts are short, so nothing is
# discounted: $\gamma = 1$. And here the reward of a character stands in *its own* row, so only the next value is
# shifted:
#
# $$
# \delta_t = r_t + V_{t+1} - V_t, \qquad \hat{A}_t = \delta_t + \lambda \hat{A}_{t+1}.
# $$
#
# Below its last character a text has nothing: no value and no advantage, whatever the critic says about the
# padding. A text that fills all rows ends there, too.
#
# Write `token_advantages`. It gets `reward` and `value`, $[T, B]$, the mask `written`, and `gae_lambda`. It
# returns the advantages, $[T, B]$, with 0 in the padding.


# %% nbgrader={"grade": false, "grade_id": "language-token-advantages", "locked": false, "schema_version": 3, "solution": true, "task": false}
def token_advantages(reward, value, written, gae_lambda):
    """
    The advantage of each character, [T, B]
    """
    ### BEGIN SOLUTION
    advantage = torch.zeros_like(reward)
    next_value = torch.zeros_like(reward[0])
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        delta = reward[t] + next_value - value[t]
        following = (delta + gae_lambda * following) * written[t]
        next_value = value[t] * written[t]
        advantage[t] = following
    return advantage
    ### END SOLUTION


# %% [markdown]
# In the check, the critic has an opinion about the padding, too. It must not matter.

# %% nbgrader={"grade": true, "grade_id": "language-token-advantages-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check_token_advantages(token_advantages)
### BEGIN HIDDEN TESTS
check_token_advantages(token_advantages, seed=1)
check_token_advantages(token_advantages, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# # Learning
#
# ## Exercise: the loss of a text
#
# *Difficulty: ●○○ · about 5 minutes · useful*
#
# The clipped objective is that of notebook 03. What is new is the mask. Write `text_loss`. It gets
# `log_prob`, `old_log_prob` and `advantage`, $[T, B]$, the mask `written`, and `clip_range`. It returns
# *minus* the mean of the clipped objective over all characters that were written, a scalar.


# %% nbgrader={"grade": false, "grade_id": "language-text-loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def text_loss(log_prob, old_log_prob, advantage, written, clip_range):
    """
    Minus the clipped objective, its mean over what was written
    """
    ### BEGIN SOLUTION
    ratio = torch.exp(log_prob - old_log_prob)
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    objective = torch.min(ratio * advantage, clipped_ratio * advantage)
    return -objective[written].mean()
    ### END SOLUTION


# %% [markdown]
# The check compares the loss and its gradient.

# %% nbgrader={"grade": true, "grade_id": "language-text-loss-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_text_loss(text_loss)
### BEGIN HIDDEN TESTS
check_text_loss(text_loss, seed=1)
check_text_loss(text_loss, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: one iteration of PPO
#
# *Difficulty: ●●● · about 20 minutes · essential*
#
# Write `learn_ppo(algo, workspace, reward)`. It learns from a workspace with texts, and their rewards,
# $[B]$. `algo` has
#
# - `writer`, `critic` and `reference`: `writer.evaluate(obs, action)`, `reference.evaluate(obs, action)`,
#   `critic(obs)`;
# - `writer_optimizer` and `critic_optimizer`;
# - `cfg`, with `beta`, `gae`, `clip_range` and `epochs`.
#
# The steps:
#
# 1. Read `env/env_obs`, `action`, `log_prob` and `env/done`. Written is what is not done.
# 2. Once, without gradients: the reference's log-probabilities and the critic's values; from them rewards
#    and advantages, and the critic's targets, advantage + value.
# 3. Normalise the advantages *for the writer*: minus their mean, divided by their standard deviation plus
#    $10^{-8}$, both taken over what was written.
# 4. In each epoch, with all texts at once: a step of the writer's optimiser with `text_loss`, a step of the
#    critic's with the mean squared error of its values, over what was written.
#
# It returns nothing.


# %% nbgrader={"grade": false, "grade_id": "language-learn-ppo", "locked": false, "schema_version": 3, "solution": true, "task": false}
def learn_ppo(algo, workspace, reward):
    """
    One iteration of PPO on texts
    """
    ### BEGIN SOLUTION
    cfg = algo.cfg
    obs, action, old_log_prob, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
    written = ~done
    with torch.no_grad():
        ref_log_prob = algo.reference.evaluate(obs, action)
        value = algo.critic(obs)
    rewards = token_rewards(reward, old_log_prob, ref_log_prob, written, cfg.beta)
    advantage = token_advantages(rewards, value, written, cfg.gae)
    target = advantage + value
    mean, std = advantage[written].mean(), advantage[written].std()
    advantage = (advantage - mean) / (std + 1e-8)

    for _ in range(cfg.epochs):
        log_prob = algo.writer.evaluate(obs, action)
        loss = text_loss(log_prob, old_log_prob, advantage, written, cfg.clip_range)
        algo.writer_optimizer.zero_grad()
        loss.backward()
        algo.writer_optimizer.step()

        error = algo.critic(obs) - target
        value_loss = error[written].square().mean()
        algo.critic_optimizer.zero_grad()
        value_loss.backward()
        algo.critic_optimizer.step()
    ### END SOLUTION


# %% [markdown]
# The check runs your function on the texts of a tiny writer, in which nothing is left to chance. The weights
# it ends with often tell which mistake was made.

# %% nbgrader={"grade": true, "grade_id": "language-learn-ppo-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} tags=["seconds-60"]
check_learn_ppo(learn_ppo)
### BEGIN HIDDEN TESTS
check_learn_ppo(learn_ppo, seed=1)
check_learn_ppo(learn_ppo, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## The loop
#
# In each iteration, 8 prompts are drawn, and the writer writes 8 texts after each of them. We record the
# number of e's, the divergence from the reference over a whole text, and the share of sentences.


# %%
class Algo:
    """
    A writer that begins as the reference, its critic, and what they learn with
    """

    def __init__(self, beta):
        self.reference = reference
        self.writer = copy.deepcopy(reference).requires_grad_()
        self.critic = Critic()
        self.writer_optimizer = torch.optim.Adam(self.writer.parameters(), lr=1e-3)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=3e-3)
        self.cfg = SimpleNamespace(beta=beta, gae=0.95, clip_range=0.2, epochs=4, group_size=8)


def train(learn, beta, n_iterations=60 if not TESTING_MODE else 3, seed=0):
    """
    A writer that has learned, and its history: [iterations, 3] of e's, KL, share of sentences
    """
    torch.manual_seed(seed)
    draw, algo, history = random.Random(seed), Algo(beta), []
    for _ in range(n_iterations):
        prompts = [p for p in draw.sample(PROMPTS, 8) for _ in range(algo.cfg.group_size)]
        workspace = write(algo.writer, prompts)
        written = texts(workspace)
        reward = torch.tensor([reward_of(text) for text in written])
        obs, action, log_prob, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
        with torch.no_grad():
            k1, _ = kl_estimates(log_prob, reference.evaluate(obs, action))
        divergence = (k1 * ~done).sum(0).mean()
        history.append([reward.mean(), divergence, share_of_sentences(prompts, written)])
        learn(algo, workspace, reward)
    return algo.writer, torch.tensor(history)


def show_texts(writer, prompts=PROMPTS[::5]):
    """
    Print a text for each prompt, with its reward; each e is a capital letter
    """
    for prompt, text in zip(prompts, texts(write(writer, prompts)), strict=True):
        print(f"{reward_of(text):3.0f}  {prompt}| {text.replace('e', 'E')}")


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def show_histories(histories, caption, seen):
    """
    Three panels, a line for each history: its name in the legend
    """
    figure, panels = plt.subplots(1, 3, figsize=(10, 2.7), layout="constrained")
    titles = ("e's in a text (the reward)", "KL from the reference (nats)", "share of sentences")
    for k, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
            axes.plot(history[:, k], color=colour, label=name, linewidth=1.4)
        axes.set_title(title, fontsize="medium")
        axes.set(ylim=(0, None), xlabel="iterations")
        axes.spines[["top", "right"]].set_visible(False)
    panels[2].set_ylim(0, 1.05)
    panels[0].legend(frameon=False)
    show(figure, caption, seen)


# %% [markdown]
# Here the price of a nat is $\beta = 0.5$ e's. It takes about 10 seconds of processor time.

# %%
histories = {}
careful, histories["β = 0.5"] = train(learn_ppo, beta=0.5)
show_histories(
    histories,
    "PPO with the penalty: twice as many e's, and nearly all texts are still sentences.",
    "The number of e's rises from 4 to more than 8, the divergence to about 3 nats; the share of "
    "sentences stays near 0.9.",
)
show_texts(careful)

# %% [markdown]
# It has learned to choose words. Nobody told it about sheep or bees: the reward only counted letters in
# finished texts, and PPO found out which characters had earned it. Where has the writer changed? Here is a
# sentence, with $k_1$ of each of its characters: positive where the writer likes this character better than
# the reference does.

# %%
torch.manual_seed(0)
workspace = write(careful, ["the old "])
obs, action, log_prob, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
k1, _ = kl_estimates(log_prob, reference.evaluate(obs, action))
(text,) = texts(workspace)
figure, axes = plt.subplots(figsize=(9, 2.2), layout="constrained")
axes.bar(range(len(text)), k1[: len(text), 0], color="#0072B2", width=0.7)
axes.axhline(0, color="0.5", linewidth=0.8)
axes.set(xticks=range(len(text)), ylabel="$k_1$ (nats)")
axes.set_xticklabels([character.replace(" ", "␣") for character in text], family="monospace")
axes.spines[["top", "right", "bottom"]].set_visible(False)
show(
    figure,
    "What the writer pays for: the choices at the beginnings of words. The rest follows from them.",
    f"Bars above the characters of: {text} The large ones are at the beginnings of words.",
)

# %% [markdown]
# # Reward hacking
#
# What if nats cost less, or nothing? Two more runs, about 20 seconds of processor time.

# %%
cheap, histories["β = 0.2"] = train(learn_ppo, beta=0.2)
free, histories["β = 0"] = train(learn_ppo, beta=0.0)
show_histories(
    histories,
    "The lower the price, the higher the reward, and the worse the language.",
    "With a price of 0 the e's rise to nearly 40, and soon no text is a sentence. With 0.2 they rise "
    "to about 18; the share of sentences falls to 0 a little later, but it does fall.",
)
print("β = 0.2")
show_texts(cheap, PROMPTS[::11])
print("\nβ = 0")
show_texts(free, PROMPTS[::11])

# %% [markdown]
# This is *reward hacking*: the reward rises, and what it stood for is lost. With a penalty of 0 the
# writer finds the best text there is, for a reader who counts: nothing but e. Its curve looks like a great
# success, if you look at the first panel only.
#
# The hack at $\beta = 0.2$ is less obvious and more typical. At first all is well, for ten iterations or
# for thirty, as chance will have it. Then the writer finds out that it need not stop: most words are still
# words, but the full stop never comes, since a longer text has room for more e's. Large models do that,
# too: if readers like thorough answers a little better, answers grow and grow.
#
# **The repair** is the price. An e is cheap where the language offers it anyway, in *green* instead of
# *dark*: the reference gives every adjective a probability of 1/8, and the choice costs at most
# $\log 8 \approx 2$ nats. An e in the middle of nowhere costs 7 nats or more. With a price of 0.5 the first
# pays, and the second does not. But there is no best value: with a smaller price you get more of what the
# reward says, with a larger one more of what it does not say. So always look at something that the reward
# does not measure, and at the texts.

# %% [markdown]
# # GRPO: a group instead of a critic
#
# In a large model the critic is a second large model. GRPO (*group relative policy optimisation*) leaves it
# out. The critic answered the question: how well do texts with this beginning usually do? GRPO asks the
# texts themselves. It lets the model write several after the same prompt, a *group*, and compares each with
# the others:
#
# $$
# \hat{A}_i = \frac{R_i - \operatorname{mean}(R_1, \dots, R_G)}{\operatorname{std}(R_1, \dots, R_G)}.
# $$
#
# All characters of a text have this advantage, the good ones and the bad ones: that is the price of doing
# without a critic.

# %% [markdown]
# ## Exercise: the advantage in a group
#
# *Difficulty: ●○○ · about 10 minutes · essential*
#
# Write `group_advantages`. It gets
#
# - `reward`, the rewards of the texts, $[B]$. The first `group_size` of them belong to the same prompt,
#   then the next ones, and so on;
# - `group_size`, the $G$ of the formula.
#
# It returns the advantages, $[B]$. Add $10^{-6}$ to the standard deviation (torch's `std`): in a group in
# which all rewards are the same there is nothing to learn, and the advantages are 0.
#
# Useful: `reward.reshape(-1, group_size)`; `mean(dim=1, keepdim=True)`; `flatten()`.


# %% nbgrader={"grade": false, "grade_id": "language-group-advantages", "locked": false, "schema_version": 3, "solution": true, "task": false}
def group_advantages(reward, group_size):
    """
    The advantage of each text within its group, [B]
    """
    ### BEGIN SOLUTION
    groups = reward.reshape(-1, group_size)
    mean = groups.mean(dim=1, keepdim=True)
    std = groups.std(dim=1, keepdim=True)
    return ((groups - mean) / (std + 1e-6)).flatten()
    ### END SOLUTION


# %% [markdown]
# The check has groups of several sizes, and one in which all texts are equally good.

# %% nbgrader={"grade": true, "grade_id": "language-group-advantages-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_group_advantages(group_advantages)
### BEGIN HIDDEN TESTS
check_group_advantages(group_advantages, seed=1)
check_group_advantages(group_advantages, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# ## Exercise: one iteration of GRPO
#
# *Difficulty: ●●○ · about 10 minutes · useful*
#
# Write `learn_grpo(algo, workspace, reward)`, with the arguments of `learn_ppo`. Two things are different:
#
# - the advantage of a character is that of its text in its group (`algo.cfg.group_size`). Nothing is
#   normalised again, and there is no critic to train;
# - the penalty is not part of the reward. It stands in the loss of each epoch: `text_loss` + $\beta$ times
#   the mean of $k_3$ over what was written, made of the *new* log-probabilities and the reference's.
#
# Useful: `advantage.expand_as(log_prob)` turns $[B]$ into $[T, B]$.


# %% nbgrader={"grade": false, "grade_id": "language-learn-grpo", "locked": false, "schema_version": 3, "solution": true, "task": false}
def learn_grpo(algo, workspace, reward):
    """
    One iteration of GRPO on texts
    """
    ### BEGIN SOLUTION
    cfg = algo.cfg
    obs, action, old_log_prob, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
    written = ~done
    with torch.no_grad():
        ref_log_prob = algo.reference.evaluate(obs, action)
    advantage = group_advantages(reward, cfg.group_size).expand_as(old_log_prob)

    for _ in range(cfg.epochs):
        log_prob = algo.writer.evaluate(obs, action)
        _, k3 = kl_estimates(log_prob, ref_log_prob)
        loss = text_loss(log_prob, old_log_prob, advantage, written, cfg.clip_range)
        loss = loss + cfg.beta * k3[written].mean()
        algo.writer_optimizer.zero_grad()
        loss.backward()
        algo.writer_optimizer.step()
    ### END SOLUTION


# %% [markdown]
# As before, the weights of a tiny writer tell whether it is right.

# %% nbgrader={"grade": true, "grade_id": "language-learn-grpo-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} tags=["seconds-60"]
check_learn_grpo(learn_grpo)
### BEGIN HIDDEN TESTS
check_learn_grpo(learn_grpo, seed=1)
check_learn_grpo(learn_grpo, seed=2)
### END HIDDEN TESTS

# %% [markdown]
# GRPO measures rewards in standard deviations of a group, about two e's. So its $\beta$ has another unit,
# and 0.7 is roughly what 1.4 would be for PPO. About 7 seconds of processor time.

# %%
grouped, by_groups = train(learn_grpo, beta=0.7)
show_histories(
    {"PPO, β = 0.5": histories["β = 0.5"], "GRPO, β = 0.7": by_groups},
    "GRPO beside PPO: it learns without a critic, and stays closer to the reference here.",
    "PPO's number of e's rises from 4 to 9, GRPO's to between 6 and 7, with a divergence of 1 to 2 "
    "nats. The share of sentences stays above 0.7 for both.",
)
show_texts(grouped)

# %% [markdown]
# With a critic, PPO knows after a few characters that *the old sh…* is going well. GRPO gives all
# characters of a text the same advantage, and needs more texts to find out which of them deserved it. There
# is a second difference. PPO's penalty is part of the reward, so that a character also pays for what it
# leads to; in GRPO's loss each character pays for itself only. In return GRPO has no second network to
# store and to train, and no critic that can be wrong. If texts are cheap and memory is expensive, as with
# large models, that is a good bargain.

# %% [markdown]
# ## What have you understood?
#
# Decide first. Then put your choice in place of the question mark, and run the cell: it says why it is right
# or wrong. Try as often as you like.

# %% [markdown]
# **Question 1.** The writer gives a character the probability 0.5, the reference 0.25. How large are $k_1$
# and $k_3$?
#
# - (a) $0.69$ and $0.19$
# - (b) $-0.69$ and $0.31$
# - (c) $0.69$ and $0.31$
# - (d) $0.25$ and $0.19$

# %%
quiz("12", 1, "?")

# %% [markdown]
# **Question 2.** A text has 25 characters, the page 40 rows. Somebody puts the reward of the text into row
# 39 instead of row 24, and masks the padding. What does the writer learn?
#
# - (a) to write longer texts, because only those that fill the page are rewarded
# - (b) the same as before, only more slowly
# - (c) nothing, because no text is rewarded

# %%
quiz("12", 2, "?")

# %% [markdown]
# **Question 3.** In a group of four, the rewards are 3, 5, 5 and 7. What is the advantage of the last text?
#
# - (a) 2
# - (b) 1.22
# - (c) 0.75
# - (d) 0

# %%
quiz("12", 3, "?")

# %% [markdown]
# **Question 4.** After a noun that is the object, the reference writes a full stop nearly always; a space
# has the probability 0.001. Going on for another 20 characters earns 5 more e's. From which price $\beta$ on
# does the run-on sentence no longer pay, if the rest of it costs 2 nats?
#
# - (a) from 0.26 on
# - (b) from 0.56 on
# - (c) from 0.72 on
# - (d) from 5 on

# %%
quiz("12", 4, "?")

# %% [markdown]
# ## Exercise: your answers
#
# *Difficulty: ●○○ · about 1 minute · useful*
#
# `quiz_answers` returns your choices as one string, a letter for each question in their order, such as `"abcd"`.


# %% nbgrader={"grade": false, "grade_id": "language-quiz", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quiz_answers():
    """Your choices, a letter for each question"""
    ### BEGIN SOLUTION
    return "aabb"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "language-quiz-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check_quiz_12(quiz_answers)
### BEGIN HIDDEN TESTS
check_quiz_12(quiz_answers, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# # Going further
#
# Two tasks without a check, with what you should see:
#
# - **Another reward**: the *share* of e's in the text, times 40. Expected: run-on sentences no longer pay.
#   Instead, within 15 iterations, the writer writes *eee.* after every prompt, even at $\beta = 0.5$: a
#   short text has few characters that cost anything. Which price, or which reward, would you choose?
# - **GRPO without the standard deviation** (as in [Dr. GRPO](https://arxiv.org/abs/2503.20783)): leave out
#   the division, and give $\beta$ its old unit, 1.4. Expected: about the same curves. The division matters
#   where some prompts have much more varied rewards than others.
#
# In a graded course, what you write below earns a bonus.

# %% [markdown] nbgrader={"grade": true, "grade_id": "language-further", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# What I tried, what I saw, and what I conclude:

"""The checks of notebook 12's iterations: one of PPO, one of GRPO, on texts."""

import itertools
from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch

from ppo_course.feedback import numbers, same
from ppo_course.lending import standing_in
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb12_language_model.iterations import OF_GRPO, OF_PPO, grpo, ppo
from ppo_course.nb12_language_model.right import PARTS
from ppo_course.nb12_language_model.small_author import Author, Written, cases
from ppo_course.nb12_language_model.texts import WORDS

ARGUMENTS = ("algo", "workspace", "reward")
OF_TEXTS = Exercise("learn_ppo", ARGUMENTS, WORDS)
OF_GROUPS = Exercise("learn_grpo", ARGUMENTS, WORDS)
NETWORKS = ("writer", "critic")
Iteration = Callable[..., None]


@torch.enable_grad()
@OF_TEXTS.check
def check_learn_ppo(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `learn_ppo(algo, workspace, reward)`.

    `algo` has `writer`, `critic`, `reference`, an optimiser of each of the first two, and `cfg`;
    the workspace has the texts, `reward` their rewards. It changes the weights, once an epoch.
    """
    _check(OF_TEXTS, function, ppo, OF_PPO, seed)


@torch.enable_grad()
@OF_GROUPS.check
def check_learn_grpo(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `learn_grpo(algo, workspace, reward)`: as `learn_ppo`, without a critic."""
    _check(OF_GROUPS, function, grpo, OF_GRPO, seed)


def _check(
    exercise: Exercise,
    function: StudentCode,
    iteration: Iteration,
    mistakes: Sequence[str],
    seed: int | None,
) -> None:
    texts = cases(seed)
    authors = [_learned(exercise, function, written) for written in texts]

    def fits(keys: Collection[str]) -> bool:
        return all(
            _alike(author, _after(written, iteration, keys))
            for author, written in zip(authors, texts, strict=True)
        )

    if fits(()):
        return

    def see_network(name: str) -> None:
        for author, written in zip(authors, texts, strict=True):
            _refuse_unless(exercise, _alike(author, _after(written, iteration, ()), [name]))

    def see_anew(*chosen: Written) -> None:
        for written in chosen:
            author = _learned(exercise, function, written)
            _refuse_unless(exercise, _alike(author, _after(written, iteration, ())))

    parts: dict[str, Callable[[], None]] = {
        f"the_{name}": partial(see_network, name) for name in NETWORKS
    }
    if exercise is OF_GROUPS:  # the last texts cost nothing, and where all earn 0, only costs count
        parts = {
            "the_objective": partial(see_anew, texts[-1]),
            "the_penalty": lambda: see_anew(*(written.earning_nothing() for written in texts[:-1])),
        }
    tried = itertools.chain(*(itertools.combinations(mistakes, n) for n in (1, 2)))
    keys = next((keys for keys in tried if fits(keys)), None)
    first = next(
        pair for pair in zip(authors, texts, strict=True)
        if not _alike(pair[0], _after(pair[1], iteration, ()))
    )  # fmt: skip
    name, facts = _difference(*first, iteration)
    with exercise.partly(**parts):
        raise exercise.error(*(keys or (f"unknown~{name}",)), facts=facts)


def _refuse_unless(exercise: Exercise, right: bool) -> None:
    exercise.refuse(not right, "nothing-learned")


def _learned(exercise: Exercise, function: StudentCode, written: Written) -> Author:
    """An author who has learned from texts by a student's function, and nothing else."""
    author, workspace = written.author(), written.workspace()
    before = {name: author.weights(name) for name in (*NETWORKS, "reference")}
    with standing_in([function], PARTS):
        result = exercise.call(function, author, workspace, written.reward.clone())
    changed = not torch.equal(before["reference"], author.weights("reference"))
    exercise.refuse(changed, "reference-changed")
    given = written.workspace()
    for name in given.variables:
        kept = torch.equal(workspace.get_full(name), given.get_full(name))
        exercise.refuse(not kept, "workspace-changed", variable=name)
    exercise.refuse(result is not None, "returns-something")
    if exercise is OF_GROUPS:
        touched = not torch.equal(before["critic"], author.weights("critic"))
        exercise.refuse(touched, "critic-touched")
    moved = any(not torch.equal(before[name], author.weights(name)) for name in NETWORKS)
    exercise.refuse(not moved, "nothing-learned")
    return author


def _after(written: Written, iteration: Iteration, mistakes: Collection[str]) -> Author:
    author = written.author()
    iteration(author, written, mistakes)
    return author


def _alike(one: Author, other: Author, names: Sequence[str] = NETWORKS) -> bool:
    # What has no bounds ends at NaN.
    return all(
        same(one.weights(name).nan_to_num(), other.weights(name).nan_to_num()) for name in names
    )


def _difference(author: Author, written: Written, iteration: Iteration) -> tuple[str, list[str]]:
    """The first network that differs, and a few of its weights."""
    right = _after(written, iteration, ())
    name = next(n for n in NETWORKS if not same(author.weights(n), right.weights(n)))
    return name, [
        f"  The first weights of the {name}, after an iteration of {author.cfg.epochs} epochs:",
        f"  before    {numbers(written.author().weights(name)[:4])}",
        f"  seen      {numbers(author.weights(name)[:4])}",
        f"  expected  {numbers(right.weights(name)[:4])}",
    ]

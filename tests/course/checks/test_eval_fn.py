"""The check of `eval_fn`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import numpy as np
import pytest
import torch
from estimates_testing import check_the_check

from ppo_course import check_eval_fn
from ppo_course.nb08_shared_trunk import eval_fn

# ------------------------------------------------------------------------------- right answers


def as_in_the_card(model, obs):
    model.eval()
    with torch.set_grad_enabled(False):
        value_f, action, neg_log_prob, _ = model(torch.tensor(obs).float())
        return value_f, action, neg_log_prob


@torch.no_grad()
def by_decorator(model, obs):
    model.train(False)
    return model(torch.as_tensor(obs, dtype=torch.float32))[:3]


def by_distribution(model, obs):
    model.eval()
    dist, value = model.dist_and_value(torch.from_numpy(obs.astype(np.float32)))
    action = dist.sample()
    return [value.detach(), action, -dist.log_prob(action).detach()]


def by_two_calls(model, obs):
    """The second call judges the actions of the first one."""
    obs = torch.Tensor(obs)
    with torch.inference_mode():
        _, action, _, _ = model.eval()(obs)
        value, _, neg_log_prob, _ = model(obs, action=action)
    return value, action, neg_log_prob


@torch.no_grad()
def by_numpy(model, obs):
    """Draws by the inverse of the distribution function, with NumPy's numbers."""
    dist, value = model.eval().dist_and_value(torch.tensor(obs).float())
    chance = torch.from_numpy(np.random.rand(len(obs), 1))  # noqa: NPY002 - as a student may
    action = (dist.probs.cumsum(-1)[:, :-1] < chance).sum(-1)
    return value, action.int(), -dist.log_prob(action)


RIGHT = [by_numpy, as_in_the_card, by_decorator, by_distribution, by_two_calls]

# ------------------------------------------------------------------------------- wrong answers


def stub(model, obs):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def then(change):
    """A right answer, with something done to the three tensors."""
    return lambda model, obs: change(*as_in_the_card(model, obs))


@torch.no_grad()
def with_dropout(model, obs):
    return model(torch.tensor(obs).float())[:3]


def with_gradient(model, obs):
    return model.eval()(torch.tensor(obs).float())[:3]


@torch.no_grad()
def from_two_calls(model, obs):
    model.eval()
    obs = torch.tensor(obs).float()
    return model(obs)[0], model(obs)[1], model(obs)[2]


@torch.no_grad()
def greedy(model, obs):
    model.eval()
    dist, value = model.dist_and_value(torch.tensor(obs).float())
    return value, dist.mode, -dist.log_prob(dist.mode)


def taking(choose):
    """Takes the actions that `choose` gives for a distribution."""

    @torch.no_grad()
    def answer(model, obs):
        dist, value = model.eval().dist_and_value(torch.tensor(obs).float())
        action = choose(dist)
        return value, action, -dist.log_prob(action)

    return answer


def uniform(dist):
    return torch.randint(dist.probs.shape[-1], dist.batch_shape)


def nearly_greedy(dist):
    return torch.where(torch.rand(dist.batch_shape) < 0.1, uniform(dist), dist.mode)


def seeded(model, obs):
    torch.manual_seed(0)
    return as_in_the_card(model, obs)


def frozen(model, obs):
    model.eval().requires_grad_(False)
    return model(torch.tensor(obs).float())[:3]


def gradients_off(model, obs):
    model.eval()
    torch.set_grad_enabled(False)
    return model(torch.tensor(obs).float())[:3]


@torch.no_grad()
def with_entropy(model, obs):
    return model.eval()(torch.tensor(obs).float())


@torch.no_grad()
def entropy_last(model, obs):
    value, action, _, entropy = with_entropy(model, obs)
    return value, action, entropy


def learns(model, obs):
    answer = as_in_the_card(model, obs)
    model.value_head.bias.data += 1
    return answer


def in_place(model, obs):
    answer = as_in_the_card(model, obs)
    obs -= 1
    return answer


WRONG = {
    with_dropout: "dropped",
    with_gradient: "value carries a gradient",
    from_two_calls: "of-another-action",
    greedy: "greedy",
    taking(uniform): "too-rarely",
    taking(nearly_greedy): "too-often",
    taking(lambda dist: dist.probs.argmin(-1)): "least-probable",
    taking(lambda dist: torch.zeros(dist.batch_shape, dtype=torch.long)): "action is always 0",
    seeded: "same-again",
    frozen: "freezes-weights",
    gradients_off: "gradients-off",
    with_entropy: "four-returned",
    entropy_last: "entropy",
    then(lambda v, a, n: (v, a, -n)): "log-likelihood",
    then(lambda v, a, n: (v, a, (-n).exp())): "probability",
    then(lambda v, a, n: (a, v, n)): "order",
    then(lambda v, a, n: (n, a, v)): "no-value",
    then(lambda v, a, n: (2 * v, a, n)): "value",
    lambda model, obs: as_in_the_card(model, obs.clip(-10, 10)): "value",
    then(lambda v, a, n: (v, a.numpy(), n)): "action is not a tensor",
    then(lambda v, a, n: (v[:, None], a, n)): "value has the wrong shape",
    then(lambda v, a, n: (v, a)): "not-three",
    then(lambda *_: None): "returns-nothing",
    learns: "changes-weights",
    in_place: "changes-argument",
    # The model takes arrays, and numbers of double precision: only one thing is wrong with these.
    lambda model, obs: model(torch.tensor(obs)): "four-returned",
    lambda model, obs: model(obs): "four-returned",
    lambda obs: None: "is called as eval_fn(model, obs)",
    stub: "not-written",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_eval_fn, None, RIGHT, WRONG)


def test_chance_seldom_refuses_a_right_answer():
    """The bound is far from what chance gives: of 2000 draws none comes near it."""
    source = torch.Generator().manual_seed(0)
    probs = torch.rand(20, 3, generator=source).softmax(-1).double()
    one = torch.eye(3).double()
    largest = 0.0
    for _ in range(2000):
        actions = torch.multinomial(probs, 1, generator=source).squeeze(1)
        for values in (probs, one[0].expand_as(probs)):
            seen = values.gather(1, actions[:, None]).squeeze(1)
            largest = max(largest, eval_fn.bernstein(seen, values, probs))
    assert 3 < largest < 0.6 * eval_fn.EXPONENT


def test_bernstein_is_what_the_inequality_says():
    """Four coins, all heads: the distance is 2, the variances add up to 1."""
    probs = torch.full((4, 2), 0.5).double()
    values = torch.tensor([[0.0, 1.0]]).expand(4, 2).double()
    exponent = eval_fn.bernstein(torch.ones(4).double(), values, probs)
    assert exponent == pytest.approx(4 / (2 * (1 + 2 / 3)))
    assert eval_fn.bernstein(torch.zeros(4).double(), values, probs) == pytest.approx(-exponent)

"""Random streams: independent of each other, and of everybody else's."""

import numpy as np
import pytest
import torch
from torch import distributions as dists

from ppo_bbrl.seeding import DirectDraws, RandomStream, Seeds, action_stream, env_seeds

STREAMS = ("weights", "actions", "minibatches", "train_env", "evaluation", "replay")


def draw(stream, n=4):
    with stream.active():
        return torch.rand(n)


def test_a_stream_continues_where_it_stood():
    """Two blocks give what one would: an evaluation between two rollouts changes nothing."""
    with RandomStream(7).active():
        together = torch.rand(8)
    stream = RandomStream(7)
    assert torch.equal(torch.cat((draw(stream), draw(stream))), together)


def test_the_global_generator_is_untouched():
    """A student's own `torch.rand` gives the same with and without our training in between."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draw(RandomStream(7))
    with pytest.raises(ZeroDivisionError), RandomStream(7).active():
        torch.rand(100) / (1 // 0)
    Seeds(12)
    assert torch.equal(torch.rand(4), expected)


def test_numpys_global_generator_is_untouched():
    np.random.seed(3)  # noqa: NPY002 - the global one is what this is about
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    seeds = Seeds(12)
    env_seeds(seeds.sequence("train_env"), 4)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_others_do_not_touch_a_stream():
    """Whatever seeds or draws from the global generator in between, a stream goes on."""
    expected = torch.cat((draw(a := RandomStream(7)), draw(a)))
    stream = RandomStream(7)
    first = draw(stream)
    torch.manual_seed(99)
    torch.rand(17)
    assert torch.equal(torch.cat((first, draw(stream))), expected)


def test_same_seed_same_streams():
    one, two = Seeds(12), Seeds(12)
    assert torch.equal(draw(one.weights), draw(two.weights))
    assert torch.equal(draw(one.actions), draw(two.actions))
    shuffles = [torch.randperm(50, generator=seeds.minibatches) for seeds in (one, two)]
    assert torch.equal(*shuffles)
    for name in STREAMS:
        words = [env_seeds(seeds.sequence(name, 3), 8) for seeds in (one, two)]
        assert words[0] == words[1]


def test_streams_of_neighbouring_seeds_and_uses_never_meet():
    """Upstream: evaluation seeds of neighbouring runs collide, training and evaluation share.

    Here 20 seeds × all streams × 20 uses × 10 environments are all different.
    """
    words = [
        tuple(env_seeds(Seeds(seed).sequence(stream, use), 4))
        for seed in range(20)
        for stream in STREAMS
        for use in range(20)
    ]
    assert len(set(words)) == len(words)
    single = [word for four in words for word in four]
    assert len(set(single)) > 0.999 * len(single)  # 31 bits: a rare chance hit is allowed


def test_seed_0_is_a_seed_like_others():
    """Upstream multiplies by the seed: with 0 every episode is the same."""
    assert len(set(env_seeds(Seeds(0).sequence("train_env"), 64))) == 64


def test_actions_do_not_depend_on_weights():
    """A larger network draws more weights; the actions' noise stays the same."""
    seeds, others = Seeds(12), Seeds(12)
    draw(seeds.weights, 10_000)
    torch.randperm(10, generator=seeds.minibatches)
    assert torch.equal(draw(seeds.actions), draw(others.actions))


def test_the_policys_stream_of_an_evaluation():
    """Drawn from the evaluation's seeds, but not the environments' numbers again."""
    sequence = Seeds(12).sequence("evaluation", 3)
    first, again = draw(action_stream(sequence)), draw(action_stream(sequence))
    other = draw(action_stream(Seeds(12).sequence("evaluation", 4)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
def test_seeds_of_every_size(seed):
    """All that the configuration allows; environments get 31 bits."""
    seeds = Seeds(seed)
    assert all(0 <= word < 2**31 for word in env_seeds(seeds.sequence("train_env"), 64))
    assert torch.isfinite(draw(seeds.actions)).all()


def test_no_two_streams_of_a_run_are_the_same():
    """Nor is that of an evaluation's policy the one of its environments."""
    seeds = Seeds(12)
    sequence = seeds.sequence("evaluation", 3)
    drawn = [draw(stream) for stream in (seeds.weights, seeds.actions, seeds.learning)]
    drawn.append(draw(action_stream(sequence)))
    drawn.append(draw(RandomStream(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))))
    drawn.append(torch.rand(4, generator=seeds.minibatches))
    for name in STREAMS:  # what each would be, if it were derived as those of torch are
        state = seeds.sequence(name).generate_state(1, np.uint64)[0]
        drawn.append(draw(RandomStream(int(state >> np.uint64(1)))))
    firsts = [tuple(numbers.tolist()) for numbers in drawn]
    # Weights, actions and minibatches come twice: by name, and as derived here.
    assert len(set(firsts)) == len(firsts) - 3
    assert len(set(firsts[:6])) == 6


HALF = torch.full((4,), 0.5)
DISTRIBUTIONS = [
    dists.Bernoulli(HALF),
    dists.Beta(HALF, HALF),
    dists.Binomial(5, HALF),
    dists.Categorical(logits=torch.eye(4)),
    dists.Cauchy(HALF, HALF),
    dists.Dirichlet(HALF),
    dists.Exponential(HALF),
    dists.Gamma(HALF, HALF),
    dists.Geometric(HALF),
    dists.Gumbel(HALF, HALF),
    dists.Independent(dists.Normal(HALF, HALF), 1),
    dists.Laplace(HALF, HALF),
    dists.LogNormal(HALF, HALF),
    dists.MixtureSameFamily(dists.Categorical(HALF), dists.Normal(HALF, HALF)),
    dists.MultivariateNormal(HALF, torch.eye(4)),
    dists.OneHotCategorical(HALF),
    dists.Poisson(HALF),
    dists.RelaxedOneHotCategorical(HALF[0], HALF),
    dists.StudentT(HALF),
    dists.TransformedDistribution(dists.Normal(HALF, HALF), [dists.TanhTransform()]),
    dists.Uniform(HALF, HALF + 1),
    dists.VonMises(HALF, HALF),
    dists.Weibull(HALF, HALF),
]


@pytest.mark.parametrize("dist", DISTRIBUTIONS, ids=lambda dist: type(dist).__name__)
def test_distributions_that_take_no_generator_draw_from_the_stream(dist):
    """As from the global generator in the same state, whoever sets that one meanwhile."""
    with RandomStream(7).active():
        expected = dist.sample((3,)), dist.sample()
    with RandomStream(7).direct(), DirectDraws():
        first = dist.sample((3,))
        torch.manual_seed(5)
        assert torch.equal(first, expected[0])
        assert torch.equal(dist.sample(), expected[1])


NOISE = {
    "rand": lambda: torch.rand(3),
    "randn_like": lambda: torch.randn_like(HALF),
    "randint": lambda: torch.randint(9, (3,)),
    "normal of keywords": lambda: torch.normal(mean=HALF, std=HALF),
    "normal of a number": lambda: torch.normal(0.0, HALF),
    "normal_": lambda: torch.empty(3).normal_(),
    "initialisation": lambda: torch.nn.init.orthogonal_(torch.empty(3, 3)),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_so_does_noise_of_ones_own(noise):
    if noise is NOISE["randn_like"]:
        try:
            torch.randn_like(HALF, generator=torch.Generator())
        except TypeError:
            pytest.skip("this torch has no generator for it")
    with RandomStream(7).active():
        expected = noise()
    with RandomStream(7).direct(), DirectDraws():
        torch.manual_seed(5)
        assert torch.equal(noise(), expected)


def test_without_a_stream_they_draw_from_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with DirectDraws():
        assert torch.equal(torch.rand(4), expected)

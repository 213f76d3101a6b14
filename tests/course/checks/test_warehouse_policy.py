"""The check of `WarehousePolicy`: right answers pass, each mistake gets its own message."""

import pytest
import torch
from estimates_testing import check_the_check
from torch import nn
from torch.distributions import Categorical, Distribution, Independent
from torch.nn.functional import one_hot

from ppo_bbrl import build_ortho_mlp
from ppo_bbrl.agents import Policy
from ppo_bbrl.distributions import MultiCategorical
from ppo_bbrl.joint_distributions import ActionMultiCategorical
from ppo_course import check_warehouse_policy

# ------------------------------------------------------------------------------- right answers


class ByMultiCategorical(Policy):
    takes_mask = True

    def __init__(self, hidden_size, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [8 + 5 + 5 + 5, *hidden_size, 4 + 10], activation=nn.Tanh(), output_gain=0.01
        )

    def features(self, obs):
        robot = one_hot(obs["robot"], 5).flatten(-2)
        parts = [one_hot(obs["kind"], 8), one_hot(obs["parcel"], 5), robot]
        return torch.cat(parts, -1).float()

    def dist(self, obs, mask=None):
        return self.made(self.masked(self.model(self.features(obs)), mask))

    def masked(self, logits, mask):
        return logits if mask is None else logits.masked_fill(~mask, -torch.inf)

    def made(self, logits):
        return MultiCategorical(logits, [4, 10])


class ByEye(ByMultiCategorical):
    """The rows of a unit matrix, and a mask that is added."""

    def features(self, obs):
        row, column = obs["robot"][..., 0], obs["robot"][..., 1]
        parts = [torch.eye(8)[obs["kind"]], torch.eye(5)[obs["parcel"]]]
        return torch.cat([*parts, torch.eye(5)[row], torch.eye(5)[column]], dim=-1)

    def masked(self, logits, mask):
        if mask is None:
            mask = torch.ones(logits.shape, dtype=torch.bool)
        return logits + torch.where(mask, 0.0, -1e8)

    def made(self, logits):
        return ActionMultiCategorical(logits, (4, 10))


RIGHT = [ByMultiCategorical, ByEye]

# ------------------------------------------------------------------------------- wrong answers

WRONG = {}


def wrong(key):
    """Each class below has one mistake."""

    def add(policy_class):
        WRONG[policy_class] = key
        return policy_class

    return add


@wrong("features-order")
class OtherOrder(ByMultiCategorical):
    def features(self, obs):
        return super().features(obs).roll(10, -1)


@wrong("not-written")
class Stub(ByMultiCategorical):
    def features(self, obs):
        assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


@wrong("not-written")
class DistStub(ByMultiCategorical):
    def dist(self, obs, mask=None):
        assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


@wrong("network")
class OtherNetwork(ByMultiCategorical):
    def __init__(self, hidden_size, name="policy"):
        super().__init__(hidden_size, name)
        self.model = build_ortho_mlp([23, *hidden_size, 40], activation=nn.Tanh())


@wrong("takes-mask")
class TakesNone(ByMultiCategorical):
    takes_mask = False


@wrong("features-nothing")
class NoFeatures(ByMultiCategorical):
    def features(self, obs):
        super().features(obs)


@wrong("features-no-tensor")
class ListOfParts(ByMultiCategorical):
    def features(self, obs):
        return [one_hot(obs["kind"], 8), one_hot(obs["parcel"], 5), one_hot(obs["robot"], 5)]


@wrong("raw-numbers")
class RawNumbers(ByMultiCategorical):
    def features(self, obs):
        parts = [obs["kind"][..., None], obs["parcel"][..., None], obs["robot"]]
        return torch.cat(parts, -1).float()


@wrong("robot-alone")
class RobotAlone(ByMultiCategorical):
    def features(self, obs):
        return super().features(obs)[..., 13:]


@wrong("features-shape")
class WithoutKind(ByMultiCategorical):
    def features(self, obs):
        return super().features(obs)[..., 8:]


@wrong("features")
class PlaceForKind(ByMultiCategorical):
    def features(self, obs):
        return super().features({**obs, "kind": obs["parcel"]})


@wrong("integers")
class Integers(ByMultiCategorical):
    def features(self, obs):
        return super().features(obs).long()


@wrong("flatten-robot")
class RobotAsItIs(ByMultiCategorical):
    def features(self, obs):
        parts = [one_hot(obs["kind"], 8), one_hot(obs["parcel"], 5), one_hot(obs["robot"], 5)]
        return torch.cat(parts, -1).float()


@wrong("flatten-robot")
class OneLeadingDimension(ByMultiCategorical):
    def features(self, obs):
        robot = one_hot(obs["robot"], 5).flatten(1)
        parts = [one_hot(obs["kind"], 8), one_hot(obs["parcel"], 5), robot]
        return torch.cat(parts, -1).float()


@wrong("leading")
class Flattened(ByMultiCategorical):
    def features(self, obs):
        return super().features(obs).reshape(-1, 23)


@wrong("one-hot-of-floats")
class OfFloats(ByMultiCategorical):
    def features(self, obs):
        return one_hot(obs["kind"].float(), 8)


@wrong("n-classes")
class TooFewKinds(ByMultiCategorical):
    def features(self, obs):
        return one_hot(torch.cat([obs["kind"].flatten(), torch.tensor([7])]), 5)


@wrong("no-such-part")
class OtherNames(ByMultiCategorical):
    def features(self, obs):
        return one_hot(obs["colour"], 8)


@wrong("changes-argument")
class Writes(ByMultiCategorical):
    def features(self, obs):
        obs["kind"] += 0 * obs["kind"] + 1
        return super().features({**obs, "kind": obs["kind"] - 1})


@wrong("dist-nothing")
class NoDist(ByMultiCategorical):
    def made(self, logits):
        pass


@wrong("no-distribution")
class Logits(ByMultiCategorical):
    def made(self, logits):
        return logits


@wrong("one-choice")
class OneChoice(ByMultiCategorical):
    def made(self, logits):
        return Categorical(logits=logits)


@wrong("separate-components")
class Separate(ByMultiCategorical):
    def made(self, logits):
        return Categorical(logits=torch.stack([logits[..., :4], logits[..., 4:8]], -2))


@wrong("dist-shapes")
class OneEvent(ByMultiCategorical):
    def made(self, logits):
        stacked = torch.stack([logits[..., :4], logits[..., 4:8]], -2)
        return Independent(Categorical(logits=stacked), 2)


@wrong("log-prob")
class OtherParts(ByMultiCategorical):
    def made(self, logits):
        return MultiCategorical(logits.roll(4, -1), [4, 10])


@wrong("integers-into-network")
class IntegersIntoNetwork(ByMultiCategorical):
    def dist(self, obs, mask=None):
        return self.made(self.model(self.features(obs).long()))


@wrong("dict-given")
class DictIntoNetwork(ByMultiCategorical):
    def dist(self, obs, mask=None):
        return self.made(self.model(obs))


@wrong("forgets-self")
class ForgetsSelf(ByMultiCategorical):
    def dist(self, obs, mask=None):
        return self.made(self.model(features(obs)))  # noqa: F821


@wrong("logits-wanted")
class OtherSizes(ByMultiCategorical):
    def made(self, logits):
        return MultiCategorical(logits[..., :10], [4, 10])


@wrong("none-inverted")
class MaskAlways(ByMultiCategorical):
    def masked(self, logits, mask):
        return logits.masked_fill(~mask, -torch.inf)


@wrong("mask-argument")
class NoMaskArgument(ByMultiCategorical):
    def dist(self, obs):
        return super().dist(obs)


@wrong("mask-ignored")
class LosesMask(ByMultiCategorical):
    def masked(self, logits, mask):
        if mask is not None:
            logits.masked_fill(~mask, -torch.inf)
        return logits


@wrong("mask-inverted")
class Inverted(ByMultiCategorical):
    def masked(self, logits, mask):
        return logits if mask is None else logits.masked_fill(mask, -torch.inf)


@wrong("zero-logits")
class ZeroLogits(ByMultiCategorical):
    def masked(self, logits, mask):
        return logits if mask is None else logits * mask


@wrong("no-gradient")
class Detached(ByMultiCategorical):
    def masked(self, logits, mask):
        return super().masked(logits.detach(), mask)


class OfAnother(MultiCategorical):
    """Another entropy, samples, or no mode."""


class UnmaskedEntropy(OfAnother):
    def entropy(self):
        return super().entropy() + 1


class AnySample(OfAnother):
    def sample(self, sample_shape=()):
        shape = *sample_shape, *self.batch_shape
        return torch.stack([torch.randint(4, shape), torch.randint(10, shape)], -1)


class NoMode(OfAnother):
    mode = Distribution.mode


@wrong("entropy")
class WrongEntropy(ByMultiCategorical):
    def made(self, logits):
        return UnmaskedEntropy(logits, [4, 10])


@wrong("samples-forbidden")
class SamplesAnything(ByMultiCategorical):
    def made(self, logits):
        return AnySample(logits, [4, 10])


@wrong("no-mode")
class WithoutMode(ByMultiCategorical):
    def made(self, logits):
        return NoMode(logits, [4, 10])


(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    _,
    _,
    test_streams_stay,
    _,
) = check_the_check(check_warehouse_policy, None, RIGHT, WRONG)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy_class", RIGHT)
def test_a_right_answer_passes_with_any_seed(policy_class, seed):
    check_warehouse_policy(policy_class, seed=seed)

"""PPO2 for torch.hub: numbers against plain float64 arithmetic, loading with torch alone."""

import importlib.metadata
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import distributions as d

from ppo_bbrl.errors import UserError
from ppo_bbrl.hub import PPO2

ROOT = Path(__file__).parents[2]
LOSS_NAMES = (
    "returns", "value_f", "neg_log_probs", "entropy", "advantages", "old_values",
    "old_neg_log_probs",
)  # fmt: skip


def model(seed=0, dropout=0.0, dtype=torch.float32, actions=3):
    torch.manual_seed(seed)
    made = PPO2(4, 64, actions, dropout)
    made.reset_parameters()
    return made.to(dtype)


# ------------------------------------------------------------------------------------- forward


def by_hand(made, obs):
    """Logits `[N, A]` and values `[N]`, by NumPy in float64."""
    weights = {name: tensor.double().numpy() for name, tensor in made.state_dict().items()}

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    hidden = np.tanh(linear(obs.double().numpy(), "latent.0"))
    latent = np.tanh(linear(hidden, "latent.3"))
    return linear(latent, "policy_head"), linear(latent, "value_head")[:, 0]


def categorical(logits, action):
    """Negative log-likelihood and entropy of one decision."""
    largest = max(logits)
    log_sum = largest + math.log(sum(math.exp(x - largest) for x in logits))
    log_probs = [x - log_sum for x in logits]
    return -log_probs[action], -sum(math.exp(p) * p for p in log_probs)


def bernoulli(logits, action):
    """The same for independent bits: sums over them."""
    nll = entropy = 0.0
    for logit, bit in zip(logits, action, strict=True):
        p = 1 / (1 + math.exp(-logit))
        nll -= math.log(p if bit else 1 - p)
        entropy -= p * math.log(p) + (1 - p) * math.log(1 - p)
    return nll, entropy


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("distribution", "one"), [(d.Categorical, categorical), (d.Bernoulli, bernoulli)]
)
def test_values_log_likelihoods_and_entropies_by_hand(seed, dtype, distribution, one):
    """Of actions that are drawn, and of actions that are given."""
    made = model(seed, dtype=dtype)
    obs = torch.randn(50, 4).to(dtype)
    value, action, nll, entropy = made(obs, distribution=distribution)
    logits, values = by_hand(made, obs)
    expected = [one(row, taken.tolist()) for row, taken in zip(logits, action.int(), strict=True)]
    tolerance = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(value.detach(), values, **tolerance)
    np.testing.assert_allclose(nll.detach(), [row[0] for row in expected], **tolerance)
    np.testing.assert_allclose(entropy.detach(), [row[1] for row in expected], **tolerance)
    again = made(obs, action=action, distribution=distribution)
    for first, second in zip((value, action, nll, entropy), again, strict=True):
        assert torch.equal(first, second)
    assert value.shape == nll.shape == entropy.shape == (50,)


DISTRIBUTIONS = {
    d.Categorical: (),
    d.Bernoulli: (3,),
    d.OneHotCategorical: (3,),
    d.Geometric: (3,),
    d.Binomial: (3,),
    d.Multinomial: (3,),
    d.ContinuousBernoulli: (3,),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("leading", [(5,), (3,), (1,), (2, 5), ()])
def test_every_distribution_that_takes_logits(distribution, leading):
    """Its components are summed, whatever they count as in torch: event or batch."""
    value, action, nll, entropy = model()(torch.randn(*leading, 4), distribution=distribution)
    assert action.shape == leading + DISTRIBUTIONS[distribution]
    assert value.shape == nll.shape == entropy.shape == leading
    for learned in (value, nll, entropy):
        assert learned.requires_grad
    assert not action.requires_grad


class ThreeWays(d.Categorical):
    """Someone's own class."""

    def __init__(self, *, logits):
        super().__init__(logits=2 * logits)


def test_a_distribution_of_ones_own():
    made, obs = model(), torch.randn(6, 4)
    _, action, nll, _ = made(obs, distribution=ThreeWays)
    expected = d.Categorical(logits=2 * made.dist_and_value(obs)[0].logits).log_prob(action)
    torch.testing.assert_close(nll, -expected)


@pytest.mark.parametrize(
    ("distribution", "reason"),
    [
        (d.Normal, "distribution = Normal: does not take logits"),
        (d.Distribution, "distribution = Distribution: does not take logits"),
        (d.Independent, "distribution = Independent: does not take logits"),
        (d.RelaxedBernoulli, "distribution = RelaxedBernoulli: needs temperature besides logits"),
        (d.NegativeBinomial, "distribution = NegativeBinomial: needs total_count besides logits"),
        (torch.nn.Linear, "distribution = Linear: must be a class of torch.distributions"),
        (torch.softmax, "distribution = softmax: must be a class"),
        ("Categorical", "distribution = 'Categorical': must be a class"),
        ([d.Categorical], "must be a class"),
        (None, "distribution = None: must be a class"),
    ],
)
def test_what_is_no_distribution_of_logits_is_refused_by_name(distribution, reason):
    with pytest.raises(UserError, match=re.escape(reason)) as error:
        model()(torch.randn(5, 4), distribution=distribution)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("action", "distribution"),
    [
        (torch.zeros(5, 1, dtype=torch.int64), d.Categorical),
        (torch.zeros(4, dtype=torch.int64), d.Categorical),
        (torch.zeros((), dtype=torch.int64), d.Categorical),
        (torch.zeros(5), d.Bernoulli),
        (torch.zeros(5, 2), d.Bernoulli),
        (torch.zeros(1, 3), d.Bernoulli),
    ],
)
def test_actions_of_another_shape_never_broadcast(action, distribution):
    """[N, 1] against [N] would give [N, N] log-likelihoods in silence."""
    with pytest.raises(UserError, match=r"action has shape \[.*\]: must be \[5"):
        model()(torch.randn(5, 4), action=action, distribution=distribution)


@pytest.mark.parametrize(
    "obs",
    [torch.randn(5, 3), torch.randn(4, 5), torch.zeros(5, 4, dtype=torch.int64), torch.zeros(())],
)
def test_observations_of_another_shape_or_type(obs):
    with pytest.raises(UserError, match=r"obs has shape .* must be \[N, 4\] floats"):
        model()(obs)


@pytest.mark.parametrize(
    "change",
    [
        {"input_dim": 0}, {"hidden_dim": -1}, {"action_space": 2.0}, {"hidden_dim": True},
        {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": math.nan}, {"dropout": "0"},
    ],
)  # fmt: skip
def test_impossible_sizes(change):
    ((name, value),) = change.items()
    with pytest.raises(UserError, match=re.escape(f"{name} = {value!r}: must be")):
        PPO2(**{"input_dim": 4, "hidden_dim": 8, "action_space": 2, "dropout": 0.0} | change)


def test_reset_is_orthogonal_with_gain_root_two_and_no_biases():
    made = model()
    for name in ("latent.0", "latent.3", "policy_head", "value_head"):
        layer = made.get_submodule(name)
        weight = layer.weight.detach()
        if weight.shape[0] > weight.shape[1]:
            weight = weight.T
        torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(len(weight)))
        assert not layer.bias.any()


def test_dropout_is_of_training_mode_alone():
    """After both layers; the model card acts in `eval()`."""
    made = model(dropout=0.5)
    obs = torch.randn(1, 4)
    drawn = torch.stack([made(obs)[0] for _ in range(20)])
    assert drawn.std() > 0
    made.eval()
    drawn = torch.stack([made(obs)[0] for _ in range(20)])
    assert drawn.std() == 0
    assert [type(layer).__name__ for layer in made.latent] == ["Linear", "Tanh", "Dropout"] * 2
    assert [layer.p for layer in made.latent if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.5]


# ---------------------------------------------------------------------------------------- loss


def losses_by_hand(rows, clip_range, ent_coef, vf_coef):
    """The five numbers of the model card, sample by sample in Python's floats."""
    policy = value = entropies = kl = 0.0
    for returns, v, nll, entropy, advantage, old_v, old_nll in rows:
        ratio = math.exp(old_nll - nll)
        clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
        policy += max(-advantage * ratio, -advantage * clipped)
        change = min(max(v - old_v, -clip_range), clip_range)
        value += max((v - returns) ** 2, (old_v + change - returns) ** 2)
        entropies += entropy
        kl += (nll - old_nll) ** 2
    n = len(rows)
    policy, value, entropies, kl = policy / n, value / n / 2, entropies / n, kl / n / 2
    return policy - ent_coef * entropies + vf_coef * value, policy, value, entropies, kl


NUMBERS = st.floats(-10, 10)
ROWS = st.lists(st.tuples(*[NUMBERS] * 7), min_size=1, max_size=6)
COEFFICIENTS = st.tuples(st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))


@given(ROWS, COEFFICIENTS)
def test_losses_are_those_of_the_model_card(rows, coefficients):
    """Ratios between e^-20 and e^20, and clip ranges down to 0, which clips everything."""
    columns = torch.tensor(rows, dtype=torch.float64).unbind(1)
    result = [float(x) for x in model().loss(*columns, *coefficients)]
    assert result == pytest.approx(losses_by_hand(rows, *coefficients), rel=1e-9, abs=1e-9)


def test_a_ratio_beyond_e_20_is_the_formula_still():
    """The package's own surrogate goes on in a straight line from e^20; this does not."""
    row = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 25.0)
    columns = torch.tensor([row], dtype=torch.float32).unbind(1)
    policy_loss = model().loss(*columns, 0.2, 0.0, 0.5)[1]
    assert float(policy_loss) == pytest.approx(math.exp(25), rel=1e-5)
    overflowing = torch.tensor(200.0, requires_grad=True)
    columns = (*columns[:2], -overflowing[None], *columns[3:])
    policy_loss = model().loss(*columns, 0.2, 0.0, 0.5)[1]
    policy_loss.backward()
    assert policy_loss.isfinite()
    assert overflowing.grad.isfinite()


@pytest.mark.parametrize("seed", range(10))
def test_losses_in_single_precision(seed):
    """On the numbers of an update: within 1e-6 of float64."""
    torch.manual_seed(seed)
    columns = list(torch.randn(7, 64))
    columns[6] = columns[2] + 0.1 * torch.randn(64)
    result = [float(x) for x in model().loss(*columns, 0.2, 0.01, 0.5)]
    rows = torch.stack(columns, 1).double().tolist()
    assert result == pytest.approx(losses_by_hand(rows, 0.2, 0.01, 0.5), rel=0, abs=1e-6)


def loss_inputs(n=5, **changes):
    torch.manual_seed(0)
    return {name: torch.randn(n, dtype=torch.float64) for name in LOSS_NAMES} | {
        "clip_range": 0.2, "ent_coef": 0.01, "vf_coef": 0.5,
    } | changes  # fmt: skip


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (1,), (), (6,)])
def test_shapes_that_do_not_match_raise(name, shape):
    """Each of the seven: [N, 1] against [N] would give the mean of N² numbers."""
    inputs = loss_inputs(**{name: torch.zeros(shape)})
    with pytest.raises(UserError, match="must have the same shape") as error:
        model().loss(**inputs)
    assert f"'{name}': {tuple(shape)}" in str(error.value)


def test_no_samples_and_negative_clip_ranges_raise():
    with pytest.raises(UserError, match="no samples"):
        model().loss(**loss_inputs(0))
    for clip_range in (-0.1, math.nan, torch.zeros(5)):
        with pytest.raises(UserError, match=r"clip_range = .* must be a number ≥ 0"):
            model().loss(**loss_inputs(clip_range=clip_range))


@given(st.integers(0, 10_000))
def test_gradcheck_of_the_loss(seed):
    """Finite differences agree, away from the kinks of clipping."""
    torch.manual_seed(seed)
    inputs = {name: torch.randn(3, dtype=torch.float64) for name in LOSS_NAMES}
    ratio = (inputs["old_neg_log_probs"] - inputs["neg_log_probs"]).exp()
    change = (inputs["value_f"] - inputs["old_values"]).abs()
    clipped = inputs["old_values"] + (inputs["value_f"] - inputs["old_values"]).clamp(-0.2, 0.2)
    middle = ((inputs["value_f"] + clipped) / 2 - inputs["returns"]).abs()
    kinks = torch.cat(((ratio - 0.8).abs(), (ratio - 1.2).abs(), (change - 0.2).abs(), middle))
    assume(kinks.min() > 1e-4)
    made = model()
    learned = [inputs[name].requires_grad_() for name in ("value_f", "neg_log_probs", "entropy")]

    def total(value_f, neg_log_probs, entropy):
        given_ = inputs | {"value_f": value_f, "neg_log_probs": neg_log_probs, "entropy": entropy}
        return made.loss(**given_, clip_range=0.2, ent_coef=0.3, vf_coef=0.7)[0]

    assert torch.autograd.gradcheck(total, learned)


def test_gradcheck_of_the_whole_step():
    """Through the network: the gradient that an optimiser follows."""
    torch.manual_seed(0)
    made = PPO2(4, 5, 3).double()
    obs, names = torch.randn(6, 4, dtype=torch.float64), list(dict(made.named_parameters()))
    old_value, action, old_nll, _ = (x.detach() for x in made(obs))
    old_nll = old_nll + 0.1
    advantages, returns = torch.randn(2, 6, dtype=torch.float64)

    def total(*weights):
        state = dict(zip(names, weights, strict=True))
        value, _, nll, entropy = torch.func.functional_call(made, state, (obs, action))
        return made.loss(
            returns, value, nll, entropy, advantages, old_value + 0.05, old_nll, 0.2, 0.01, 0.5
        )[0]

    assert torch.autograd.gradcheck(total, [p.detach().requires_grad_() for p in made.parameters()])


def test_only_the_new_policy_and_value_learn():
    inputs = loss_inputs()
    for name in LOSS_NAMES:
        inputs[name].requires_grad_()
    total, *_, kl = model().loss(**inputs)
    total.backward()
    learned = {name for name in LOSS_NAMES if inputs[name].grad is not None}
    assert learned == {"value_f", "neg_log_probs", "entropy"}
    assert not kl.requires_grad


# ------------------------------------------------------------------------------------ torch.hub


def torch_alone():
    """The top-level modules that an environment with torch alone has beside Python's own."""
    names, open_ = set(), {"torch"}
    while open_:
        name = open_.pop()
        names.add(name)
        for requirement in importlib.metadata.requires(name) or []:
            needed = re.match(r"[\w.-]+", requirement)[0]
            if "extra ==" not in requirement and needed not in names:
                try:
                    importlib.metadata.distribution(needed)
                except importlib.metadata.PackageNotFoundError:
                    continue  # for another system
                open_.add(needed)
    tops = importlib.metadata.packages_distributions()
    known = {name.lower().replace("_", "-") for name in names}
    return {
        top for top, of in tops.items() if known & {one.lower().replace("_", "-") for one in of}
    }


# Refuses to import what does not belong to torch, and to open a connection.
ALONE = """
import importlib.abc, socket, sys, warnings

class Alone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ALLOWED or top in ("hubconf", "ppo_bbrl"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r} where torch is alone")

sys.meta_path.insert(0, Alone())
def no_network(*_, **__):
    raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no_network
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
import torch
"""


def run_alone(script, *arguments, **environment):
    """A process in which torch is the only package that can be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"ALLOWED = {torch_alone()!r}\n{ALONE}\n{script}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "HOME": str(Path.cwd()), **environment},
    )


LOAD = (
    "model = torch.hub.load(sys.argv[1], 'ppo2', source='local', reset_param=True, input_dim=4,"
    " hidden_dim=64, action_space=2, dropout=0)\n"
)


def copy_of_the_repository(folder):
    """What torch.hub unpacks, as far as the model needs it."""
    package = folder / "src" / "ppo_bbrl"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "hubconf.py", folder)
    for name in ("__init__", "distributions", "errors", "hub", "losses"):
        shutil.copy(ROOT / "src" / "ppo_bbrl" / f"{name}.py", package)
    (package / "system").mkdir()
    for name in ("__init__", "lazy", "sizes"):
        shutil.copy(ROOT / "src" / "ppo_bbrl" / "system" / f"{name}.py", package / "system")
    return folder


def test_torch_hub_loads_it_with_torch_alone():
    """The model card's line, where neither bbrl, OmegaConf, Gymnasium nor NumPy can be imported."""
    done = run_alone(
        LOAD + "print([tuple(x.shape) for x in model(torch.randn(5, 4))])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ppo_bbrl')))\n"
        "try: import bbrl\n"
        "except ModuleNotFoundError: print('alone')\n",
        str(ROOT),
    )
    assert done.returncode == 0, done.stderr
    shapes, modules, last = done.stdout.splitlines()
    assert shapes == "[(5,), (5,), (5,), (5,)]"
    known = ("distributions", "errors", "hub", "losses", "system", "system.lazy", "system.sizes")
    assert modules.split() == ["ppo_bbrl", *(f"ppo_bbrl.{name}" for name in known)]
    assert last == "alone"


@pytest.mark.wide(1)
@pytest.mark.parametrize("ref", [":main", ":v1", ""])
def test_torch_hub_answers_from_its_cache_without_network(ref):
    """`list`, `help` and `load` from the folder that an earlier download left."""
    copy_of_the_repository(Path("hub") / f"someone_ppo-bbrl_{ref[1:] or 'main'}")
    done = run_alone(
        "name = sys.argv[1]\n"
        "print(torch.hub.list(name, verbose=False))\n"
        "print(torch.hub.help(name, 'ppo2'))\n"
        "model = torch.hub.load(name, 'ppo2', input_dim=4, hidden_dim=8, action_space=2)\n"
        "print(type(model), sys.modules['ppo_bbrl'].__file__)\n",
        f"someone/ppo-bbrl{ref}",
        TORCH_HOME=str(Path.cwd()),
    )
    assert done.returncode == 0, done.stderr
    first, *text, last = done.stdout.strip().splitlines()
    assert first == "['ppo2']"
    assert {"input_dim", "hidden_dim", "action_space", "dropout", "reset_param"} <= set(
        re.findall(r"\w+", "\n".join(text))
    )
    assert "ppo_bbrl.hub.PPO2" in last
    assert str(Path("hub").resolve()) in last, "not the package that is installed"


@pytest.mark.slow
def test_a_different_package_of_this_name_is_a_clear_error():
    other = copy_of_the_repository(Path("other"))
    done = run_alone(
        "sys.path.insert(0, 'other/src'); import ppo_bbrl\n"
        "try:\n    " + LOAD + "except RuntimeError as error: print(error)\n",
        str(ROOT),
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "a different ppo_bbrl is already imported" in line
    assert str(other.resolve()) in line
    assert str(ROOT / "src" / "ppo_bbrl") in line


def test_the_same_package_already_imported_is_used():
    """As where the repository itself is installed: no second copy of the classes."""
    path = list(sys.path)
    made = torch.hub.load(
        str(ROOT), "ppo2", source="local", input_dim=4, hidden_dim=8, action_space=2, dropout=0
    )
    assert type(made) is PPO2
    assert sys.path == path


def test_reset_param_false_leaves_the_layers_as_torch_makes_them():
    torch.manual_seed(0)
    made = torch.hub.load(
        str(ROOT), "ppo2", source="local", reset_param=False, input_dim=4, hidden_dim=8,
        action_space=2,
    )  # fmt: skip
    torch.manual_seed(0)
    assert torch.equal(made.latent[0].weight, torch.nn.Linear(4, 8).weight)


class EntropyOfEach(d.Bernoulli):
    """Says more numbers than there are actions, where the model makes one event of several bits."""

    def entropy(self):
        return super().entropy().unsqueeze(-1).expand(*self.batch_shape, 2)


def test_an_entropy_of_another_shape_is_refused_by_name():
    """Its mean would enter the loss without a word."""
    with pytest.raises(UserError, match=r"EntropyOfEach: its entropy has shape .*, must be \[5\]"):
        model()(torch.randn(5, 4), distribution=EntropyOfEach)


def test_arrays_of_another_byte_order_are_numbers():
    model = PPO2(4, 8, 2)
    obs = np.random.default_rng(0).normal(size=(3, 4))
    one, other = (model(given, action=[0, 1, 1])[2] for given in (obs, obs.astype(">f8")))
    assert torch.equal(one, other)


@pytest.mark.parametrize("wrong", [None, [[0.0] * 4, [0.0]], np.zeros((3, 4), object), ({}, 1)])
def test_what_is_no_tensor_is_one_line(wrong):
    with pytest.raises(UserError, match=r"^obs is no tensor: ") as error:
        PPO2(4, 8, 2)(wrong)
    assert "\n" not in str(error.value)

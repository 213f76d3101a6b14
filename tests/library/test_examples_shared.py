"""The examples on PPO2 and on shared trunks: shortened; and, slowly, in full."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHORT = ("algorithm.max_epochs=3", "algorithm.eval_interval=200", "algorithm.nb_evals=2")


def names(example):
    return runpy.run_path(str(EXAMPLES / f"{example}.py"))


def test_the_model_cards_functions_improve_the_model():
    """Three thousand steps: the mean return leaves that of chance, 22, far behind."""
    example = names("ppo2_cartpole")
    mean, steps = example["train"](1, example["Settings"](max_steps=3000))
    assert 3000 <= steps < 3400
    assert mean > 60


def test_the_model_cards_coefficients_are_the_examples():
    settings = names("ppo2_cartpole")["Settings"]()
    card = (settings.clip_range, settings.ent_coef, settings.vf_coef, settings.max_grad_norm)
    assert card == (0.2, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("ppo2", [False, True])
def test_a_shared_trunk_trains(ppo2):
    algo = names("shared_trunk_cartpole")["train"](1, ppo2=ppo2, overrides=SHORT)
    assert algo.policy_optimizer is algo.critic_optimizer
    assert algo.best_reward > 8
    algo.close()


def test_the_page_on_torch_hub_is_right(monkeypatch):
    """Its code runs as it is shown, in the repository's folder."""
    page = (ROOT / "docs" / "torch_hub.md").read_text(encoding="utf-8")
    monkeypatch.chdir(ROOT)
    scope: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "torch_hub.md", "exec"), scope)
    assert scope["value"].shape == (5,)
    assert scope["ppo_clip"].policy_optimizer is scope["ppo_clip"].critic_optimizer
    scope["ppo_clip"].close()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page):
        assert (ROOT / "docs" / target).exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cartpole_is_solved_with_the_model_cards_functions(seed):
    mean, steps = names("ppo2_cartpole")["train"](seed)
    assert mean >= 475
    assert steps <= 100_000


@pytest.mark.slow
@pytest.mark.parametrize("ppo2", [False, True])
def test_cartpole_is_solved_on_a_shared_trunk(ppo2):
    torch.manual_seed(0)
    algo = names("shared_trunk_cartpole")["train"](1, ppo2=ppo2)
    assert algo.best_reward >= 475
    algo.close()

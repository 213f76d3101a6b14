"""What notebook 05 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

curves = [read_metrics(folder)["reward/mean"].dropna().tolist() for folder in runs]
stds = {
    name: (read_metrics(algo.base_dir)["entropy_loss"].dropna() - constant).map(math.exp).tolist()
    for name, algo in (("sample", ppo_clip), ("clipped", clipping))
}


def state(angle, velocity):
    return torch.tensor([math.cos(angle), math.sin(angle), velocity])


def torque(angle, velocity):
    return ppo_clip.train_policy.dist(state(angle, velocity)).mean.item()


def value(angle, velocity):
    return ppo_clip.critic_agent.value(state(angle, velocity)).item()


def clipped_share(policy):
    return (torques_of(policy).abs() > 2).float().mean().item()


print(json.dumps({
    "steps": ppo_clip.nb_steps,
    "curves": curves,
    "again": report.returns.mean().item(),
    "best": ppo_clip.best_reward,
    "clipping": read_metrics(clipping.base_dir)["reward/mean"].dropna().tolist(),
    "stds": stds,
    "edges": [torque(0.0, 7.5), torque(0.0, -7.5)],
    "clipped": [clipped_share(policy) for policy in policies.values()],
    "torque": {
        "right of the top": torque(0.5, 0.0),
        "left of the top": torque(-0.5, 0.0),
        "hanging, swings to +": torque(3.0, 3.0),
        "hanging, swings to -": torque(-3.0, -3.0),
    },
    "value": {"top": value(0, 0.0), "on its way": value(-0.7, 2.5), "hanging": value(3.1, 0.0)},
    "video": abs(math.pi - abs(START)) < 1,
}))
"""
START = """
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.workspace.table import Workspace

env, rows = EnvAgent("Pendulum-v1", 1, autoreset=False), Workspace()
env.seed(ppo_clip.seeds.sequence("replay"))
env(rows, t=0)
cosine, sine, _ = rows.get("env/env_obs", 0)[0].tolist()
START = math.atan2(sine, cosine)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    folder = tmp_path_factory.mktemp("run")
    return full_length("05_continuous_actions", folder, more=START + MORE).told()


def test_every_seed_learns_to_swing_up(results):
    assert 50_000 < results["steps"] < 52_000
    for curve in results["curves"]:
        assert curve[0] < -900
        assert max(curve) > -250
        assert sum(curve[-5:]) / 5 > -350


def test_the_best_policy_is_about_as_good_on_new_episodes(results):
    assert results["best"] > -250
    assert results["again"] > -280


def test_the_deviation_falls_and_further_where_the_clipped_actions_are_kept(results):
    stds = results["stds"]
    assert stds["sample"][0] == pytest.approx(1, abs=0.05)
    assert 0.3 < stds["sample"][-1] < 0.65
    assert stds["clipped"][-1] < 0.8 * stds["sample"][-1]


def test_the_run_that_keeps_the_clipped_actions_learns_and_ends_worse_without_a_crash(results):
    """What the notebook says of seed 3, and of the score: the mean of all evaluations."""
    kept, clipped = results["curves"][0], results["clipping"]
    assert max(clipped) > -300
    assert sum(clipped[-5:]) / 5 < sum(kept[-5:]) / 5 - 50
    difference = sum(clipped) / len(clipped) - sum(kept) / len(kept)
    assert -150 < difference < -40


def test_more_torques_are_clipped_afterwards(results):
    before, afterwards = results["clipped"]
    assert 0.02 < before < 0.08
    assert afterwards > before + 0.01


def test_the_map_says_what_is_written_below_it(results):
    torque = results["torque"]
    assert torque["right of the top"] < -1
    assert torque["left of the top"] > 1
    assert torque["hanging, swings to +"] > 0.5
    assert torque["hanging, swings to -"] < -0.5
    assert all(abs(edge) < 1 for edge in results["edges"])
    value = results["value"]
    assert value["hanging"] < value["on its way"] - 20
    assert value["top"] > -10


def test_the_video_begins_with_the_rod_hanging(results):
    assert results["video"]

"""What notebook 07 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

fit = torch.stack([change, torch.ones_like(change)], 1)
lines = torch.linalg.lstsq(fit, velocity[:, None]).solution
apart = velocity - (fit @ lines)[:, 0]
found = {}
for name, suspect in suspects(4, 2).items():
    workspace = rollout_of(suspect)
    timestep = workspace["env/timestep"]
    memory = workspace["current_policy/memory"][: len(timestep)]
    found[name] = [leaks(memory, timestep).sum().item(), (timestep[1:] == 0).sum().item()]

print(json.dumps({
    "steps": ppo_clip.nb_steps,
    "curves": {
        name: read_metrics(algo.base_dir)["reward/mean"].dropna().tolist()
        for name, algo in (("with", ppo_clip), ("without", without))
    },
    "both signs": [
        (velocity[angle.abs() < 0.02] > 0).float().mean().item(), apart.abs().max().item()
    ],
    "into the first episode": strength[8:, :8].abs().max().item(),
    "leaks": found,
    "played": {
        str(resets): play(policy, resets=resets) for resets in (True, False)
    },
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("07_memory", tmp_path_factory.mktemp("run"), more=MORE).told()


def test_an_angle_tells_nothing_of_the_sign_and_two_of_them_nearly_all(results):
    positive, apart = results["both signs"]
    assert 0.3 < positive < 0.7
    assert apart < 0.5  # of velocities up to 3


def test_no_gradient_goes_into_the_episode_before(results):
    assert results["into the first episode"] == 0


def test_of_three_policies_two_leak(results):
    leaks = results["leaks"]
    assert leaks["B"][0] == 0
    assert all(found == after_row_0 > 10 for found, after_row_0 in (leaks["A"], leaks["C"]))


def test_with_a_memory_it_learns_and_without_it_does_not(results):
    assert 29_000 < results["steps"] < 31_000
    assert max(results["curves"]["without"]) < 60
    curve = results["curves"]["with"]
    assert curve[0] < 60
    assert max(curve) > 350
    assert sum(curve[-4:]) / 4 > 250


def test_without_resets_some_episodes_end_at_once(results):
    resets, without = results["played"]["True"], results["played"]["False"]
    assert min(resets) > 100
    assert min(without) < 30
    assert sum(without) / len(without) < sum(resets) / len(resets) - 20

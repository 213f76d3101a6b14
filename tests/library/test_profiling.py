"""Where a run's time goes: complete, and without a trace left behind."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from command_line import call
from probe_envs import config

from ppo_bbrl import PPOClip, rollout
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.profiling import EVALUATION, OTHER, SECTIONS, Profile, profile

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def taken():
    algo = PPOClip(config("Chance", eval_interval=200))
    yield algo, profile(algo, 5)
    algo.close()


def test_every_part_of_the_run_takes_its_time(taken):
    _, result = taken
    assert tuple(result.seconds) == SECTIONS
    for section in SECTIONS:
        assert result.seconds[section] > 0, section
    assert result.rollouts == 5
    assert 0 < result.steps < 5 * 4 * 16, "autoreset steps do not count"
    assert result.first_rollout > 0


def test_evaluations_are_counted_as_the_run_evaluates(taken):
    """More than 200 steps lie between two of them, and a rollout has 64."""
    _, result = taken
    assert result.rollouts_per_evaluation == 4
    assert result.seconds[EVALUATION] == pytest.approx(result.evaluation * 5 / 4)


def test_the_loop_itself_evaluates_nothing():
    algo = PPOClip(config("Chance", eval_interval=0))
    profile(algo, 5)
    assert len(algo.eval_rewards) == 1


def test_nothing_of_a_profile_stays(taken):
    algo, _ = taken
    assert "forward" not in vars(algo.train_env)
    assert not {"update", "log", "evaluate", "_progress"} & set(vars(algo))
    assert rollout.row_actor is row_actor
    for name in ("evaluate_both", "gae", "lambda_returns"):
        function = getattr(rollout, name)
        assert inspect.unwrap(function) is function, name
    assert not list(Path().iterdir()), "no file either"


def test_nothing_of_a_profile_stays_after_an_error():
    algo = PPOClip(config("Chance"))
    threads = torch.get_num_threads()

    def fails(*_):
        raise ArithmeticError

    algo.update = fails
    with pytest.raises(ArithmeticError):
        profile(algo, 5)
    assert algo.update is fails
    assert "forward" not in vars(algo.train_env)
    assert inspect.unwrap(rollout.gae) is rollout.gae
    assert torch.get_num_threads() == threads
    algo.close()


def test_by_default_it_is_long_enough():
    algo = PPOClip(config("Chance"))
    result = profile(algo, at_least=0.05)
    assert result.rollouts >= 1
    assert result.total - result.seconds[EVALUATION] >= 0.05


def test_profiled_learning_is_learning():
    """The clocks change nothing: the weights are those of as many rollouts without them."""
    profiled, plain = (PPOClip(config("Chance", max_epochs=4)) for _ in range(2))
    profile(profiled, 3)
    for workspace in plain.iter_partial_episodes(17):
        plain.update(plain.record(workspace))
    for one, other in zip(
        profiled.train_policy.parameters(), plain.train_policy.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    plain.close()


# ------------------------------------------------------------------------------- the table

ROW = re.compile(r"^(.*?) +([\d.]+) +([\d.]+) % +([\d.]+) ms$", re.MULTILINE)


@pytest.mark.parametrize(
    "seconds",
    [
        [1.0] * 8,
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1e-9, 5, 3, 2, 1, 1, 1, 1e-9],
        [0.125, 0.25, 3.3, 1e-3, 7.7, 1 / 3, 2 / 3, 0.1],
    ],
)
def test_shares_add_up_to_a_hundred(seconds):
    result = Profile(dict(zip(SECTIONS, seconds, strict=True)), 10, 640, 1.0, 0.1, 4)
    rows = ROW.findall(result.table())
    assert [row[0].strip() for row in rows] == [*SECTIONS, "total"]
    tenths = [round(float(share) * 10) for _, _, share, _ in rows]
    assert sum(tenths[:-1]) == tenths[-1] == 1000
    for share, time in zip(tenths, seconds, strict=False):
        assert abs(share - 1000 * time / sum(seconds)) < 1
    assert float(rows[-1][1]) == pytest.approx(sum(seconds), abs=1e-3)
    assert float(rows[-1][3]) == pytest.approx(100 * sum(seconds), abs=1e-2)


def test_the_command(monkeypatch, capsys):
    status, out, err = call(
        monkeypatch,
        capsys,
        "profile",
        CONFIGS / "cartpole.yaml",
        "algorithm.n_envs=3",
        "logger.log_dir=elsewhere",
        "--rollouts",
        2,
    )
    assert (status, err) == (0, "")
    for section in (*SECTIONS, "total", "CartPole-v1", "3 environments", "2 rollouts"):
        assert section in out
    assert OTHER in out
    assert len(ROW.findall(out)) == len(SECTIONS) + 1
    assert not list(Path().iterdir()), "no file is left"


def test_bad_input_is_one_line(monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, "profile", CONFIGS / "cartpole.yaml", "algoritm=1")
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert not list(Path().iterdir())

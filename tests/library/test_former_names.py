"""Names that notebooks, courses and programs were written with stay importable."""

import subprocess
import sys

import pytest

# As in the notebooks, documents and error messages of earlier versions.
LINES = """
from ppo_bbrl import Agent, Agents, ConfigError, DiscretePolicy, EpisodicAlgo, GaussianPolicy
from ppo_bbrl import KWAgentWrapper, PPOClip, TemporalAgent, VAgent, Workspace, build_ortho_mlp
from ppo_bbrl import copy_parameters, iter_episodes, iter_partial_episodes, load, load_config, run
from ppo_bbrl import seeded, setup_optimizer, setup_tensorboard, shared_agents
from ppo_bbrl.ablation import PPOWithReplacement, Variant, train_variants
from ppo_bbrl.advantages import gae, lambda_returns, normalise
from ppo_bbrl.agents import Agent, DiscretePolicy, GaussianPolicy, KWAgentWrapper, VAgent
from ppo_bbrl.checkpoint import load_policy, restore, save_policy
from ppo_bbrl.config import ConfigError, PPOConfig, load_config, save_config
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.episodic import EpisodicAlgo, iter_partial_episodes
from ppo_bbrl.evaluation import evaluate
from ppo_bbrl.exercises import ExerciseError, check_is_clipped, check_policy_objective
from ppo_bbrl.exercises.feedback import call, not_right, untouched_randomness
from ppo_bbrl.exercises.probes import corridor_values, register_probes
from ppo_bbrl.exercises.suspects import SUSPECTS, suspect
from ppo_bbrl.grading.cells import read_assignment
from ppo_bbrl.grading.grader import Grader
from ppo_bbrl.grading.preprocessors import GradeApart
from ppo_bbrl.hub import PPO2
from ppo_bbrl.lightning import PPO, SubprocVecEnv, make_vec_env
from ppo_bbrl.losses import clipped_surrogate, value_loss
from ppo_bbrl.networks import build_ortho_mlp
from ppo_bbrl.plots import bootstrap_interval, critic_map, policy_map, read_metrics, workspace_grid
from ppo_bbrl.progress import Progress
from ppo_bbrl.replay import record_video, show
from ppo_bbrl.workspace import Workspace
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_what_was_imported_can_be_imported(line):
    exec(line, {})


def test_each_in_a_process_of_its_own():
    """Nothing that was imported before helps; the old name and the new one are the same thing."""
    code = (
        "from ppo_bbrl.exercises import ExerciseError as former\n"
        "from ppo_bbrl.exercises.feedback import ExerciseError as there\n"
        "from ppo_course import ExerciseError\n"
        "from ppo_course.feedback import ExerciseError as home\n"
        "assert former is there is ExerciseError is home\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_a_package_is_there():
    import ppo_bbrl
    import ppo_bbrl.agents
    import ppo_bbrl.config
    import ppo_bbrl.envs
    import ppo_bbrl.workspace
    import ppo_course

    for package in (
        ppo_bbrl, ppo_bbrl.agents, ppo_bbrl.config, ppo_bbrl.envs, ppo_bbrl.workspace, ppo_course,
    ):  # fmt: skip
        for name in package._HOME:
            assert getattr(package, name) is not None
            assert name in dir(package)
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = package.nothing


def test_runs_of_earlier_versions_know_the_packages_classes_by_these_names():
    from ppo_bbrl import DiscretePolicy, GaussianPolicy
    from ppo_bbrl.agents.shared import SharedPolicy
    from ppo_bbrl.runs.best_policy import class_name

    assert class_name(DiscretePolicy) == "ppo_bbrl.agents.DiscretePolicy"
    assert class_name(GaussianPolicy) == "ppo_bbrl.agents.GaussianPolicy"
    assert class_name(SharedPolicy) == "ppo_bbrl.shared_trunk.SharedPolicy"


def test_errors_by_their_former_names():
    from ppo_bbrl import errors, ppo

    assert errors.EnvironmentFailed is errors.EnvironmentFailedError
    assert ppo.TrainingFailed is ppo.TrainingFailedError

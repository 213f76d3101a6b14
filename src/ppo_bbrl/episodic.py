"""EpisodicAlgo: everything that an algorithm on episodes needs around its loop.

That is environments, counters, evaluation, the best policy, the log. The loop itself is in the
subclass, or in a notebook: `for workspace in algo.iter_partial_episodes(): …`.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bbrl.agents
import torch
from omegaconf import DictConfig
from tqdm import TqdmExperimentalWarning

from ppo_bbrl.agents.build import check_has_weights
from ppo_bbrl.agents.policies import drawing_from
from ppo_bbrl.config.changes import ConfigChanges
from ppo_bbrl.config.loading import load_episodic_config
from ppo_bbrl.config.training_wrappers import in_training
from ppo_bbrl.config.wrappers import Wrapper, combine, warn_of_statistics
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.configured import configured_env, configured_vectorization
from ppo_bbrl.envs.vector import longest_episode
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.evaluation import EvalReport, evaluate
from ppo_bbrl.rollout import collect
from ppo_bbrl.runs.progress import Progress
from ppo_bbrl.runs.replay import record_video, show
from ppo_bbrl.runs.resuming import GRACE, Checkpointed
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.system.compute import check_defaults, check_rollout
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import exit_on_signals, postponed_signals
from ppo_bbrl.system.sizes import size_of
from ppo_bbrl.workspace.table import Workspace

with warnings.catch_warnings():
    # In a notebook, this imports an experimental part of tqdm, which warns.
    warnings.simplefilter("ignore", TqdmExperimentalWarning)
    import bbrl_utils.algorithms

if TYPE_CHECKING:
    from IPython.display import Video


class EpisodicAlgo(Checkpointed, bbrl_utils.algorithms.EpisodicAlgo):
    """Base class for algorithms on (partial) episodes, with the interface of bbrl_utils' class.

    It inherits from that class, but does not run its constructor, which creates folders, seeds
    torch and writes into the configuration before anything can be checked.

    Subclasses set `train_policy`, and `eval_policy` if evaluations should act differently. Both
    are agents that write `action`.

    Args:
        cfg: the configuration, which is never changed: the keys of `EpisodicConfig` are checked,
            all others are yours.
        autoreset: whether an ended training environment is reset in the next row.
        env_wrappers: wrappers applied to each environment in this order, after those of
            `gym_env.wrappers`.

    Raises:
        ConfigError: for an invalid configuration; no file has been created then.

    Attributes:
        cfg: the resolved configuration.
        nb_steps: environment steps so far, not counting autoreset steps.
        train_env: the training environments, as an agent.
        best_policy: a copy of the policy with the best evaluation; None before the first one.
        best_reward: the mean return of that evaluation.
        running_reward: the mean over the last ten evaluations.
    """

    # Students make their agents after the constructor, with torch's global generator.
    _seeds_globally = True
    # Whether the user's program made the policy, so that no configuration can recreate it.
    _own_policy = True

    def __init__(
        self,
        cfg: DictConfig | dict[str, Any],
        autoreset: bool = False,
        env_wrappers: Sequence[Wrapper] = (),
    ) -> None:
        super().__init__(self._load_config(cfg))
        check_defaults()
        check_rollout(self.cfg.algorithm)
        self._choose_environments(env_wrappers)
        self.seeds = self._make_seeds()
        self.train_env = self._make_env(self.cfg.algorithm.n_envs, self._in_training, autoreset)
        try:
            check_rollout(self.cfg.algorithm, self.train_env.observation_space)
            warn_of_statistics(self.train_env.envs)
            self.train_env.seed(self.seeds.sequence("train_env"))
        except Exception:
            self.train_env.close()
            raise
        self.train_policy: Any = None
        self.eval_policy: Any = None
        self.nb_steps = self.epoch = self.last_eval_step = self._n_evaluations = 0
        self._loop: object | None = None  # the running loop
        self._changes = ConfigChanges(self.cfg)
        if self._seeds_globally:
            torch.manual_seed(self.cfg.algorithm.seed)

    def _load_config(self, cfg: DictConfig | dict[str, Any]) -> DictConfig:
        return load_episodic_config(cfg)

    def _make_seeds(self) -> Seeds:
        return Seeds(self.cfg.algorithm.seed)

    def _choose_environments(self, env_wrappers: Iterable[Wrapper]) -> None:
        """Record in the configuration what the run's environments are."""
        gym_env = self.cfg.gym_env
        gym_env.wrappers, self._env_wrappers = combine(gym_env.wrappers, env_wrappers)
        self._in_training = in_training(self._env_wrappers, gym_env.training_wrappers)
        gym_env.vectorization = configured_vectorization(gym_env, self._in_training)

    def _read_config(self) -> None:
        """Apply what has changed in the configuration since the last call, or refuse it by name."""
        files = {"base_dir": "folder", "logger": "logger"}
        if "folder" in vars(self):
            self._changes.known["base_dir"] = self.folder.name  # creating the folder changed it
        changes = self._changes.find(
            self.cfg,
            in_a_loop=self._loop is not None,
            written=[key for key, made in files.items() if made in vars(self)],
        )
        if changes:
            self._load_config(self.cfg)  # checks the values
            check_rollout(self.cfg.algorithm, self.train_env.observation_space)
            self._use(changes)
            self._changes.accept(self.cfg)

    def _use(self, changes: Mapping[str, Any]) -> None:
        """Drop everything that was made from the old values; `changes` has dotted keys."""
        if "algorithm.nb_evals" in changes and "eval_env" in self.__dict__:
            self.__dict__.pop("eval_env").close()
        if "algorithm.max_eval_steps" in changes:
            self.__dict__.pop("_max_steps", None)

    def _begin_loop(self) -> None:
        self._loop = None  # ends a loop that was left early
        check_defaults()  # they may be others than those of the constructor
        self._read_config()

    def _make_env(self, n_envs: int, wrappers: Any, autoreset: bool = False) -> EnvAgent:
        gym_env = self.cfg.gym_env
        return configured_env(gym_env, n_envs, wrappers=wrappers, autoreset=autoreset)

    # Collecting.

    def iter_partial_episodes(self, episode_steps: int | None = None) -> Iterator[Workspace]:
        """Yield the workspace after every `episode_steps` rows (default: algorithm.n_steps).

        Its first row is the last row of the previous time, with a new action. It is the same
        workspace every time; tensors read from it do not change.
        """
        self._begin_loop()
        given = self.cfg.algorithm.n_steps if episode_steps is None else episode_steps
        name = "algorithm.n_steps" if episode_steps is None else "episode_steps"
        needed = "must be an integer ≥ 2: a transition has two rows"
        n_rows = size_of(name, given, needed, least=2, error=ConfigError)
        carried = self._workspace.last_row() if self._goes_on and self._workspace else {}
        workspace = self._workspace = Workspace(capacity=n_rows)
        for name, row in carried.items():
            workspace.set(name, 0, row)
        for _ in self._progress():
            policy = self._policy("train_policy")
            try:
                with drawing_from(self.seeds.actions, policy), self._collecting():
                    self.nb_steps += collect(self.train_env, policy, workspace, n_rows)
            except Exception as error:
                self._check_rows(workspace)  # it may be what this error comes from
                self._save_what_came_before(error)
                raise
            self._check_rows(workspace)
            yield workspace

    def iter_episodes(self) -> Iterator[Workspace]:
        """Yield a new workspace with one whole episode of every environment.

        If an environment ends before the others, its last row is repeated with reward 0. An
        episode that does not end is cut off at the environment's limit, or after 10,000 steps.
        """
        if self.train_env.autoreset:
            raise ConfigError("iter_episodes needs EpisodicAlgo(cfg, autoreset=False)")
        self._begin_loop()
        for _ in self._progress():
            workspace = Workspace(capacity=128)
            policy, t = self._policy("train_policy"), 0
            with drawing_from(self.seeds.actions, policy), self._collecting():
                self.train_env(workspace, t=0)
                policy(workspace, t=0)
                while not self.train_env.all_done() and t < self._max_steps:
                    t += 1
                    self.train_env(workspace, t=t)
                    policy(workspace, t=t)
            workspace.cut(t + 1)  # what is remembered after the last row
            self.nb_steps += int((~workspace.view("env/done")[:-1]).sum())
            yield workspace

    def _collecting(self) -> AbstractContextManager[Any]:
        """The context in which rollouts are collected; subclasses may turn off gradients here."""
        return nullcontext()

    def _progress(self) -> Iterator[int]:
        first = self._next_epoch if self._goes_on else 0
        progress, steps = Progress(self.cfg.algorithm.max_epochs, first), self.nb_steps
        self._begin_checkpoints(first)
        loop = self._loop = object()
        with exit_on_signals(), self._kept(), postponed_signals(GRACE) as stop:
            try:
                for self.epoch in progress.rollouts():
                    self._next_epoch, self._goes_on = self.epoch + 1, False
                    self._read_config()
                    yield self.epoch
                    self._between_iterations(stop, ends=self._next_epoch == progress.total)
                    if progress.due(self.epoch + 1):
                        rate = (self.nb_steps - steps) / progress.seconds()
                        progress.show(self.epoch + 1, self._status(rate))
            finally:  # also if the body of the loop fails or breaks, which closes the generator
                if self._loop is loop:
                    self._loop = None
                    self._end_checkpoints()

    def _policy(self, name: str) -> bbrl.agents.Agent:
        policy = getattr(self, name)
        if policy is None:
            raise ValueError(f"{type(self).__name__} has no {name}: set it in the constructor")
        check_has_weights(policy, name)
        return policy

    # Evaluating.

    @property
    def _acting_policy(self) -> bbrl.agents.Agent:
        return self._policy("train_policy") if self.eval_policy is None else self.eval_policy

    @cached_property
    def eval_env(self) -> EnvAgent:
        """The evaluation environments, as an agent."""
        return self._make_env(self.cfg.algorithm.nb_evals, self._env_wrappers)

    @property
    def eval_agent(self) -> bbrl.agents.TemporalAgent:
        """Evaluation environments and policy, as one agent."""
        return bbrl.agents.TemporalAgent(bbrl.agents.Agents(self.eval_env, self._acting_policy))

    @property
    def train_agent(self) -> bbrl.agents.TemporalAgent:
        """Training environments and policy, as one agent."""
        agents = bbrl.agents.Agents(self.train_env, self._policy("train_policy"))
        return bbrl.agents.TemporalAgent(agents)

    def evaluate(self, force: bool = False) -> bool:
        """Evaluate the policy if more than `eval_interval` steps have passed, or if `force` is set.

        Returns:
            Whether it is the best so far; if so, a copy of it is kept.

        Raises:
            EvaluationError: if a return is not a number.
        """
        self._read_config()
        self._is_run = True
        if not force and self.nb_steps - self.last_eval_step <= self.cfg.algorithm.eval_interval:
            return False
        self.last_eval_step = self.nb_steps
        seeds = self.seeds.sequence("evaluation", self._n_evaluations)
        self._n_evaluations += 1
        report = evaluate(self._acting_policy, self.eval_env, seeds, max_steps=self._max_steps)
        return self.register_evaluation(report.returns)

    @cached_property
    def _max_steps(self) -> int:
        return longest_episode(self.cfg)

    def evaluate_policy(self, policy: bbrl.agents.Agent, n_episodes: int) -> EvalReport:
        """Evaluate any policy on episodes that nothing else uses; nothing is logged or kept."""
        n_episodes = size_of("n_episodes", n_episodes)
        seeds = self.seeds.sequence("evaluation", self._n_evaluations)
        self._n_evaluations += 1
        env = self._make_env(n_episodes, self._env_wrappers)
        try:
            return evaluate(policy, env, seeds, max_steps=self._max_steps)
        finally:
            env.close()

    def visualize_best(self) -> "Video | Path":
        """Run the best policy for one episode, write an MP4, and show it in a notebook.

        Returns:
            The embedded video in a notebook; elsewhere the path of the file.
        """
        return show(self.record_best())

    def record_best(self, max_steps: int | None = None) -> Path:
        """Run the best policy for one episode and write an MP4; return its path.

        Args:
            max_steps: number of steps after which the video ends, even if the episode continues.
        """
        limit = self._max_steps if max_steps is None else size_of("max_steps", max_steps)
        policy = self.best_policy
        if policy is None:
            say("No evaluation has taken place yet: this is the current policy.")
            policy = self._acting_policy
        return record_video(
            policy,
            self.cfg.gym_env.env_name,
            self.folder.video / "best.mp4",
            root=self.folder.path,
            seeds=self.seeds.sequence("replay"),
            env_args=self.cfg.gym_env.env_args,
            wrappers=self._env_wrappers,
            action_mask=self.cfg.gym_env.action_mask,
            max_steps=limit,
            step_timeout=self.cfg.gym_env.step_timeout,
        )

    def close(self) -> None:
        """Save what was learned, then close the environments, their processes and the log."""
        self.keep()
        if self._has_logged():
            self.logger.close()
        try:
            self.train_env.close()
        finally:
            self._release_checkpoints()
            if "eval_env" in self.__dict__:
                self.eval_env.close()


def iter_partial_episodes(
    algo: EpisodicAlgo, episode_steps: int | None = None
) -> Iterator[Workspace]:
    """`algo.iter_partial_episodes(episode_steps)`: workspaces of `episode_steps` rows."""
    return algo.iter_partial_episodes(episode_steps)


def iter_episodes(algo: EpisodicAlgo) -> Iterator[Workspace]:
    """`algo.iter_episodes()`."""
    return algo.iter_episodes()

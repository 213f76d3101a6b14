"""PPO-clip: collect, advantages, update, evaluate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Any

import bbrl.agents
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ppo_bbrl.agents import KWAgentWrapper, copy_agent, has_memory
from ppo_bbrl.build import build_critic, build_policy, note_weights, put_on
from ppo_bbrl.compute import (
    available_cores,
    check_compute,
    choose_compile,
    choose_device,
    choose_threads,
    threads,
)
from ppo_bbrl.config import ConfigError, load_config
from ppo_bbrl.engines import Engine, choose_engine, improve
from ppo_bbrl.episodic import EpisodicAlgo, iter_partial_episodes
from ppo_bbrl.errors import UserError
from ppo_bbrl.fits import check_fits
from ppo_bbrl.learners import Learners, make_optimizers
from ppo_bbrl.networks import evaluation_mode, no_numbers
from ppo_bbrl.optimizers import ScheduledRates
from ppo_bbrl.rollout import Rollout, record
from ppo_bbrl.schedules import SCHEDULES
from ppo_bbrl.trained_policy import restore_policy
from ppo_bbrl.update import UpdateReport
from ppo_bbrl.workspace import Workspace
from ppo_bbrl.wrappers import Wrapper


class TrainingFailed(UserError):  # noqa: N818 - what happened, not what kind of error
    """Training cannot go on."""


class PPOClip(EpisodicAlgo):
    """Proximal policy optimisation with the clipped surrogate (Schulman et al., 2017).

    Args:
        cfg: the whole schema of `ppo_bbrl.config.PPOConfig`; never changed.
        train_policy: an agent of your own in place of the package's. It acts, and with
            `predict_proba=True, compute_entropy=True` writes `{prefix}logprob_predict` and
            `{prefix}entropy`.
        critic_agent: an agent of your own that writes `{prefix}v_values`. It may share weights
            with the policy: `shared_agents(model)` makes both of one model. Agents made inside
            `with seeded(cfg):` have weights that `algorithm.seed` draws; the configuration's
            `extra.weights_given` names those that came with any.
        env_wrappers: applied to each environment in this order, after those of
            `gym_env.wrappers`.

    Raises:
        ConfigError: for a configuration that cannot be run; no file has been made then.

    Attributes:
        train_policy, critic_agent: what learns. Assigning another agent makes everything below
            anew; optimisers keep what they know of the weights that stay.
        eval_policy: the greedy version of train_policy.
        old_policy, old_critic_agent: the weights that collected the last rollout.
        policy_optimizer, critic_optimizer: one each; one for both where they share weights. They
            may be replaced, and their param_groups changed; the schedule goes on from there.
        cfg: the resolved configuration. What is changed in it is used in the next rollout or
            update, or is refused by name.
    """

    _seeds_globally = False
    _own_policy = False
    policy_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer

    def __init__(
        self,
        cfg: DictConfig | dict[str, Any],
        *,
        train_policy: bbrl.agents.Agent | None = None,
        critic_agent: bbrl.agents.Agent | None = None,
        env_wrappers: Sequence[Wrapper] = (),
    ) -> None:
        super().__init__(cfg, autoreset=True, env_wrappers=env_wrappers)
        self._learn: Engine | None = None
        self._made_of: Any = None
        self._weights: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._rates = ScheduledRates()
        # The loop reads plain attributes: looking up a key of OmegaConf takes ten times as long.
        self._settings: Any = OmegaConf.to_object(self.cfg.algorithm)
        try:
            self._choose_compute()
            given = {"train_policy": train_policy, "critic_agent": critic_agent}
            own = [agent for agent in given.values() if agent is not None]
            note_weights(self.cfg, [name for name in given if given[name] is not None])
            self._changes.accept(self.cfg)
            with self.seeds.weights.direct():
                if train_policy is None:
                    train_policy = build_policy(self.cfg, self.train_env)
                if critic_agent is None:
                    critic_agent = build_critic(self.cfg, self.train_env)
            self._set_agents(train_policy, critic_agent, own=own)
        except Exception:
            self.close()  # environments may be processes
            raise

    @property
    def train_policy(self) -> Any:
        """The policy that learns; see the attributes of the class."""
        return self._train_policy

    @train_policy.setter
    def train_policy(self, policy: bbrl.agents.Agent | None) -> None:
        if policy is None:  # in the constructor of the base class
            self._train_policy: Any = None
            return
        self._set_agents(policy, self.critic_agent, own=[policy, self.critic_agent], new=policy)

    @property
    def critic_agent(self) -> Any:
        """The critic that learns; see the attributes of the class."""
        return self._critic_agent

    @critic_agent.setter
    def critic_agent(self, critic: bbrl.agents.Agent) -> None:
        self._set_agents(self.train_policy, critic, own=[self.train_policy, critic], new=critic)

    def _set_agents(self, policy: Any, critic: Any, *, own: list[Any], new: Any = None) -> None:
        """Take the agents that are to learn, and make what depends on them.

        Args:
            policy: of any BBRL agent.
            critic: likewise.
            own: those of them that are not the package's.
            new: the one of the two that is new; None: both are.
        """
        for argument, agent in (("train_policy", policy), ("critic_agent", critic)):
            if not isinstance(agent, bbrl.agents.Agent):
                raise ConfigError(
                    f"{argument} is a {type(agent).__name__}, which is no BBRL agent; "
                    "shared_agents(model) makes two of a model with a policy and a value head"
                )
            if isinstance(agent, bbrl.agents.KWAgentWrapper):  # as best_policy is
                raise ConfigError(
                    f"{argument} is a KWAgentWrapper, whose fixed arguments leave it nothing to "
                    "learn: give what it wraps, its attribute `wrapped`"
                )
            if has_memory(agent):
                raise ConfigError(f"{type(agent).__name__} has memory, which PPOClip cannot train")
            put_on(agent, self.cfg.compute.device)
        policy = policy.with_prefix(policy.prefix or "current_policy/")
        critic = critic.with_prefix(critic.prefix or "critic/")
        if own:
            check_fits(policy, critic, self.train_env)
        try:
            before = None if new is None else (self.policy_optimizer, self.critic_optimizer)
            made = make_optimizers(self.cfg.optimizer, policy, critic, new=new, before=before)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.policy_optimizer, self.critic_optimizer = made
        self._train_policy, self._critic_agent = policy, critic
        # Agents of your own may have dropout and the like; the package's have none.
        self._own_agents = own
        if new is not critic:
            self._own_policy = policy in own
        self.eval_policy = KWAgentWrapper(
            policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        self._made_of = None
        self._learners()

    def _learners(self) -> Learners:
        """What learns, as it is now; what was replaced since the last time is checked."""
        learners = Learners(
            self.train_policy, self.critic_agent, self.policy_optimizer, self.critic_optimizer
        )
        made_of = learners.made_of()
        if made_of != self._made_of:
            if self._made_of is not None:
                learners.check(self._weights)
            if self._made_of is None or made_of[0] != self._made_of[0]:
                self._copy_agents()
            self._weights, self._made_of = learners.tensors(), made_of
        return learners

    def _copy_agents(self) -> None:
        both = nn.ModuleList((self.train_policy, self.critic_agent))  # has each weight once
        old: Any = copy_agent(both)
        self.old_policy = old[0].with_prefix("old_policy/")
        self.old_critic_agent = old[1].with_prefix("old_critic/")
        self._now_and_old = [
            *zip(both.parameters(), old.parameters(), strict=True),
            *zip(both.buffers(), old.buffers(), strict=True),
        ]

    def _choose_compute(self) -> None:
        """Decide what `auto` leaves open, and keep the decision in the configuration."""
        settings, chosen = self.cfg.algorithm, self.cfg.compute
        chosen.device = choose_device(chosen.device)
        size = settings.n_envs * settings.n_steps
        batch_size = min(settings.batch_size or size, size)
        if chosen.threads == "auto":
            architecture = settings.architecture
            hidden = (*architecture.actor_hidden_size, *architecture.critic_hidden_size, 1)
            chosen.threads = choose_threads(
                batch_size=batch_size, width=max(hidden), cores=available_cores()
            )
        self._why_compile = ""
        if chosen.compile == "auto":
            steps = settings.max_epochs * settings.opt_epochs * -(-size // batch_size)
            compile_it, self._why_compile = choose_compile(steps)
            chosen.compile = "always" if compile_it else "never"

    def _use(self, changes: Mapping[str, Any]) -> None:
        super()._use(changes)
        self._settings = OmegaConf.to_object(self.cfg.algorithm)
        if "optimizer.lr" in changes:
            for optimizer in {self.policy_optimizer, self.critic_optimizer}:
                self._rates.begin_with(optimizer, self.cfg.optimizer.lr)
        if any(name.startswith("compute.") for name in changes):
            self._learn = None
            self._choose_compute()
            if self._loop is not None:  # which sets them back when it ends
                torch.set_num_threads(self.cfg.compute.threads)

    def iter_partial_episodes(self, episode_steps: int | None = None) -> Iterator[Workspace]:
        """As in `EpisodicAlgo`, with the threads of the configuration while the loop runs."""
        self._begin_loop()
        with threads(self.cfg.compute.threads):
            yield from super().iter_partial_episodes(episode_steps)

    def _load_config(self, cfg: DictConfig | dict[str, Any]) -> DictConfig:
        loaded = load_config(cfg)
        check_compute(loaded)
        return loaded

    @contextmanager
    def _collecting(self) -> Iterator[None]:
        # Without gradient, as the loss judges every action again.
        with torch.no_grad(), evaluation_mode(*self._own_agents):
            yield

    def _drawing(self) -> AbstractContextManager[None]:
        """Around what agents of your own compute: they may draw, and change their modes."""
        return self.seeds.learning.active() if self._own_agents else nullcontext()

    def record(self, workspace: Workspace) -> Rollout:
        """Complete a collected workspace with what learning needs, and take it out."""
        self._read_config()
        settings = self._settings
        with self._drawing(), evaluation_mode(*self._own_agents):
            return record(
                workspace,
                self._policy("train_policy"),
                self._policy("critic_agent"),
                discount_factor=settings.discount_factor,
                gae_lambda=settings.gae,
            )

    def update(self, rollout: Rollout) -> UpdateReport:
        """Improve policy and critic on a rollout, after copying the weights that acted."""
        self._read_config()
        learners = self._learners()
        self._keep_old_weights()
        settings = self._settings
        remaining = max(0.0, 1 - self.epoch / settings.max_epochs)
        for optimizer in {self.policy_optimizer, self.critic_optimizer}:
            self._rates.apply(optimizer, SCHEDULES[settings.learning_rate_schedule](remaining))
        clip_factor = SCHEDULES[settings.clip_range_schedule](remaining)
        with self._drawing():  # compiling tries the agents, too
            if self._learn is None or not self._learn.fits(learners, settings, rollout):
                self._learn = choose_engine(
                    learners, settings, self.cfg.compute, rollout, self._why_compile
                )
                self._why_compile = ""  # has been said
            self._learn, report = improve(
                self._learn,
                rollout,
                learners,
                settings,
                self.cfg.compute,
                clip_factor=clip_factor,
                generator=self.seeds.minibatches,
            )
        self._changes.accept(self.cfg)  # an engine may have decided against compiling
        self._check_finite(report)
        report.metrics["clip_range"] = torch.tensor(settings.clip_range * clip_factor)
        rate = float(self.policy_optimizer.param_groups[0]["lr"])
        report.metrics["learning_rate"] = torch.tensor(rate, dtype=torch.float64)
        return report

    def _check_finite(self, report: UpdateReport) -> None:
        names = ("actor_loss", "critic_loss", "entropy_loss")  # the last one's weight may be 0
        losses = [report.metrics[name] for name in names if report.metrics]
        if losses and not bool(torch.stack(losses).isfinite().all()):
            raise TrainingFailed(
                f"after {self.nb_steps} steps on {self.train_env.env_name} the losses are not "
                "numbers: does the environment give such observations or rewards? Or is "
                "optimizer.lr too large?"
            )

    def _keep_old_weights(self) -> None:
        with torch.no_grad():
            for now, old in self._now_and_old:
                old.copy_(now)

    def _last_policy(self) -> bbrl.agents.Agent | None:
        """The policy as it is now; where an update broke its weights, as it was before."""
        now = super()._last_policy()
        if now is None and self.train_policy is not None and not no_numbers(self.old_policy):
            return KWAgentWrapper(self.old_policy, stochastic=False)
        return now

    def log(self, workspace: Workspace, report: UpdateReport, seconds: float, steps: int) -> None:
        """Log one iteration."""
        for name, value in report.metrics.items():
            self.logger.add_log(name, value, self.nb_steps)
        ended = workspace.view("env/done")[1:]
        if ended.any():
            for name, variable in _EPISODE_METRICS.items():
                value = workspace.view(variable)[1:][ended].double().mean()
                self.logger.add_log(name, value, self.nb_steps)
        self.logger.add_log("steps_per_second", steps / seconds, self.nb_steps)


_EPISODE_METRICS = {"episode/return": "env/cumulated_reward", "episode/length": "env/timestep"}


def run(ppo_clip: PPOClip) -> None:
    """Train: collect a rollout, estimate advantages, update, evaluate; again and again.

    A rollout has `n_steps` transitions, hence `n_steps + 1` rows; its last row is the first of
    the next one.

    The last policy is evaluated too, so that it may be the best. However the run ends, its folder
    keeps `best/`, `last/` and everything that was logged.
    """
    last_epoch = ppo_clip.cfg.algorithm.max_epochs - 1
    steps, start = ppo_clip.nb_steps, perf_counter()
    for workspace in iter_partial_episodes(ppo_clip, ppo_clip.cfg.algorithm.n_steps + 1):
        rollout = ppo_clip.record(workspace)
        report = ppo_clip.update(rollout)
        now = perf_counter()
        ppo_clip.log(workspace, report, now - start, ppo_clip.nb_steps - steps)
        ppo_clip.evaluate(force=ppo_clip.epoch == last_epoch)
        steps, start = ppo_clip.nb_steps, perf_counter()


__all__ = ["EpisodicAlgo", "PPOClip", "build_critic", "build_policy", "restore_policy", "run"]

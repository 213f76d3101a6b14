"""PPO-clip: collect rollouts, estimate advantages, update, evaluate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any

import bbrl.agents
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.agents.build import build_critic, build_policy, note_weights
from ppo_bbrl.agents.curiosity import make_curious
from ppo_bbrl.agents.learning import LearningAgents
from ppo_bbrl.agents.networks import evaluation_mode, no_numbers
from ppo_bbrl.agents.normalisers import normalisers_of, summary
from ppo_bbrl.agents.shared import evaluate_both
from ppo_bbrl.coefficients import (
    Coefficients,
    KLControl,
    check_schedules,
    coefficients,
    factors_at,
    logged,
    measures_kl,
    without_replaced,
)
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.curiosity import Watching, with_curiosity, with_losses, with_returns
from ppo_bbrl.episodic import EpisodicAlgo, iter_partial_episodes
from ppo_bbrl.errors import ConfigError, shown
from ppo_bbrl.fast.engines import Engine, choose_engine, improve, place_weights
from ppo_bbrl.minibatches import Minibatch, Transitions
from ppo_bbrl.overrides import targets_of
from ppo_bbrl.rewards import RewardScale, learned_from
from ppo_bbrl.rollout import (
    Rollout,
    evaluate_rollout,
    gae_targets,
    valid_observations,
    with_values,
)
from ppo_bbrl.runs.failing import Failing, TrainingFailedError
from ppo_bbrl.runs.metrics import episode_metrics
from ppo_bbrl.runs.trackers import Tracker, check_trackers
from ppo_bbrl.runs.trained_policy import restore_policy
from ppo_bbrl.schedules import Schedule
from ppo_bbrl.sequences import learnable
from ppo_bbrl.system.compute import check_compute, decide, threads
from ppo_bbrl.system.state import Attributes, HasState
from ppo_bbrl.update import NoNumberError, Objective, UpdateReport, measured_kl, ppo_losses
from ppo_bbrl.workspace.table import Workspace

TrainingFailed = TrainingFailedError  # its former name


class PPOClip(LearningAgents, Failing, EpisodicAlgo):
    """Proximal policy optimisation with the clipped surrogate (Schulman et al., 2017).

    Args:
        cfg: a configuration with the schema `ppo_bbrl.config.PPOConfig`, which is never changed.
        train_policy: your own policy instead of the package's: an agent that acts, and with
            `predict_proba=True, compute_entropy=True` writes `{prefix}logprob_predict` and
            `{prefix}entropy`.
        critic_agent: your own critic: an agent that writes `{prefix}v_values`. It may share
            weights with the policy: `shared_agents(model)` makes both from one model. Agents made
            inside `with seeded(cfg):` get their weights from `algorithm.seed`; the configuration's
            `extra.weights_given` names the agents that came with other weights.
        env_wrappers: wrappers applied to each environment in this order, after those of
            `gym_env.wrappers`.
        schedules: functions of your own, of the remaining part of the run, which falls from 1 to
            0; they give a factor ≥ 0. By the names learning_rate, clip_range and entropy, they
            replace `algorithm.learning_rate_schedule` and so on; to be given again on resuming.
        trackers: get every row of metrics, too (`ppo_bbrl.Tracker`); to be given again, too.

    Raises:
        ConfigError: for an invalid configuration; no file has been created then.

    Attributes:
        train_policy, critic_agent: the agents that learn. Assigning another one recreates
            everything below; optimisers keep the moments of weights that stay.
        eval_policy: the greedy version of train_policy.
        old_policy, old_critic_agent: copies with the weights that collected the last rollout.
        policy_optimizer, critic_optimizer: the optimisers; one if the agents share weights. You may
            replace them or change param_groups; the schedule of the learning rate goes on from it.
        cfg: the resolved configuration; a change takes effect in the next update, or is refused.
    """

    _seeds_globally = _own_policy = _own_keys = False
    _choose_engine = staticmethod(choose_engine)
    _episodes = staticmethod(episode_metrics)
    _summary = staticmethod(summary)  # as the two above, `DistributedPPO` has another

    def __init__(
        self,
        cfg: DictConfig | dict[str, Any],
        *,
        train_policy: bbrl.agents.Agent | None = None,
        critic_agent: bbrl.agents.Agent | None = None,
        env_wrappers: Sequence[Wrapper] = (),
        schedules: Mapping[str, Schedule] = MappingProxyType({}),
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self._schedules = check_schedules(schedules)
        super().__init__(cfg, autoreset=True, env_wrappers=env_wrappers)
        self._engine: Engine | None = None
        self._rollout: Rollout | None = None  # the last one that was recorded
        self._targets_of: Rollout | None = None  # the same, with the rewards that count
        self._statistics_wait = False  # for the update with the last rollout
        # The loop reads plain attributes: looking up a key of OmegaConf takes ten times as long.
        self._settings = self._typed_settings()
        self._kl_control = KLControl(self._settings.kl_penalty)
        self._reward_scale = RewardScale()
        self._watching = Watching(self._summary)
        try:
            self.trackers += check_trackers(trackers)
            self._why_compile = decide(self.cfg)
            given = {"train_policy": train_policy, "critic_agent": critic_agent}
            own = [agent for agent in given.values() if agent is not None]
            note_weights(self.cfg, [name for name in given if given[name] is not None])
            self._changes.accept(self.cfg)
            with self.seeds.weights.direct():
                if train_policy is None:
                    train_policy = build_policy(self.cfg, self.train_env)
                if critic_agent is None:
                    critic_agent = build_critic(self.cfg, self.train_env, policy=train_policy)
                make_curious(critic_agent, self._settings, self.train_env.observation_space)
            self._set_agents(train_policy, critic_agent, own=own)
        except Exception:
            self.close()  # environments may have processes
            raise

    def _use(self, changes: Mapping[str, Any]) -> None:
        super()._use(changes)
        self._settings = self._typed_settings()
        if "algorithm.kl_penalty" in changes:
            self._kl_control.kl_coef = self._settings.kl_penalty
        if "optimizer.lr" in changes:
            for optimizer in {self.policy_optimizer, self.critic_optimizer}:
                self._rates.begin_with(optimizer, self.cfg.optimizer.lr)
        if any(name.startswith("compute.") for name in changes):
            self._engine = None
            self._why_compile = decide(self.cfg)
            if self._loop is not None:  # the loop restores them when it ends
                torch.set_num_threads(self.cfg.compute.threads)

    def iter_partial_episodes(self, episode_steps: int | None = None) -> Iterator[Workspace]:
        """As in `EpisodicAlgo`, but torch uses `compute.threads` threads while the loop runs."""
        self._begin_loop()
        if self._engine is None and self._goes_on:  # loaded: as after the update before
            place_weights(self._learners())
        with threads(self.cfg.compute.threads):
            yield from super().iter_partial_episodes(episode_steps)

    def state_parts(self) -> dict[str, HasState]:
        """The parts that have state, by name; subclasses may add more, as in `EpisodicAlgo`."""
        parts = super().state_parts() | self._learning_state()
        if measures_kl(self._settings):
            control = self._kl_control
            parts["kl_control"] = Attributes("kl_control", control, *vars(control))
        if self._settings.normalize_reward:
            parts["reward_scale"] = self._reward_scale
        if self._settings.curiosity != "none":
            parts["curiosity"] = self._watching
        return parts

    def _typed_settings(self) -> AlgorithmConfig:
        settings: AlgorithmConfig = OmegaConf.to_object(self.cfg.algorithm)  # type: ignore[assignment]
        return without_replaced(settings, self._schedules)

    def _load_config(self, cfg: DictConfig | dict[str, Any]) -> DictConfig:
        loaded = load_config(cfg)
        check_compute(loaded)
        return loaded

    @contextmanager
    def _collecting(self) -> Iterator[None]:
        # Without gradients, since the loss evaluates every action again.
        with torch.no_grad(), evaluation_mode(*self._own_agents):
            yield

    def _drawing(self) -> AbstractContextManager[None]:
        """The context for the user's own agents, which may draw random numbers, change modes."""
        return self.seeds.learning.active() if self._own_agents else nullcontext()

    def record(self, workspace: Workspace) -> Transitions:
        """Compute log-probabilities, values, advantages and returns of a collected workspace.

        They are also written to the workspace, `[T, B]` with T rows; in `advantage` and `return`
        the last row is 0, since no transition starts there.

        Returns:
            The valid transitions; for agents with memory, whole sequences with a mask.
        """
        self._read_config()
        policy, critic = self._policy("train_policy"), self._policy("critic_agent")
        with self._drawing(), evaluation_mode(*self._own_agents), torch.no_grad():
            rollout = evaluate_rollout(workspace, policy, critic)
            rollout = self._watching.watch(critic, workspace, rollout, self._settings)
            advantage, returns = targets_of(rollout, self.compute_targets)
        self._rollout, self._statistics_wait = rollout, True
        last = advantage.new_zeros(1, advantage.shape[1])
        workspace.set_full("advantage", torch.cat((advantage, last)))
        workspace.set_full("return", torch.cat((returns, last)))
        return learnable(rollout, policy, critic, advantage=advantage, returns=returns)

    def compute_targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """The advantages and returns from which the update learns, `[T, B]` each.

        Override this to change rewards or advantages:
        `super().compute_targets(replace(rollout, reward=rollout.reward + bonus))`.
        """
        settings, self._targets_of = self._settings, rollout
        scale = self._reward_scale if settings.normalize_reward else None
        rollout = learned_from(rollout, scale, settings.clip_reward)
        advantage, returns = gae_targets(
            rollout, discount_factor=settings.discount_factor, gae_lambda=settings.gae
        )
        return with_curiosity(advantage, rollout, settings), returns

    def losses(self, minibatch: Minibatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The losses of a minibatch by name, whose sum is minimised, and scalars to log.

        Override this to change PPO's loss: every engine calls it. A compiled update traces it, so
        it must depend only on the minibatch and the agents.
        """
        log_prob, entropy, value = evaluate_both(
            self.train_policy, self.critic_agent, minibatch.variables
        )
        computed = ppo_losses(
            minibatch, log_prob=log_prob, entropy=entropy, value=value, settings=self._settings
        )
        return with_losses(self.critic_agent, minibatch, self._settings.critic_coef, computed)

    def update(self, rollout: Transitions) -> UpdateReport:
        """Improve policy and critic on a rollout, after saving copies of the weights that acted."""
        self._read_config()
        settings = self._settings
        recompute = partial(self._recompute, rollout) if settings.recompute_advantage else None
        objective = Objective(self._learners(), settings, self.losses, recompute)
        self._keep_old_weights()
        remaining, control = max(0.0, 1 - self.epoch / settings.max_epochs), self._kl_control
        factors = factors_at(remaining, settings, self._schedules)
        for optimizer in {self.policy_optimizer, self.critic_optimizer}:
            self._rates.apply(optimizer, factors["learning_rate"] * control.rate_factor)
        scale = float(self.critic_agent.moments.std) if settings.normalize_value else None
        now = coefficients(settings, factors, kl_coef=control.kl_coef, value_scale=scale)
        before = self._engine
        with self._drawing():  # compiling tries the agents, too
            if self._engine is None or not self._engine.fits(objective, rollout):
                self._engine = self._choose_engine(
                    objective, self.cfg.compute, rollout, self._why_compile
                )
                self._why_compile = ""  # do not repeat the reason
            how = {"coefficients": now, "generator": self.seeds.minibatches}
            try:
                self._engine, report = improve(
                    self._engine, rollout, objective, self.cfg.compute, **how
                )
            except NoNumberError as error:
                raise self._failed_update(str(error)) from error
        if self._engine is not before:  # an engine may have decided against compiling
            self._changes.accept(self.cfg)
        self._check_finite(report.metrics)
        lr = float(self.policy_optimizer.param_groups[0]["lr"])
        if report.metrics and measures_kl(settings):  # else every episode had just ended
            kl = report.metrics["kl_divergence"] = self._divergence(rollout, now)
            control.follow(float(kl), settings, lr)
        report.metrics.update(logged(now, settings))
        report.metrics["learning_rate"] = torch.tensor(lr, dtype=torch.float64)
        if self._statistics_wait:
            self._move_statistics(rollout)
        return report

    def _move_statistics(self, rollout: Transitions) -> None:
        """Let normalisers follow the last rollout, when all that it is for has been done."""
        assert self._rollout is not None
        self._statistics_wait = False
        self._watching.move()
        for normaliser in normalisers_of(self.train_policy, self.critic_agent):
            normaliser.update(valid_observations(self._rollout), self._summary)
        if self._settings.normalize_reward and self._targets_of is not None:
            discount = self._settings.discount_factor
            self._reward_scale.update(self._targets_of, discount, self._summary)
        if self._settings.normalize_value:
            self.critic_agent.adapt(rollout.valid_returns())

    def _divergence(self, rollout: Transitions, now: Coefficients) -> Tensor:
        """KL(old ‖ new) over a rollout that has been learned from."""
        with self._drawing(), evaluation_mode(*self._own_agents), torch.no_grad():
            return measured_kl(self.losses(Minibatch.of(rollout, now))[1])

    def _recompute(self, learned_from: Transitions) -> Transitions:
        """The transitions with values, advantages and returns of the critic as it is now."""
        policy, critic = self._policy("train_policy"), self._policy("critic_agent")
        with self._drawing(), evaluation_mode(*self._own_agents), torch.no_grad():
            assert self._rollout is not None
            rollout = with_values(self._rollout, critic)
            rollout = self._watching.evaluate(critic, rollout, self._settings)
            advantage, returns = targets_of(rollout, self.compute_targets)
        new = learnable(rollout, policy, critic, advantage=advantage, returns=returns)
        variables = with_returns(learned_from.variables, new.variables)
        targets = {"advantage": new.advantage, "returns": new.returns}
        return replace(learned_from, variables=variables, value=new.value, **targets)

    def _last_policy(self) -> bbrl.agents.Agent | None:
        """The current policy, or the one before the update if that made its weights NaN."""
        now = super()._last_policy()
        if now is None and self.train_policy is not None and not no_numbers(self.old_policy):
            return KWAgentWrapper(self.old_policy, stochastic=False)
        return now

    def log(self, workspace: Workspace, report: UpdateReport, seconds: float, steps: int) -> None:
        """Log one iteration."""
        pace = {"steps_per_second": steps / seconds, **self.train_env.counts()}
        for name, value in (report.metrics | pace | self._episodes(workspace)).items():
            self.logger.add_log(name, value, self.nb_steps)


def run(ppo_clip: PPOClip) -> None:
    """Train: repeatedly collect a rollout, estimate advantages, update, and evaluate.

    A rollout has `n_steps` transitions, hence `n_steps + 1` rows, the last of which begins the next
    one. The last policy is evaluated, too; `best/`, `last/` and the log stay however the run ends.
    """
    if not isinstance(ppo_clip, EpisodicAlgo):
        raise ConfigError(f"run({shown(ppo_clip)}): must be a PPOClip, as in run(PPOClip(cfg))")
    last_epoch = ppo_clip.cfg.algorithm.max_epochs - 1
    steps, start = ppo_clip.nb_steps, perf_counter()
    for workspace in iter_partial_episodes(ppo_clip, ppo_clip.cfg.algorithm.n_steps + 1):
        rollout = ppo_clip.record(workspace)
        report = ppo_clip.update(rollout)
        now = perf_counter()
        ppo_clip.log(workspace, report, now - start, ppo_clip.nb_steps - steps)
        ppo_clip.evaluate(force=ppo_clip.epoch == last_epoch)
        steps, start = ppo_clip.nb_steps, perf_counter()


__all__ = [
    "EpisodicAlgo", "PPOClip", "TrainingFailedError", "build_critic", "build_policy",
    "restore_policy", "run",
]  # fmt: skip

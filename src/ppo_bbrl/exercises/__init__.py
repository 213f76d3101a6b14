"""Checks that notebooks call on a student's functions; each says what is likely to be wrong."""

from ppo_bbrl.exercises.actor_critic import check_actor_critic
from ppo_bbrl.exercises.coverage import check_coverage
from ppo_bbrl.exercises.critic_targets import check_critic_targets
from ppo_bbrl.exercises.culprits import check_culprits
from ppo_bbrl.exercises.difference_interval import check_difference_interval
from ppo_bbrl.exercises.eval_fn import check_eval_fn
from ppo_bbrl.exercises.feedback import ExerciseError
from ppo_bbrl.exercises.gae_by_hand import check_gae_by_hand
from ppo_bbrl.exercises.gaussian_entropy import check_gaussian_entropy
from ppo_bbrl.exercises.gaussian_log_prob import check_gaussian_log_prob
from ppo_bbrl.exercises.gaussian_policy import check_gaussian_policy
from ppo_bbrl.exercises.gradients_into import check_gradients_into
from ppo_bbrl.exercises.interquartile_mean import check_interquartile_mean
from ppo_bbrl.exercises.is_clipped import check_is_clipped
from ppo_bbrl.exercises.joint_loss import check_joint_loss
from ppo_bbrl.exercises.lambda_return import check_lambda_return
from ppo_bbrl.exercises.mended_transitions import check_mended_transitions
from ppo_bbrl.exercises.minibatch_indices import check_minibatch_indices
from ppo_bbrl.exercises.minibatch_stream import check_minibatch_stream
from ppo_bbrl.exercises.pole_agent import check_pole_agent
from ppo_bbrl.exercises.policy_objective import check_policy_objective
from ppo_bbrl.exercises.predict_rows import check_predict_rows
from ppo_bbrl.exercises.ratio_error import check_ratio_error
from ppo_bbrl.exercises.sample_action import check_sample_action
from ppo_bbrl.exercises.scheduled import check_scheduled
from ppo_bbrl.exercises.should_stop import check_should_stop
from ppo_bbrl.exercises.td_error import check_td_error
from ppo_bbrl.exercises.train_fn import check_train_fn
from ppo_bbrl.exercises.training_step import check_training_step
from ppo_bbrl.exercises.transition_mask import check_transition_mask
from ppo_bbrl.exercises.value_error import check_value_error

__all__ = [
    "ExerciseError",
    "check_actor_critic",
    "check_coverage",
    "check_critic_targets",
    "check_culprits",
    "check_difference_interval",
    "check_eval_fn",
    "check_gae_by_hand",
    "check_gaussian_entropy",
    "check_gaussian_log_prob",
    "check_gaussian_policy",
    "check_gradients_into",
    "check_interquartile_mean",
    "check_is_clipped",
    "check_joint_loss",
    "check_lambda_return",
    "check_mended_transitions",
    "check_minibatch_indices",
    "check_minibatch_stream",
    "check_pole_agent",
    "check_policy_objective",
    "check_predict_rows",
    "check_ratio_error",
    "check_sample_action",
    "check_scheduled",
    "check_should_stop",
    "check_td_error",
    "check_train_fn",
    "check_training_step",
    "check_transition_mask",
    "check_value_error",
]

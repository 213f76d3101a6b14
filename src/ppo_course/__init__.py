"""The course: checks that notebooks call on a student's functions, and their grading.

Each check says what is likely to be wrong. It comes with its module when it is first used.
"""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_course.feedback import ExerciseError as ExerciseError
    from ppo_course.nb01_workspace.pole_agent import check_pole_agent as check_pole_agent
    from ppo_course.nb01_workspace.predict_rows import check_predict_rows as check_predict_rows
    from ppo_course.nb01_workspace.transition_mask import (
        check_transition_mask as check_transition_mask,
    )
    from ppo_course.nb02_values.critic_targets import check_critic_targets as check_critic_targets
    from ppo_course.nb02_values.gae_by_hand import check_gae_by_hand as check_gae_by_hand
    from ppo_course.nb02_values.lambda_return import check_lambda_return as check_lambda_return
    from ppo_course.nb02_values.td_error import check_td_error as check_td_error
    from ppo_course.nb03_clip.is_clipped import check_is_clipped as check_is_clipped
    from ppo_course.nb03_clip.policy_objective import (
        check_policy_objective as check_policy_objective,
    )
    from ppo_course.nb04_details.difference_interval import (
        check_difference_interval as check_difference_interval,
    )
    from ppo_course.nb04_details.interquartile_mean import (
        check_interquartile_mean as check_interquartile_mean,
    )
    from ppo_course.nb04_details.minibatch_indices import (
        check_minibatch_indices as check_minibatch_indices,
    )
    from ppo_course.nb04_details.scheduled import check_scheduled as check_scheduled
    from ppo_course.nb04_details.should_stop import check_should_stop as check_should_stop
    from ppo_course.nb05_continuous.gaussian_entropy import (
        check_gaussian_entropy as check_gaussian_entropy,
    )
    from ppo_course.nb05_continuous.gaussian_log_prob import (
        check_gaussian_log_prob as check_gaussian_log_prob,
    )
    from ppo_course.nb05_continuous.gaussian_policy import (
        check_gaussian_policy as check_gaussian_policy,
    )
    from ppo_course.nb05_continuous.sample_action import check_sample_action as check_sample_action
    from ppo_course.nb08_shared_trunk.eval_fn import check_eval_fn as check_eval_fn
    from ppo_course.nb08_shared_trunk.joint_loss import check_joint_loss as check_joint_loss
    from ppo_course.nb08_shared_trunk.train_fn import check_train_fn as check_train_fn
    from ppo_course.nb09_lightning.actor_critic import check_actor_critic as check_actor_critic
    from ppo_course.nb09_lightning.minibatch_stream import (
        check_minibatch_stream as check_minibatch_stream,
    )
    from ppo_course.nb09_lightning.training_step import check_training_step as check_training_step
    from ppo_course.nb10_bug_hunt.coverage import check_coverage as check_coverage
    from ppo_course.nb10_bug_hunt.culprits import check_culprits as check_culprits
    from ppo_course.nb10_bug_hunt.gradients_into import check_gradients_into as check_gradients_into
    from ppo_course.nb10_bug_hunt.mended_transitions import (
        check_mended_transitions as check_mended_transitions,
    )
    from ppo_course.nb10_bug_hunt.ratio_error import check_ratio_error as check_ratio_error
    from ppo_course.nb10_bug_hunt.value_error import check_value_error as check_value_error

# The checks of each notebook; each has a module of its own.
_CHECKS = {
    "nb01_workspace": "pole_agent predict_rows transition_mask",
    "nb02_values": "critic_targets gae_by_hand lambda_return td_error",
    "nb03_clip": "is_clipped policy_objective",
    "nb04_details": (
        "difference_interval interquartile_mean minibatch_indices scheduled should_stop"
    ),
    "nb05_continuous": "gaussian_entropy gaussian_log_prob gaussian_policy sample_action",
    "nb08_shared_trunk": "eval_fn joint_loss train_fn",
    "nb09_lightning": "actor_critic minibatch_stream training_step",
    "nb10_bug_hunt": "coverage culprits gradients_into mended_transitions ratio_error value_error",
}
_HOME = {"ExerciseError": "ppo_course.feedback"} | {
    f"check_{name}": f"ppo_course.{room}.{name}"
    for room, names in _CHECKS.items()
    for name in names.split()
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]

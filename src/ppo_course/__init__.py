"""The course: checks that notebooks call on a student's functions, and their grading.

Each check says what is likely to be wrong. It comes with its module when it is first used.
"""

from ppo_bbrl.system.lazy import lazy_names

# The checks of each notebook; each has a module of its own.
_CHECKS = {
    "nb01_workspace": "pole_agent predict_rows transition_mask quiz_01",
    "nb02_values": "critic_targets gae_by_hand lambda_return td_error quiz_02",
    "nb02b_policy_gradient": (
        "score policy_gradient best_baseline importance clipping_gap gain_and_kl line_search "
        "quiz_02b"
    ),
    "nb03_clip": "critic_objective discrete_policy is_clipped iteration policy_objective quiz_03",
    "nb04_details": (
        "difference_interval interquartile_mean minibatch_indices quiz_04 scheduled should_stop"
    ),
    "nb05_continuous": "gaussian_entropy gaussian_log_prob gaussian_policy sample_action quiz_05",
    "nb06_spaces": "evaluate_components masked_log_probs warehouse_policy was_allowed quiz_06",
    "nb07_memory": "column_minibatches leaks reset_memory unroll quiz_07",
    "nb08_shared_trunk": "eval_fn joint_loss train_fn quiz_08",
    "nb09_lightning": "actor_critic minibatch_stream training_step quiz_09",
    "nb10_bug_hunt": (
        "coverage culprits gradients_into mended_transitions ratio_error value_error quiz_10"
    ),
    "nb11_write_ppo": "network acting advantages batches losses diagnostics learning quiz_11",
    "nb12_language_model": (
        "page writer kl_estimates token_rewards token_advantages text_loss group_advantages quiz_12"
    ),
}
_HOME = (
    {
        "ExerciseError": "ppo_course.feedback",
        "quiz": "ppo_course.quizzes",
        "show_progress": "ppo_course.progress",
    }
    | {
        f"check_{name}": f"ppo_course.{room}.{name}"
        for room, names in _CHECKS.items()
        for name in names.split()
    }
    | {
        "check_learn": "ppo_course.nb11_write_ppo.iteration",
        "check_learn_ppo": "ppo_course.nb12_language_model.learning",
        "check_learn_grpo": "ppo_course.nb12_language_model.learning",
    }
)
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]

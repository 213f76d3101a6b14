"""Which checks passed, kept in a file beside the runs: a new kernel still knows it."""

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ppo_bbrl.runs.folder import outputs_dir
from ppo_bbrl.system.files import write_file

#: the points of each exercise, by notebook and by the name of its check, in order
COURSE: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "01_workspace": {"pole_agent": 1, "predict_rows": 2, "transition_mask": 1, "quiz_01": 1},
        "02_value_and_gae": {
            "td_error": 1,
            "lambda_return": 2,
            "gae_by_hand": 2,
            "critic_targets": 3,
            "quiz_02": 1,
        },
        "02b_policy_gradient": {
            "score": 1,
            "policy_gradient": 2,
            "best_baseline": 2,
            "importance": 2,
            "clipping_gap": 1,
            "gain_and_kl": 2,
            "line_search": 1,
            "quiz_02b": 1,
        },
        "03_ppo_clip": {
            "policy_objective": 2,
            "is_clipped": 1,
            "critic_objective": 2,
            "discrete_policy": 2,
            "iteration": 3,
            "quiz_03": 1,
        },
        "04_ppo_details": {
            "minibatch_indices": 1,
            "should_stop": 2,
            "scheduled": 1,
            "interquartile_mean": 1,
            "difference_interval": 2,
            "quiz_04": 1,
        },
        "05_continuous_actions": {
            "gaussian_log_prob": 2,
            "sample_action": 1,
            "gaussian_entropy": 1,
            "gaussian_policy": 3,
            "quiz_05": 1,
        },
        "06_other_spaces": {
            "evaluate_components": 2,
            "masked_log_probs": 2,
            "was_allowed": 1,
            "warehouse_policy": 3,
            "quiz_06": 1,
        },
        "07_memory": {
            "reset_memory": 1,
            "unroll": 2,
            "column_minibatches": 2,
            "leaks": 1,
            "quiz_07": 1,
        },
        "08_shared_trunk_ppo2": {"eval_fn": 1, "joint_loss": 2, "train_fn": 2, "quiz_08": 1},
        "09_lightning": {
            "actor_critic": 1,
            "training_step": 2,
            "minibatch_stream": 2,
            "quiz_09": 1,
        },
        "10_bug_hunt": {
            "ratio_error": 1,
            "value_error": 2,
            "coverage": 1,
            "gradients_into": 2,
            "culprits": 2,
            "mended_transitions": 3,
            "quiz_10": 1,
        },
        "11_write_ppo": {
            "network": 1,
            "acting": 2,
            "advantages": 2,
            "batches": 2,
            "losses": 2,
            "diagnostics": 1,
            "learn": 3,
            "learning": 3,
            "quiz_11": 1,
        },
        "12_language_model": {
            "page": 2,
            "writer": 1,
            "kl_estimates": 2,
            "token_rewards": 2,
            "token_advantages": 2,
            "text_loss": 1,
            "learn_ppo": 3,
            "group_advantages": 1,
            "learn_grpo": 2,
            "quiz_12": 1,
        },
    }
)
FILE = "course_progress.json"


def file_of_progress() -> Path:
    """In the folder of the runs, beside the notebooks."""
    return outputs_dir() / FILE


def passed() -> set[str]:
    """The names of the checks that passed, of those that the course has."""
    known = {check for checks in COURSE.values() for check in checks}
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(file_of_progress().read_text(encoding="utf-8"))
        return {name for name in read if name in known} if isinstance(read, list) else set()
    return set()


def note(check: str) -> None:
    """Note down in a notebook that a check passed; elsewhere, as while grading, nothing is kept.

    What cannot be written is no reason to stop anybody.
    """
    if "ipykernel" not in sys.modules:
        return
    with contextlib.suppress(Exception):
        names = passed() | {check.removeprefix("check_")}
        file_of_progress().parent.mkdir(parents=True, exist_ok=True)
        write_file(file_of_progress(), json.dumps(sorted(names)))


def show_progress() -> None:
    """Print which checks passed in this folder, the points so far, and what is next."""
    done = passed()
    total = most = 0
    following = ""
    for notebook, checks in COURSE.items():
        points = sum(points for check, points in checks.items() if check in done)
        total, most = total + points, most + sum(checks.values())
        marks = "".join("●" if check in done else "○" for check in checks)
        print(f"{notebook:<22}{marks:<10}{points:>3} of {sum(checks.values()):>2} points")
        left = [check for check in checks if check not in done]
        if left and not following:
            following = f"Next: {notebook}, the exercise whose check is check_{left[0]}."
    print(f"{'all':<32}{total:>3} of {most:>2} points")
    print(following or "All checks have passed.")

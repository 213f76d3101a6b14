"""The check of notebook 11's third step: generalised advantage estimation, from memory."""

from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02_values.estimates import WORDS as OF_VALUES
from ppo_course.nb02_values.estimates import Estimate
from ppo_course.nb02_values.gae_by_hand import ARGUMENTS, PARTS, formula
from ppo_course.nb11_write_ppo.exercise import ALLOWED, WORDS
from ppo_course.reach import borrowed


class OwnEstimate(Estimate):
    """An estimate as in notebook 02, with that notebook's words and another name."""

    def __init__(self) -> None:
        Exercise.__init__(
            self,
            "advantages",
            ARGUMENTS,
            {
                "advantages": {**OF_VALUES["gae_by_hand"], **WORDS["advantages"]},
                "shared": {**OF_VALUES["shared"], **WORDS["shared"]},
            },
        )
        self.parts, self.formula = PARTS, formula


EXERCISE = OwnEstimate()


@EXERCISE.check
def check_advantages(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `advantages(reward, value, next_value, terminated, …)`.

    The arguments and the result are those of `gae_by_hand` in notebook 02.
    """
    what = borrowed(function, ALLOWED)
    EXERCISE.refuse(what, "borrowed", what=what)
    EXERCISE.try_out(function, seed)

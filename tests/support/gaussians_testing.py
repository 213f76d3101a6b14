"""What the tests of notebook 05's formulas have in common."""

from seeds import SEEDS

from ppo_course.formulas import agree, explain
from ppo_course.nb05_continuous.gaussians import cases


def every_known_mistake_is_named(parts, formula):
    """Each mistake alone gives other numbers than the right formula and than the others."""
    for seed in (None, *SEEDS):
        chosen = cases(seed)
        for position, part in enumerate(parts):
            for key, value in part.wrong.items():
                values = [p.right for p in parts]
                values[position] = value
                results = [formula(case, values) for case in chosen]

                def fits(values, chosen=chosen, results=results):
                    return all(
                        agree(case, formula(case, values), result)
                        for case, result in zip(chosen, results, strict=True)
                    )

                (found,) = explain(parts, fits)
                assert found.partition("~")[0] == key.partition("~")[0], seed

"""What the tests of notebook 05's formulas have in common."""

from ppo_course.nb05_continuous.gaussians import cases, explain


def every_known_mistake_is_named(parts, formula):
    """Each mistake alone gives other numbers than the right formula and than the others."""
    for seed in (None, *range(10)):
        chosen = cases(seed)
        for position, part in enumerate(parts):
            for choice in part[1:]:
                values = [p[0].value for p in parts]
                values[position] = choice.value
                results = [formula(case, values) for case in chosen]
                found = explain(chosen, results, parts, formula)
                assert found == [(choice.wrong, choice.look)], (seed, choice.wrong)

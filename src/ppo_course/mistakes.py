"""One engine for every check: an exercise, the mistakes that it knows, and the words for them.

A check is a function under `@EXERCISE.check`. It asks by `EXERCISE.call`, sees to the form of what
comes back by `several` and `expect`, and has `compare` look for the mistakes of its `Part`s; for
other mistakes there are `refuse` and `error`. `one_number` does all of it for a number. Where an
exercise has several parts, `partly` gives marks for those that are right.

A mistake has a key, such as "mask-inverted", which tests ask for (`ExerciseError.keys`). Its words
are in one place, the file `words.toml` beside the check, under the name of the exercise:

    [td_error]
    praise = "Rewards, values and the terminal mask are all in their rows."
    mask-inverted = ["what is wrong", "where to look"]
    by-minus = { error = "TypeError", holds = "bool tensor", say = "how it is done" }

The last one is a hint, besides an exception's own message: it says of which class the exception has
to be, and what its text has to hold; either may be a list, or be left out. The first that fits is
said, in the order of the file. What is not there is looked up in the section [shared] of the same
file, then of the course's; a hint that says nothing itself has its words there, too.
"""

import functools
import inspect
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

from ppo_course.feedback import (
    ExerciseError,
    all_not_right,
    call,
    describe,
    untouched_randomness,
)
from ppo_course.formulas import MOST_MISTAKES, Part, agree, alone, explain
from ppo_course.hints import Hint, Section, hints_of
from ppo_course.likeness import likeness
from ppo_course.progress import note
from ppo_course.unchanged import copied, unchanged

P = ParamSpec("P")
StudentCode = Callable[..., Any]  # a function or a class; the check's docstring says of what

EVERY_CHECK = """

    Prints one line if everything is right, and leaves the global random streams as they were.

    Args:
        {function}: the student's.
        seed: draw other cases from it than those that one can follow by hand, and print nothing.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
"""


def read_words(module: str) -> Mapping[str, Section]:
    """The sections of the file `words.toml` that lies beside a module, given by its `__file__`."""
    text = Path(module).with_name("words.toml").read_text(encoding="utf-8")
    sections: Mapping[str, Section] = tomllib.loads(text)
    return sections


_COURSE = read_words(__file__)


class Exercise:
    """What students write, how it is called, and the words for what may be wrong with it.

    Args:
        name: of the student's function or class.
        arguments: those that a call has, by their names.
        words: the sections of `words.toml`; that with the exercise's name is its own.
        hints: about exceptions, where class and text do not tell; they come before those of words.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        words: Mapping[str, Section],
        hints: Sequence[Hint] = (),
    ) -> None:
        self.name, self.arguments = name, tuple(arguments)
        self._credit = 0.0, ""
        self._explains = True  # whether `compare` looks for mistakes that explain results
        self._sections = [words.get(name, {}), words.get("shared", {}), _COURSE["shared"]]
        self._hints = (*hints, *(hint for each in self._sections for hint in hints_of(each)))

    def words(self, key: str, **values: Any) -> list[str]:
        """What is wrong and where to look, or a single text, by its key, and its way if it has one.

        Values fill in what the words name in braces.
        """
        key, _, way = key.partition("~")
        given = (section[key] for section in self._sections if key in section)
        said = (each.get("say") if isinstance(each, dict) else each for each in given)
        found = next(each for each in said if each is not None)
        texts = [found] if isinstance(found, str) else list(found)
        usual = {"name": self.name, "arguments": ", ".join(self.arguments), "way": way}
        for name, value in {**usual, **values}.items():
            texts = [text.replace(f"{{{name}}}", str(value)) for text in texts]
        return texts

    def error(
        self,
        *keys: str,
        facts: Sequence[str] = (),
        seen: object = None,
        expected: object = None,
        **values: Any,
    ) -> ExerciseError:
        """The error about one mistake, or several at once.

        Args:
            keys: of the mistakes.
            facts: lines of the message, about an example.
            seen: in a line of its own behind them.
            expected: in another one.
            values: what the words name in braces.
        """
        told = (("seen", seen), ("expected", expected))
        facts = [*facts, *(f"  {label:<10}{it}" for label, it in told if it is not None)]
        pairs = [(wrong, look) for wrong, look in (self.words(key, **values) for key in keys)]
        return all_not_right(self.name, pairs, *facts, keys=keys)

    def refuse(self, wrong: object, key: str, **told: Any) -> None:
        """Raise the `error` about a mistake if it was made."""
        if wrong:
            raise self.error(key, **told)

    def check(self, run: Callable[P, None]) -> Callable[P, None]:
        """Make a check of a function that raises: it says "Well done!" and leaves no trace."""

        @functools.wraps(run)
        def check(*args: P.args, **kwargs: P.kwargs) -> None:
            # A student's code may call the check, too, and raise what that raises.
            outer, self._credit = self._credit, (0.0, "")
            try:
                with untouched_randomness():
                    run(*args, **kwargs)
            except ExerciseError as error:
                share, told = self._credit
                known = error.keys != ("unknown",)
                said = error if known else self._likened(run, args, error, kwargs)
                said.share = share
                if told:
                    said.args = (f"{said.args[0]}\nRight already: {told}.",)
                raise said from error.__cause__
            finally:
                self._credit = outer
            if kwargs.get("seed") is None:
                print(f"Well done! {self.words('praise')[0]}")
                note(run.__name__)

        first = next(iter(inspect.signature(run).parameters))
        check.__doc__ = f"{run.__doc__}".rstrip() + EVERY_CHECK.format(function=first)
        return check

    def _likened(
        self, run: Callable[..., None], args: Any, error: ExerciseError, kwargs: Any
    ) -> ExerciseError:
        """The error with the slip in a right solution that does the same, if there is one."""
        # What it looks for has no explanation either, and to look for one takes long.
        self._explains = False
        try:
            with untouched_randomness():
                how = likeness(run.__name__, run, args, error, **kwargs)
        finally:
            self._explains = True
        if how is None:
            return error
        message = str(error)
        for unknown, like in zip(self.words("unknown"), self.words("like", how=how), strict=True):
            message = message.replace(unknown, like)
        return ExerciseError(message, ["like"])

    def credit(self, right: int, of: int, told: str = "") -> None:
        """Note how many parts of the exercise are right, should the check raise; never all.

        The message says so, in these words or in numbers.
        """
        right = min(right, of - 1)
        self._credit = right / of, (told or f"{right} of {of}") if right else ""

    @contextmanager
    def partly(self, **parts: Callable[[], object]) -> Iterator[None]:
        """Where the check below raises, see which parts are right: they earn their share of marks.

        Args:
            parts: what raises if a part is wrong, by its name in the message, `_` for a space.
        """
        try:
            yield
        except ExerciseError:
            right = [name.replace("_", " ") for name, check in parts.items() if _passes(check)]
            self.credit(len(right), len(parts), ", ".join(right[: len(parts) - 1]))
            raise

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a student's function returns, which leaves its arguments as they were.

        Raises:
            ExerciseError: if it raises, or changes a tensor, an array or a list that it was given.
        """
        before = [copied(arg) for arg in args]
        result = call(function, *args, hint=self._hint)
        for name, arg, copy in zip(self.arguments, args, before, strict=False):
            if not unchanged(arg, copy):
                raise self.error("changes-argument", argument=name)
        return result

    def _hint(self, error: Exception) -> tuple[str, str]:
        for hint in self._hints:
            if hint.is_about(error):
                return hint.key, self.words(hint.key)[0]
        return "", ""

    def expect(
        self, result: Any, mistake: str | None, expected: str, *, seen: str = "", **values: Any
    ) -> None:
        """See that what a function returned has the form that it should have.

        Args:
            result: what it returned.
            mistake: the key of what is wrong with it, if anything is.
            expected: the right form, in words.
            seen: that of the result, if it is not what `describe` says.
            values: what the words name in braces.

        Raises:
            ExerciseError: if there is a mistake, or nothing was returned.
        """
        key = "returns-nothing" if result is None else mistake
        if key:
            raise self.error(key, seen=seen or describe(result), expected=expected, **values)

    def several(self, result: Any, n: int, mistake: str, expected: str) -> Sequence[Any]:
        """What a function returned, if it is a tuple or list of n; else `expect` raises."""
        right = isinstance(result, tuple | list) and len(result) == n
        self.expect(result, None if right else mistake, expected)
        values: Sequence[Any] = result
        return values

    def compare(
        self,
        cases: Sequence[Any],
        results: Sequence[Any],
        parts: Sequence[Part],
        *,
        facts: Callable[[Any, Any, Any], Sequence[str]],
        formula: Callable[[Any, Sequence[Any]], Any] = alone,
        agree: Callable[[Any, Any, Any], bool] = agree,
        most: int = MOST_MISTAKES,
        to_mend: int = 0,
    ) -> None:
        """Compare results with the right ones, and wrong ones with those of known mistakes.

        Args:
            cases: what the function was asked.
            results: what it answered.
            parts: those of the formula.
            facts: lines for a message, from a case, the right result and the student's.
            formula: what a value of each part gives, from a case and the values.
            agree: whether two results of a case are the same, from the case and both.
            most: how many mistakes are put together.
            to_mend: how many mistakes the student is given, each of them a part of the exercise.

        Raises:
            ExerciseError: with the likely mistake; its key is "unknown" if there is none.
        """
        pairs = list(zip(cases, results, strict=True))
        rights = [part.right for part in parts]

        def fits(values: Sequence[Any]) -> bool:
            return all(agree(case, formula(case, values), result) for case, result in pairs)

        for case, result in pairs:
            expected = formula(case, rights)
            if not agree(case, expected, result):
                keys = (explain(parts, fits, most) if self._explains else ()) or ("unknown",)
                if to_mend and keys != ("unknown",):
                    self.credit(to_mend - len(keys), to_mend)
                error = self.error(*keys, facts=facts(case, expected, result))
                error.results = results
                error.alike = lambda other: (
                    len(other.results) == len(pairs)
                    and all(
                        agree(case, one, result)
                        for (case, result), one in zip(pairs, other.results, strict=True)
                    )
                )
                raise error


def _passes(check: Callable[[], object]) -> bool:
    """Whether a part of an exercise is right."""
    try:
        check()
    except Exception:  # noqa: BLE001 - it may lean on a part that is wrong
        return False
    return True

"""The state of an algorithm: the states of its parts, by name."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Self

import bbrl.agents
import torch
from torch import nn

from ppo_bbrl.agents.base import copy_agent
from ppo_bbrl.agents.state import AgentState
from ppo_bbrl.config.changes import fixed_values
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import StateError, one_line
from ppo_bbrl.runs.recording import Recording
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.system.state import Attributes, HasState, State, Unchanging, load_state, state_of
from ppo_bbrl.workspace.table import Workspace, one_row

_COUNTERS = ("nb_steps", "epoch", "_next_epoch", "last_eval_step", "_n_evaluations")
_EVALUATIONS = (
    "best_reward", "running_reward", "eval_rewards", "_best_steps", "_last_evaluation", "_is_run",
)  # fmt: skip


class Resumable(Recording):
    """The part of an algorithm that saves and restores its state."""

    seeds: Seeds
    _seeds_globally: bool
    _loop: object | None
    epoch: int
    # The plain attributes of agents of the user's own when they were given, by the agent's name.
    _given_attributes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    _next_epoch = 0  # the epoch at which a loop that begins after loading continues
    _goes_on = False  # whether the next loop continues there
    _workspace: Workspace | None = None  # its last row is the first row of the next rollout

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy, as long as there are no files, which two algorithms cannot share.

        Raises:
            StateError: saying what to do instead.
        """
        if "folder" in vars(self):
            raise StateError(self._no_copy())
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        try:
            vars(made).update(copy.deepcopy(vars(self), memo))
        except Exception as error:
            raise StateError(f"{self._no_copy()} ({one_line(error)})") from error
        return made

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Not for pickle, whose files run code.

        Raises:
            StateError: saying what to do instead.
        """
        raise StateError(self._no_copy())

    def _no_copy(self) -> str:
        kind = type(self).__name__
        return (
            f"a {kind} with its environments and files cannot be copied or pickled: make another "
            f"one, {kind}(cfg), and give it the state of this one, "
            "other.load_state_dict(algo.state_dict())"
        )

    def state_dict(self) -> State:
        """Everything that the run needs to continue from between two iterations.

        It is a copy that contains only tensors, numbers, strings, lists and dicts: `torch.save`
        writes it, and `torch.load(path, weights_only=True)` reads it. Call this at the end of the
        loop's body, or outside the loop.

        Raises:
            StateError: if the state of an environment or another part cannot be saved.
        """
        return state_of(self.state_parts())

    def load_state_dict(self, state: State) -> None:
        """Restore the state of another algorithm with the same configuration.

        The next loop continues with the iteration after the saved one.

        Raises:
            StateError: if configuration, agents or environments differ; the message names the
                difference, and nothing has been changed.
        """
        if self._loop is not None:
            raise StateError("a loop is running: load the state before it begins")
        parts = self.state_parts()
        if "log" in parts:
            parts["log"] = parts.pop("log")  # last, as it makes the run's folder
        load_state(parts, state, type(self).__name__)
        self._goes_on = True

    def state_parts(self) -> dict[str, HasState]:
        """The parts that have state, by name.

        A subclass with more of them, such as a module or a scheduler, extends this:
        `return super().state_parts() | {"bonus": self.bonus}`.
        """
        parts: dict[str, HasState] = {"config": Unchanging(fixed_values(self.cfg))}
        agents = {"train_policy": self.train_policy}
        if self.eval_policy is not None and not _is_part(self.eval_policy, self.train_policy):
            agents["eval_policy"] = self.eval_policy
        parts |= {
            name: AgentState(name, one, self._given_attributes.get(name, {}))
            for name, one in agents.items()
            if one is not None
        }
        parts |= {
            "best_policy": _BestPolicy(self),
            "seeds": self.seeds,
            "train_env": self.train_env,
            "eval_env": _EvalEnv(self),
            "workspace": _Carried(self),
            "counters": Attributes("counters", self, *_COUNTERS),
            "evaluations": _Evaluations("evaluations", self, *_EVALUATIONS),
        }
        if self._seeds_globally:
            parts["torch"] = _GlobalStream()
        return parts | {"log": _Log(self)}


def _is_part(agent: nn.Module, other: nn.Module | None) -> bool:
    """Whether all weights and buffers of an agent belong to another one, as in a greedy version."""
    known = set() if other is None else {*other.parameters(), *other.buffers()}
    return known.issuperset({*agent.parameters(), *agent.buffers()})


class _Evaluations(Attributes):
    def load_state_dict(self, state: State) -> None:
        found = state.get("eval_rewards")
        for one in found if isinstance(found, list) else ():
            if not isinstance(one, torch.Tensor) or not one.is_floating_point():
                raise StateError("eval_rewards has something else than the returns of evaluations")
        super().load_state_dict(state)


class _BestPolicy:
    def __init__(self, algo: Resumable) -> None:
        self._algo = algo

    def state_dict(self) -> State:
        best = self._algo.best_policy
        return {} if best is None else self._of(best).state_dict()

    def load_state_dict(self, state: State) -> None:
        best: bbrl.agents.Agent | None = None
        if state:
            algo = self._algo
            like = algo._acting_policy
            if type(like).__qualname__ != state.get("class") and algo.train_policy is not None:
                like = algo.train_policy  # the program evaluated this one itself
            best = copy_agent(like)
            self._of(best).load_state_dict(state)
        self._algo.best_policy = best

    def _of(self, best: nn.Module) -> AgentState:
        acts, learns = getattr(best, "wrapped", best), self._algo.train_policy
        same = type(acts) is type(learns)  # else the program evaluates another one
        first = self._algo._given_attributes.get("train_policy", {}) if same else {}
        return AgentState("best_policy", best, first)


class _EvalEnv:
    """The evaluation environments, once they exist."""

    def __init__(self, algo: Any) -> None:
        self._algo = algo

    def state_dict(self) -> State:
        made: EnvAgent | None = vars(self._algo).get("eval_env")
        return {} if made is None else made.state_dict()

    def load_state_dict(self, state: State) -> None:
        if state:
            self._algo.eval_env.load_state_dict(state)
        elif "eval_env" in vars(self._algo):
            vars(self._algo).pop("eval_env").close()


class _Carried:
    """The workspace row that the next rollout begins with."""

    def __init__(self, algo: Resumable) -> None:
        self._algo = algo

    def state_dict(self) -> State:
        workspace = self._algo._workspace
        return {} if workspace is None else workspace.last_row()

    def load_state_dict(self, state: State) -> None:
        for name, row in state.items():
            self._algo.train_env.check_row(name, row)
        self._algo._workspace = one_row(state)


class _GlobalStream:
    """Torch's global generator, from which a user's own agents draw."""

    def state_dict(self) -> State:
        return {"generator": torch.get_rng_state()}

    def load_state_dict(self, state: State) -> None:
        torch.set_rng_state(state["generator"])


class _Log:
    """The log, once it exists; loading it creates the folder of the run."""

    def __init__(self, algo: Resumable) -> None:
        self._algo = algo

    def state_dict(self) -> State:
        return self._algo.logger.state_dict() if self._algo._has_logged() else {}

    def load_state_dict(self, state: State) -> None:
        if state or self._algo._has_logged():
            nothing = {"newest": -1, "pending": {}, "last": {}}
            self._algo.logger.load_state_dict(state or nothing)

"""Whether modules are as they were when a step was compiled, asked before every update."""

from operator import is_, itemgetter

from torch import nn

from ppo_bbrl.agents.walking import modules_in

_PLAIN = (bool, int, float, str)


class Unchanged:
    """What a compiled step may treat as constant: modes, plain attributes, numbers of hooks.

    Args:
        root: a module; those inside it are looked at, too.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._remember(_attributes(root))

    def holds(self) -> bool:
        """Whether nothing has changed."""
        modules = modules_in(self._root)
        if modules == self._modules and all(look.same() for look in self._looks):
            return True
        now = _attributes(self._root)  # attributes that do not count may have come or gone
        if now != self._attributes:
            return False
        self._remember(now)
        return True

    def _remember(self, attributes: list[object]) -> None:
        self._attributes, self._modules = attributes, modules_in(self._root)
        self._looks = [_Look(module) for module in self._modules]


class _Look:
    """The attributes of a module, to compare quickly: equal ones are the same objects, mostly."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._type = module, type(module)
        self._attributes = attributes = vars(module)
        self._number = len(attributes)
        plain = [name for name, value in attributes.items() if isinstance(value, _PLAIN)]
        # "training" twice, so that there are two names at least: of one it gives no tuple.
        self._plain = itemgetter("training", "training", *plain)
        self._values = self._plain(attributes)
        self._dicts = [value for value in attributes.values() if isinstance(value, dict)]
        self._lengths = [*map(len, self._dicts)]

    def same(self) -> bool:
        """Whether they are the same; False also where names that do not count have changed."""
        attributes = self._attributes
        return (
            len(attributes) == self._number
            and all(map(is_, self._plain(attributes), self._values))
            and [*map(len, self._dicts)] == self._lengths
            and type(self._module) is self._type
        )


def _attributes(root: nn.Module) -> list[object]:
    return [
        (
            id(inner),
            type(inner),
            [
                (name, len(value) if isinstance(value, dict) else value)
                for name, value in vars(inner).items()
                if isinstance(value, (dict, *_PLAIN))
            ],
        )
        for inner in modules_in(root)
    ]

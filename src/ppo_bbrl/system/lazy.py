"""Names that are imported on first use, and former names of modules."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that imports a name's module when the name is first used.

    Args:
        package: the name of the package.
        home: the module that defines each name.
    """

    def find(name: str) -> Any:
        if name in home:
            return getattr(import_module(home[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def renamed(former: str, module: str) -> None:
    """Make importing a module's former name give the module itself."""
    sys.modules[former] = import_module(module)

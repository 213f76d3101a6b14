"""The configurations that come with the package, by name: `cartpole` is `cartpole.yaml`.

So do the search spaces of `ppo-bbrl tune`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from ppo_bbrl.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
# In a wheel they are in the package; in a checkout, `configs` is at the top.
_PLACES = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")

_LONGEST = 100  # characters of a name that could be one of theirs


def shipped_configs() -> dict[str, Path]:
    """The files by name, in alphabetical order."""
    for place in _PLACES:
        files = sorted(place.glob("*.yaml"))
        if files:
            return {path.stem: path for path in files}
    return {}


def shipped_spaces() -> dict[str, Path]:
    """The search spaces by name, in alphabetical order."""
    folders = {path.parent for path in shipped_configs().values()}
    return {path.stem: path for folder in folders for path in sorted(folder.glob("spaces/*.yaml"))}


def shipped_files() -> dict[str, str]:
    """The texts of all files that are shipped, by path: those, and the spaces of `tune`."""
    folders = {path.parent for path in shipped_configs().values()}
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("spaces/*.yaml")])
    }


def nearest_shipped(name: str) -> list[str]:
    """The shipped configurations that `name` may be a misspelling of, at most three."""
    return _nearest(name, shipped_configs())


def config_file(given: str | Path) -> Path:
    """The YAML file that is meant: a file of this path, or a shipped configuration of this name.

    A file comes first. The result is `given` where that is a file.

    Raises:
        ConfigError: if it is neither; names the nearest ones that are shipped.
    """
    return _file(given, shipped_configs(), "configuration file")


def space_file(given: str | Path) -> Path:
    """The same for a search space.

    Raises:
        ConfigError: likewise.
    """
    return _file(given, shipped_spaces(), "search space")


def _file(given: str | Path, shipped: Mapping[str, Path], what: str) -> Path:
    path = Path(given)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        is_folder = is_there = False
    if is_there and not is_folder:
        return path
    name = str(given)
    if name in shipped:
        return shipped[name]
    if is_folder:
        raise ConfigError(f"{given or repr(given)}: this is a folder; give the YAML file in it")
    near = _nearest(path.stem, shipped)
    is_name = len(name) <= _LONGEST and path.suffix == "" and path.name == name
    hint = ""
    if near:
        hint = f"; the nearest shipped ones: {', '.join(near)}"
    elif is_name:
        hint = f"; the shipped ones: {', '.join(shipped)}"
    raise ConfigError(f"{given}: there is no such {what}{hint}")


def _nearest(name: str, shipped: Mapping[str, Path]) -> list[str]:
    return get_close_matches(name.lower()[:_LONGEST], shipped, n=3)

"""Files that the package gives away, and that their owner may change from then on."""

from collections.abc import Mapping
from pathlib import Path

from ppo_bbrl.system.console import say
from ppo_bbrl.system.files import write_file


def write_unless_edited(files: Mapping[Path, str], *, overwrite: bool = False) -> list[Path]:
    """Write files and name them; one that is there and says something else stays as it is.

    Args:
        files: their texts, by path. Missing folders are made.
        overwrite: replace those that say something else.

    Returns:
        The paths that were kept.

    Raises:
        OSError: if one cannot be written.
    """
    kept = []
    for path, text in files.items():
        if path.is_file() and path.read_bytes() == text.encode():
            continue
        if path.exists() and not overwrite:
            say(f"{path}: kept, it differs (--overwrite replaces it)", error=True)
            kept.append(path)
            continue
        write_file(path, text)
        say(f"wrote {path}")
    return kept

"""The address from which a notebook's setup cell installs the package where it is missing."""

import re

from ppo_bbrl.errors import UserError

#: what stands in the setup cells of the sources
EMPTY = 'PPO_BBRL = ""'
_SCHEMES = re.compile(r"(git\+)?(https?|ssh|file)://[^\s\"'\\<>]+")
_ARCHIVES = (".whl", ".zip", ".tar.gz")


def check_address(address: str) -> None:
    """See that pip can install from an address, as far as its text tells.

    Raises:
        UserError: if it is neither of Git nor of a wheel or an archive.
    """
    file = address.partition("#")[0].partition("?")[0]
    if not _SCHEMES.fullmatch(address) or not (
        address.startswith("git+") or file.endswith(_ARCHIVES)
    ):
        raise UserError(
            f"PPO_BBRL: {address!r} is no address to install from; allowed are 'git+https://…', "
            "and 'https://….whl' or 'file:///….whl' (a space in it is %20)"
        )


def with_address(text: str, address: str) -> str:
    """The text of an .ipynb file with an address in its setup cell; as it was if it is empty.

    Raises:
        UserError: for an address that is none, or a notebook without the line to fill in.
    """
    if not address:
        return text
    check_address(address)
    place = _in_json(EMPTY)
    if place not in text:
        raise UserError(f"a notebook has no line {EMPTY} to write the address into")
    return text.replace(place, _in_json(f'PPO_BBRL = "{address}"'))


def _in_json(line: str) -> str:
    return line.replace('"', '\\"')

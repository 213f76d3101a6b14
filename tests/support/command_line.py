"""`ppo-bbrl`, called in the process of a test."""

import sys

from ppo_bbrl.cli.commands import main


def call(monkeypatch, capsys, *words):
    """Run `ppo-bbrl WORDS`; returns exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["ppo-bbrl", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    else:
        status = 0
    return status, *capsys.readouterr()

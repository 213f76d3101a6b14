"""`python -m ppo_bbrl`, and where the command starts."""

import sys


def main() -> None:
    """Run the command line; an interrupt that comes while it is loaded is one line, too."""
    try:
        from ppo_bbrl.cli.commands import main as run_command_line  # noqa: PLC0415 - it may be interrupted

        run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("ppo-bbrl: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

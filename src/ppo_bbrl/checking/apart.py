"""A check in a process of its own: an environment may end that, and print into the void."""

import os
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe, Process
from typing import Any

from ppo_bbrl.checking.check import checked
from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.envs.worker_process import become_worker, end_of, signals_held
from ppo_bbrl.errors import UserError

_LAST_SECONDS = 5.0  # that a process without more to say may take to end


def check_apart(env_name: str, arguments: Mapping[str, Any]) -> CheckReport:
    """`check_env` in another process. If the environment's code ends that, this is a fault.

    Args:
        env_name: a registered name.
        arguments: the others of `check_env`.

    Raises:
        UserError: if there is no such environment, or it cannot be made.
    """
    ours, theirs = Pipe(duplex=False)
    process = Process(target=_check, args=(theirs, env_name, dict(arguments)))
    topic, report = "", CheckReport(env_name)
    try:
        with signals_held():
            process.start()
        theirs.close()
        with suppress(EOFError):
            while topic is not None:
                topic, report = ours.recv()
        process.join(_LAST_SECONDS)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()
    if isinstance(report, str):
        raise UserError(report)
    if topic == "":
        raise UserError(f"{env_name} cannot be made: the process that it is in {end_of(process)}")
    if topic is not None:
        problem = f"its code ends it: it {end_of(process)} in the check of {topic}"
        report.fault("process", problem, "raise an exception instead, so that a run can be saved")
    return report


def _check(pipe: Any, env_name: str, arguments: dict[str, Any]) -> None:
    become_worker(follows_parent=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):  # also for what is written in C
        os.dup2(nowhere, number)
    try:
        report = checked(env_name, tell=lambda *now: pipe.send(now), **arguments)
        pipe.send((None, report))
    except UserError as error:
        pipe.send((None, str(error)))
    pipe.close()
    os._exit(0)  # whatever the environment has left to be done at exit

"""Environments in processes of their own: all gone when the run ends, however it ends.

Every worker inherits the pipes of its parent. Reading these to the end therefore waits until the
last process is gone; one that stays is a timeout.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread, Timer

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from probe_envs import Chance, LoggedBox

from ppo_bbrl.envs.workers import WorkerVectorEnv, choose_cores, choose_workers, close_workers
from ppo_bbrl.system.compute import core_numbers

TIMEOUT = 60  # seconds until a process counts as one that stays

# The environments tell in their first step that the run is under way.
MODULE = """
import multiprocessing
import os
import sys
import time
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete


def tell(word):  # in one piece, even where nothing is buffered
    print(word + "\\n", end="", flush=True)


class Told(gym.Env):
    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(2)
    told = False

    def __init__(self, fails_after=None, how="raises", hangs_when_made=False):
        self.fails_after, self.how, self.steps = fails_after, how, 0
        if hangs_when_made and multiprocessing.parent_process():
            tell("making")
            time.sleep(3600)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if not self.told:
            tell("stepped")
            self.told = True
        self.steps += 1
        if self.steps == self.fails_after:
            if self.how == "leaves":
                sys.exit(3)
            if self.how == "ends":
                os._exit(7)
            if self.how == "hangs":
                tell("hangs")
                time.sleep(3600)
            raise ArithmeticError("no such state")
        return np.zeros(2, np.float32), 1.0, self.steps % 5 == 0, False, {}


gym.register("Told-v0", Told, disable_env_checker=True)
"""

CONFIG = """
base_dir: run
gym_env: {env_name: "told:Told-v0", vectorization: async}
algorithm:
  {n_envs: 3, n_steps: 8, max_epochs: 3, opt_epochs: 1, nb_evals: 2, max_eval_steps: 20,
   eval_interval: 30, architecture: {actor_hidden_size: [4], critic_hidden_size: [4]}}
"""

# A loop as in a notebook or a script, in which nobody calls close(). What a shell runs in the
# background ignores Ctrl-C, and so would what these tests start there.
LOOP = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from ppo_bbrl import PPOClip, load_config, run
algo = PPOClip(load_config("config.yaml", {overrides}))
{loop}
print("end of the script", flush=True)
"""
FAILS = """
for workspace in algo.iter_partial_episodes(9):
    algo.update(algo.record(workspace))
    raise ZeroDivisionError("in the loop")
"""
ENDLESS = "algorithm.max_epochs=1000000000"


# ------------------------------------------------------------------------- several in a process


@pytest.mark.parametrize(
    ("n_envs", "cores", "expected"),
    [(8, 2, 2), (8, 1, 1), (8, 16, 8), (8, 3, 4), (3, 2, 3), (7, 2, 7), (10, 4, 5), (1, 2, 1)],
)
def test_as_many_processes_as_cores(n_envs, cores, expected):
    assert choose_workers(n_envs, cores) == expected


def test_a_process_keeps_to_a_core_only_if_there_is_one_for_each():
    """Kept to a core of a larger machine it would wait for other programs beside idle cores."""
    assert choose_cores(2, [4, 6]) == [4, 6]
    assert choose_cores(2, [0, 1, 2]) == [None, None]
    assert choose_cores(4, [0, 1, 2]) == [None] * 4
    assert choose_cores(4, []) == [None] * 4


@pytest.mark.skipif(not core_numbers(), reason="this system does not say which core runs what")
def test_processes_stay_on_the_cores_that_are_given():
    ours = core_numbers()
    groups = WorkerVectorEnv([Chance] * len(ours), len(ours), ours)
    cores = [os.sched_getaffinity(process.pid) for process in groups.processes]
    groups.close()
    assert cores == [{core} for core in ours]
    assert core_numbers() == ours


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_thread_that_draws_while_processes_are_made_stops_none():
    """Nobody gives back in a copy of this process what another thread holds here."""
    drawing, over = Event(), Event()

    def draw():
        with np.random.get_bit_generator().lock:
            drawing.set()
            over.wait(TIMEOUT)

    thread = Thread(target=draw)
    thread.start()
    assert drawing.wait(TIMEOUT)
    try:
        envs = WorkerVectorEnv([Chance] * 2, 1)
    finally:
        over.set()
        thread.join()
    envs.reset_async(seed=[1, 2])
    seen, _ = envs.reset_wait(timeout=20)
    envs.close()
    assert len(seen) == 2


@pytest.mark.wide(3)
@pytest.mark.parametrize("n_workers", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", [Chance, LoggedBox])
def test_environments_in_groups_are_environments_one_by_one(kind, n_workers):
    """The same seeds and actions, the same rows, autoreset included."""
    alone = SyncVectorEnv([kind] * 6, copy=False)
    groups = WorkerVectorEnv([kind] * 6, n_workers)
    assert len(groups.processes) == n_workers
    assert groups.single_observation_space == alone.single_observation_space
    assert groups.single_action_space == alone.single_action_space
    seen = [envs.reset(seed=[3, 1, 4, 1, 5, 9])[0] for envs in (alone, groups)]
    if kind is Chance:  # the other one numbers the states of its process
        np.testing.assert_array_equal(*seen)
    actions = np.random.default_rng(0)
    for _ in range(12):
        action = actions.integers(0, 2, alone.action_space.shape)
        action = action.astype(alone.action_space.dtype)
        steps = [envs.step(action)[:4] for envs in (alone, groups)]
        names = ("seen", "reward", "terminated", "truncated")
        for name, one, other in zip(names, *steps, strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            if kind is Chance or name != "seen":
                np.testing.assert_array_equal(one, other)
    groups.set_attr("mark", list("abcdef"))
    assert groups.get_attr("mark") == tuple("abcdef")
    groups.set_attr("mark", 7)
    assert groups.get_attr("mark") == (7,) * 6
    alone.close()
    close_workers(groups, 5.0)
    close_workers(groups, 5.0)  # twice does no harm
    assert not any(process.is_alive() for process in groups.processes)


# -------------------------------------------------------------------------------- the end


def start(*command):
    """A process, and its pipes."""
    Path("told.py").write_text(MODULE, encoding="utf-8")
    Path("config.yaml").write_text(CONFIG, encoding="utf-8")
    path = ":".join(filter(None, [str(Path.cwd()), *sys.path]))
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def train(*overrides):
    code = "from ppo_bbrl.cli.commands import main; main()"
    return start("-c", code, "train", "config.yaml", *overrides)


def script(loop, *overrides):
    return start("-c", LOOP.format(loop=loop, overrides=list(overrides)))


def ended(process):
    """Exit status, standard output and standard error, once every process of the run is gone."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail("a process outlives the run")
    return process.returncode, out, err


def wait_until_stepped(process, word="stepped"):
    """A run that does not say so in time is killed, which ends its output."""
    too_late = Timer(TIMEOUT, os.killpg, (process.pid, signal.SIGKILL))
    too_late.start()
    for line in process.stdout:
        if line == f"{word}\n":
            too_late.cancel()
            return
    too_late.cancel()
    pytest.fail(f"the run did not come to its first step: {process.communicate()[1]}")


def workers_of(process):
    """The processes of its environments."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not path.exists():
        pytest.skip("this system does not list the children of a process")
    return [int(number) for number in path.read_text().split()]


@pytest.mark.slow
def test_none_is_left_when_a_run_is_over():
    status, out, err = ended(train("algorithm.max_epochs=2"))
    assert status == 0, err
    assert "best policy" in out


def test_none_is_left_when_a_script_ends_without_close():
    status, out, err = ended(script("run(algo)"))
    assert (status, err) == (0, "")
    assert out.count("stepped") >= 3
    assert "end of the script" in out


@pytest.mark.slow
def test_none_is_left_after_an_exception_in_the_loop():
    status, out, err = ended(script(FAILS))
    assert status == 1
    assert "ZeroDivisionError: in the loop" in err
    assert "end of the script" not in out


@pytest.mark.parametrize("fails_after", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_none_is_left_after_an_exception_in_an_environment(fails_after):
    status, _, err = ended(train(f"gym_env.env_args.fails_after={fails_after}"))
    assert status == 1
    assert "no such state" in err.splitlines()[-1]


@pytest.mark.parametrize("everybody", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_none_is_left_after_an_interrupt(everybody):
    """Ctrl-C on a terminal reaches the workers too; a signal from elsewhere the parent alone."""
    process = train(ENDLESS)
    wait_until_stepped(process)
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
    status, _, err = ended(process)
    assert status == 130
    assert "Traceback" not in err, "not of the workers either"


@pytest.mark.slow
def test_none_is_left_after_an_interrupted_script():
    process = script("run(algo)", ENDLESS)
    wait_until_stepped(process)
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = ended(process)
    assert status != 0
    assert "KeyboardInterrupt" in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [signal.SIGTERM, signal.SIGKILL])
def test_none_is_left_when_the_run_is_killed(killed):
    process = train(ENDLESS)
    wait_until_stepped(process)
    os.kill(process.pid, killed)
    status, _, _ = ended(process)
    assert status == (143 if killed == signal.SIGTERM else -signal.SIGKILL)


# -------------------------------------------------------------------- processes that end or hang


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("ends", "environment 0 of 3 (Told-v0): its process ended (exit code 7) in step 4"),
        pytest.param(
            "leaves",
            "environment 0 of 3 (Told-v0) failed in step 4: it called sys.exit(3)",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.slow
def test_an_environment_that_leaves_is_told_in_one_line(how, told):
    """Neither tracebacks of its siblings nor raw errors of pipes, and none is left."""
    status, _, err = ended(train("gym_env.env_args.fails_after=4", f"gym_env.env_args.how={how}"))
    assert status == 1
    assert err == f"ppo-bbrl: {told}\n"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_in_one_line():
    process = train(ENDLESS, "compute.compile=never")
    wait_until_stepped(process)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    status, _, err = ended(process)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "its process ended (exit code -9, killed by SIGKILL)" in err
    assert err.startswith("ppo-bbrl: environment")


@pytest.mark.slow
def test_a_run_that_is_stopped_while_environments_are_made_says_nothing_of_its_workers():
    """They had the handlers of the command line, and told that they were interrupted."""
    process = train("gym_env.env_args.hangs_when_made=true")
    wait_until_stepped(process, "making")
    os.killpg(process.pid, signal.SIGTERM)
    status, _, err = ended(process)
    assert status == 143
    assert "Traceback" not in err


@pytest.mark.parametrize("killed", [signal.SIGKILL, pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_none_is_left_in_a_long_step(killed):
    """Of a run that can say nothing any more, or that is interrupted."""
    if killed == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    process = train(ENDLESS, "gym_env.env_args.fails_after=4", "gym_env.env_args.how=hangs")
    wait_until_stepped(process, "hangs")
    os.kill(process.pid, getattr(signal, killed) if isinstance(killed, str) else killed)
    status, _, err = ended(process)
    assert status == (-9 if killed == signal.SIGKILL else 130)
    assert "Traceback" not in err


def test_workers_have_no_signal_handlers_of_the_run():
    """`terminate` is to end them, and not to raise an interrupt in them."""

    class Asks(Chance):
        def handlers(self):
            return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        groups = WorkerVectorEnv([Asks] * 2, 2)
    finally:
        signal.signal(signal.SIGTERM, before)
    expected = [signal.SIG_DFL, signal.SIG_IGN]
    assert groups.call("handlers") == (expected, expected)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    groups.processes[0].terminate()
    groups.processes[0].join(TIMEOUT)
    assert groups.processes[0].exitcode == -signal.SIGTERM
    with pytest.warns(UserWarning, match=r"environment 0 of 2 \(Asks\).*SIGTERM"):
        groups.close()


SPAWNS = """
import multiprocessing
import sys

import numpy as np

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from ppo_bbrl.envs.vector import make_vector_env
    limit = {"max_episode_steps": 5}
    envs = make_vector_env("CartPole-v1", 4, vectorization="async", env_args=limit)
    envs.reset(seed=[1, 2, 3, 4])
    print(*[envs.step(np.zeros(4, np.int64))[3].sum() for _ in range(5)])
    envs.processes[0].kill()
    try:
        envs.reset()
    except Exception as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_no_copies_of_the_run(method):
    """As on macOS, on Windows, and on Linux since Python 3.14."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not known here")
    Path("spawns.py").write_text(SPAWNS, encoding="utf-8")
    status, out, err = ended(start("spawns.py", method))
    assert (status, err) == (0, "")
    steps, told = out.splitlines()
    assert steps == "0 0 0 0 4"
    assert "of 4 (CartPole-v1): its process ended (exit code -9, killed by SIGKILL)" in told

"""Two hosts, each a network namespace with its own address: training over gloo, a cut link."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch.distributed as dist

from ppo_bbrl.plots.run_files import read_metrics

HOSTS = {"ppo-host-a": "10.213.7.1", "ppo-host-b": "10.213.7.2"}
LINK = "ppo-link"
FIRST = next(iter(HOSTS))


def ip(*words, check=True):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


def why_not():
    """Why there cannot be two hosts here; empty: there can."""
    if not dist.is_gloo_available():
        return "this torch has no gloo, over which processes talk"
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and iproute2"
    tried = ip("netns", "add", "ppo-try", check=False)
    ip("netns", "del", "ppo-try", check=False)
    return f"no network namespaces: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture
def hosts():
    if why := why_not():
        pytest.skip(why)
    made = []
    try:
        ip("link", "add", f"{LINK}-a", "type", "veth", "peer", "name", f"{LINK}-b")
        for name, address in HOSTS.items():
            end = f"{LINK}-{name[-1]}"
            ip("netns", "add", name)
            made.append(name)
            ip("link", "set", end, "netns", name)
            inside = ("-n", name)
            ip(*inside, "address", "add", f"{address}/24", "dev", end)
            ip(*inside, "link", "set", end, "up")
            ip(*inside, "link", "set", "lo", "up")
            # So that torchrun itself notices a cut in seconds, instead of a quarter of an hour.
            write = "echo 5 > /proc/sys/net/ipv4/tcp_retries2"
            subprocess.run(["ip", "netns", "exec", name, "sh", "-c", write], check=True)
        yield list(HOSTS)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no two hosts: {error.stderr.strip()}")
    finally:
        for name in made:
            ip("netns", "del", name, check=False)  # and its end of the link
        ip("link", "del", f"{LINK}-a", check=False)


def start(host, *overrides):
    """The torchrun of one host."""
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        "--rdzv-backend=c10d", f"--rdzv-endpoint={HOSTS[FIRST]}:29511",
        f"--rdzv-conf=is_host={int(host == FIRST)},join_timeout=60", f"--local-addr={HOSTS[host]}",
    ]  # fmt: skip
    folder = Path(host)  # they share no disk
    folder.mkdir()
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *torchrun, "-m", "ppo_bbrl", "train", "cartpole", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"GLOO_SOCKET_IFNAME": f"{LINK}-{host[-1]}"},
        start_new_session=True,
    )


@pytest.fixture
def started():
    processes = {}
    yield processes
    for process in processes.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


@pytest.mark.slow
def test_two_hosts_train_one_policy(hosts, started):
    """Only the first has the run's files, and they count the steps of both."""
    run = ["algorithm.max_epochs=6", "base_dir=both", "algorithm.nb_evals=2"]
    started |= {host: start(host, *run) for host in hosts}
    said = {host: process.communicate(timeout=120)[0] for host, process in started.items()}
    assert {process.returncode for process in started.values()} == {0}, said
    assert "2 processes, each with 4 of 8 environments" in said[FIRST]
    assert read_metrics(Path(FIRST, "outputs/both"))["steps"].iloc[-1] > 6 * 8 * 31 * 0.9
    assert not Path(hosts[1], "outputs").exists()


@pytest.mark.slow
def test_both_hosts_end_when_their_link_is_cut(hosts, started):
    """Without a packet that would tell them, and with what has been learned saved."""
    run = ["algorithm.max_epochs=1000000", "base_dir=cut", "save_every=20"]
    started |= {host: start(host, *run) for host in hosts}
    checkpoints = Path(FIRST, "outputs/cut/checkpoints")
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    ip("-n", FIRST, "link", "set", f"{LINK}-a", "down")
    said = {host: process.communicate(timeout=150)[0] for host, process in started.items()}
    assert 0 not in {process.returncode for process in started.values()}
    for rank, host in enumerate(hosts):
        # Whichever notices first: the process, or torchrun, whose store is on the first host.
        own = f"process {rank} of 2: .*cannot be reached"
        torchruns = "connection to the C10d store has failed"
        assert re.search(own if host == FIRST else f"{own}|{torchruns}", said[host]), said[host]
    assert list(checkpoints.glob("*.pt"))
    assert Path(FIRST, "outputs/cut/last/policy.pt").is_file()

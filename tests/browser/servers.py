"""Waiting for servers, and ending them."""

import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def wait_for(condition, what, *, seconds, process=None):
    """Ask until there is an answer; returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"{what}: the process ended with status {process.returncode}")
        answer = condition()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def address_of(file):
    """What JupyterLab writes down of itself; nothing while the file is half written."""
    try:
        return json.loads(file.read_text())["url"]
    except json.JSONDecodeError:
        return None


def write_json(path, content):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))

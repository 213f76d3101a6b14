"""Files of strangers: opening them runs no code of theirs, takes no memory, ends in one line."""

import io
import pickle
import resource
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from command_line import call
from omegaconf import OmegaConf
from probe_envs import config

import ppo_bbrl
from ppo_bbrl.errors import UserError
from ppo_bbrl.ppo import PPOClip, run
from ppo_bbrl.runs.archives import read_archive, write_archive
from ppo_bbrl.system.seals import seal_zip

MIB = 2**20
EVAL, REPLAY = ("eval", "--episodes", 1), ("replay",)
RESUME, FAULT, PLOT = ("train", "--resume"), ("replay-fault",), ("plot",)
CANARY = "import pathlib; pathlib.Path('canary').touch()\n"


class Touch:
    """Runs code where a file is unpickled."""

    def __reduce__(self):
        return exec, (CANARY,)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A short run with everything that is ever opened."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = config("CartPole-v1", max_epochs=2, eval_interval=10, nb_evals=1)
        cfg |= {"gym_env": {"env_name": "CartPole-v1"}, "save_every": 1}
        algo = PPOClip(cfg)
        run(algo)
        algo.save_fault("nothing", {"x": torch.zeros(2)})
        algo.close()
        return algo.base_dir


def archive(path, change, *, seal=True):
    """Change what a file holds, and seal it again, as a stranger would."""
    content = read_archive(path)
    changed = change(content)
    if seal:
        write_archive(path, content if changed is None else changed)
        return
    file = io.BytesIO()
    torch.save(content if changed is None else changed, file)
    path.write_bytes(file.getvalue())


def policy(change, **kwargs):
    return lambda folder: archive(folder / "best/policy.pt", change, **kwargs)


def weights(**tensors):
    """Give weights of the policy another value."""
    return policy(lambda read: read["policy"].update(tensors))


def first(make):
    """Give the first weight another value."""

    def change(read):
        name, weight = next(iter(read["policy"].items()))
        read["policy"][name] = make(weight)

    return policy(change)


def settings(changes, name="best/config.yaml"):
    """Change a configuration."""

    def change(folder):
        path = folder / name
        cfg = OmegaConf.create(path.read_text())
        for key, value in changes.items():
            OmegaConf.update(cfg, key, value, force_add=True)
        path.write_text(OmegaConf.to_yaml(cfg))

    return change


def text(content, name="best/config.yaml"):
    return lambda folder: (folder / name).write_text(content)


def checkpoint(**changes):
    """Change the configuration in the checkpoints."""

    def change(folder):
        for path in (folder / "checkpoints").glob("*.pt"):

            def other(read):
                cfg = OmegaConf.create(read["config"])
                for key, value in changes.items():
                    OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
                read["config"] = OmegaConf.to_yaml(cfg)

            archive(path, other)

    return change


def in_checkpoints(change):
    """Change what the checkpoints hold: a function gets that, and each dict within their states."""

    def walk(node):
        if isinstance(node, dict):
            change(node)
        for item in node.values() if isinstance(node, dict) else node:
            if isinstance(item, dict | list):
                walk(item)

    return lambda folder: [archive(path, walk) for path in (folder / "checkpoints").glob("*.pt")]


def generator(name, **state):
    """Give the environments' random generators a state of another kind."""

    def change(node):
        if "generator" in node:
            pairs = [[key, value] for key, value in state.items()]
            node |= {"generator": name, "state": {"dict": [["bit_generator", name], *pairs]}}

    return in_checkpoints(change)


def update(name, **content):
    """Update each dict of this name in the checkpoints."""
    return in_checkpoints(lambda node: node[name].update(content) if name in node else None)


def texts_for(node):
    """In the place of each array, one whose text needs a gigabyte."""
    if "array" in node:
        del node["array"]
        node |= {"texts": ["x"], "dtype": "<U268435455", "shape": [1]}


def pools(node):
    """Seeds whose entropy takes hours to be mixed."""
    if "pool_size" in node:
        node["pool_size"] = 10**6


NUMBERS = {"array": torch.arange(624)}


def every(name, content):
    def change(folder):
        for path in folder.glob(name):
            path.write_bytes(content)

    return change


def zipped(**records):
    """A sealed zip file, its records compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in records.items():
            made.writestr(name.replace("__", "/"), content)
    return seal_zip(file.getvalue())


def compressed(folder):
    """A policy with 32 MB of zeros, compressed to 32 kB."""
    path = folder / "best/policy.pt"
    file = io.BytesIO()
    content = read_archive(path)
    content["policy"] = {"weight": torch.zeros(8 * MIB)}
    torch.save(content, file)
    small = io.BytesIO()
    with zipfile.ZipFile(file) as big, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as made:
        for record in big.infolist():
            made.writestr(record.filename, big.read(record))
    path.write_bytes(seal_zip(small.getvalue()))


def laughs(read):
    """Lists of lists, each ten times in the next one."""
    nested = [0.0]
    for _ in range(12):
        nested = [nested] * 10
    read["observation_space"]["low"] = nested


def itself(read):
    read["own"] = [read]


def sparse(folder):
    """5 GiB that take no place on the disk."""
    with (folder / "best/policy.pt").open("r+b") as file:
        file.truncate(5 * 1024 * MIB)


def pickled(folder):
    (folder / "best/policy.pt").write_bytes(pickle.dumps(Touch()))


def by_torch(name):
    """A file of torch, sealed, with code in it."""

    def change(folder):
        file = io.BytesIO()
        torch.save({"policy": Touch(), "before": Touch(), "state": Touch()}, file)
        for path in folder.glob(name):
            path.write_bytes(seal_zip(file.getvalue()))

    return change


def old_torch(folder):
    file = io.BytesIO()
    torch.save(Touch(), file, _use_new_zipfile_serialization=False)
    (folder / "best/policy.pt").write_bytes(file.getvalue())


def write_module():
    """In the current folder, where `python -m` would find it."""
    Path("stranger.py").write_text(CANARY)


def link(name, target="victim"):
    """A symbolic link in place of a file or folder of the run."""

    def change(folder):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(Path(target).absolute())

    return change


def table(content):
    return lambda folder: (folder / "metrics.csv").write_bytes(content)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
STRANGER = {"gym_env.env_name": "stranger:Mine-v0"}
HOSTILE = {
    # code in what torch reads
    "pickle": (EVAL, pickled),
    "pickle in a policy": (EVAL, by_torch("best/policy.pt")),
    "pickle in a checkpoint": (RESUME, by_torch("checkpoints/*.pt")),
    "pickle in a fault": (FAULT, by_torch("fault.pt")),
    "torch's old format": (EVAL, old_torch),
    "no zip at all": (EVAL, every("best/policy.pt", b"\x80\x02cposix\nsystem\n")),
    "names that climb": (EVAL, every("best/policy.pt", zipped(**{"..__..__canary": "x"}))),
    # code by name
    "a module, eval": (EVAL, settings(STRANGER)),
    "a module, replay": (REPLAY, settings(STRANGER)),
    "a module, resume": (RESUME, checkpoint(gym_env__env_name="stranger:Mine-v0")),
    "an environment of gym": (EVAL, settings({
        "gym_env.env_name": "GymV26Environment-v0",
        "gym_env.env_args": {"env_id": "stranger:Mine-v0"},
    })),
    "an optimiser": (EVAL, settings({"optimizer.classname": "stranger.Adam"})),
    "an optimiser of os": (RESUME, checkpoint(optimizer__classname="os.system")),
    "a logger": (EVAL, settings({"logger.classname": "stranger.Logger"})),
    "a wrapper": (EVAL, settings({"gym_env.wrappers": ["stranger.Wrapper"]})),
    "a wrapper, by _target_": (EVAL, settings({
        "gym_env.wrappers": [{"_target_": "stranger.Wrapper"}]
    })),
    "a policy type": (EVAL, settings({"algorithm.policy_type": "stranger.Policy"})),
    "an agent's class": (EVAL, policy(lambda read: read.update(agent="stranger.Policy"))),
    "a tag of YAML": (EVAL, text("gym_env: !!python/object/apply:exec [open('canary', 'w')]\n")),
    # what reads this machine
    "an environment variable": (EVAL, text("gym_env: {env_name: '${oc.env:HOME}'}\n")),
    "a variable, plotted": (PLOT, text("base_dir: '${oc.env:HOME}'\n", "config.yaml")),
    "a variable, resumed": (RESUME, checkpoint(extra={"x": "${oc.env:HOME}"})),
    "decoded text": (EVAL, text("gym_env: {env_name: \"${oc.decode:'${oc.env:HOME}'}\"}\n")),
    "a resolver of ours": (EVAL, text("base_dir: 'x_${current_time:}'\n")),
    # sizes
    "aliases": (EVAL, text(LAUGHS)),
    "nested": (EVAL, text("[" * 5000)),
    "recursion": (EVAL, text("a: &a {b: *a}\n")),
    "a zip bomb": (EVAL, compressed),
    "5 GiB": (EVAL, sparse),
    "a view": (EVAL, first(lambda _: torch.zeros(1).expand(2**34))),
    "views": (EVAL, weights(**{str(i): torch.zeros(MIB)[:] for i in range(3)})),
    "lists of lists": (EVAL, policy(laughs)),
    "itself": (EVAL, policy(itself)),
    "large layers": (EVAL, settings({"algorithm.architecture.actor_hidden_size": [65536] * 9})),
    "large layers, resumed": (
        RESUME, checkpoint(algorithm__architecture__critic_hidden_size=[65536] * 9)
    ),
    "a large memory": (EVAL, settings({
        "algorithm.architecture.memory": "lstm", "algorithm.architecture.memory_size": 65536
    })),
    "a large space": (EVAL, policy(
        lambda read: read["observation_space"].update(shape=[2**40], low=0.0, high=1.0)
    )),
    "many bits": (EVAL, policy(
        lambda read: read.update(observation_space={"kind": "MultiBinary", "n": 2**40})
    )),
    # tensors
    "another shape": (EVAL, first(lambda _: torch.zeros(3, 5))),
    "NaN": (EVAL, first(lambda weight: weight * float("nan"))),
    "infinite": (EVAL, first(lambda weight: weight + float("inf"))),
    "complex": (EVAL, first(lambda weight: weight + 1j)),
    "sparse": (EVAL, first(lambda weight: weight.to_sparse())),
    "meta": (EVAL, first(lambda weight: weight.to("meta"))),
    "no tensors": (EVAL, policy(lambda read: read.update(policy={"x": "y"}))),
    "steps": (EVAL, policy(lambda read: read.update(steps=10**400))),
    "a reward that is none": (EVAL, policy(lambda read: read.update(reward=float("nan")))),
    "a state of others": (RESUME, lambda folder: [
        archive(path, lambda read: read["state"].update(train_policy={}))
        for path in (folder / "checkpoints").glob("*.pt")
    ]),
    # places in the memory, and what takes long
    "a place in random numbers": (RESUME, generator(
        "MT19937", state={"dict": [["key", NUMBERS], ["pos", 10**8]]}
    )),
    "a place in a buffer": (RESUME, generator(
        "Philox", buffer_pos=-(10**8), has_uint32=0, uinteger=0, buffer={"list": [0] * 4},
        state={"dict": [["counter", {"list": [0] * 4}], ["key", {"list": [0] * 2}]]},
    )),
    "generators of another library": (RESUME, generator("Mersenne", state=0)),
    "a pool of seeds": (RESUME, in_checkpoints(pools)),
    "a text of a gigabyte": (RESUME, in_checkpoints(texts_for)),
    "weights that begin anew": (RESUME, update("fresh", train_policy="x")),
    "rows that are no number": (RESUME, update("files", rows="x")),
    "events of a negative size": (RESUME, update("files", events={"x": -1})),
    "a row of others": (RESUME, update("workspace", **{"env/reward": torch.zeros(9)})),
    "returns that are none": (RESUME, update("evaluations", eval_rewards=[None])),
    "a log of words": (RESUME, update("pending", **{"5": {"x": ["y"]}})),
    # places
    "a video's folder": (REPLAY, link("video")),
    "a link for the checkpoints": (RESUME, link("checkpoints/lock")),
    "a link to the checkpoints": (RESUME, link("checkpoints", "nowhere")),
    "events elsewhere": (RESUME, checkpoint(logger__log_dir="/nowhere/of/the/run")),
    "events above": (RESUME, checkpoint(logger__log_dir="../above")),
    # tables
    "no UTF-8": (PLOT, table(b"steps,reward/mean\n1,\xff\n")),
    "a long cell": (PLOT, table(b"steps,reward/mean\n1," + b"1" * 200_000 + b"\n")),
    "no numbers": (PLOT, table(b"steps,reward/mean\n1,=cmd|' /C calc'!A0\n")),
    "zeros": (PLOT, table(b"\0" * 1000)),
}  # fmt: skip


@pytest.mark.filterwarnings("default:.*a damaged checkpoint")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_line_and_nothing_else(case, original, monkeypatch, capsys):
    """Nothing of it is executed, and little memory taken."""
    folder, victim = Path("outputs") / original.name, Path("victim")
    shutil.copytree(original, folder)
    victim.mkdir()
    (victim / "kept").write_text("kept")
    write_module()
    monkeypatch.syspath_prepend(Path.cwd())
    (command, *options), change = HOSTILE[case]
    change(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = folder / "fault.pt" if command == "replay-fault" else folder
    words = [command, *options, path] if options == ["--resume"] else [command, path, *options]
    status, out, err = call(monkeypatch, capsys, *words)
    lines = [line for line in err.splitlines() if "warning: " not in line]
    assert status == 1, (out, err)
    assert len(lines) == 1, err
    assert "PPO_BBRL_TRACEBACK" not in err, "an error of another kind"
    assert "\x1b" not in out + err
    assert Path.home().name not in err or Path.home().name in str(Path.cwd())
    assert not Path("canary").exists()
    assert "stranger" not in sys.modules
    assert [file.name for file in victim.iterdir()] == ["kept"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def test_the_run_is_opened_when_nothing_is_wrong(original, monkeypatch, capsys):
    """Else the test above could not fail; and trust is what lets a module in."""
    folder = Path("outputs") / original.name
    shutil.copytree(original, folder)
    for words in (("eval", folder, "--episodes", 1), ("replay", folder), ("plot", folder)):
        status, _, err = call(monkeypatch, capsys, *words)
        assert status == 0, err
    write_module()
    monkeypatch.syspath_prepend(Path.cwd())
    settings(STRANGER)(folder)
    assert call(monkeypatch, capsys, "eval", folder, "--trust")[0] == 1  # it has no Mine-v0
    assert Path("canary").exists()
    sys.modules.pop("stranger", None)


def test_names_of_a_stranger_are_shown_as_they_are(original, monkeypatch, capsys):
    """Neither a terminal's commands nor TeX, in names of agents, environments and metrics."""
    folder = Path("outputs") / original.name
    shutil.copytree(original, folder)
    policy(lambda read: read.update(agent="\x1b]0;owned\x07"))(folder)
    status, _, err = call(monkeypatch, capsys, "eval", folder)
    assert status == 1
    assert "\x1b" not in err
    settings({"extra": {"$\\frac{$": 1}, "base_dir": "$\\input{x}$"}, "config.yaml")(folder)
    table(b"steps,$\\frac{$\n1,2\n2,3\n")(folder)
    status, _, err = call(monkeypatch, capsys, "plot", folder, "--metric", "$\\frac{$")
    assert status == 0, err


def test_in_a_program_too(original):
    """The errors are UserErrors, and name the file."""
    folder = Path("outputs") / original.name
    for case in ("a view", "pickle in a policy", "a module, eval"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        HOSTILE[case][1](folder)
        with pytest.raises(UserError):
            ppo_bbrl.load(folder).make_env()

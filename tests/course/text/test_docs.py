"""What the documentation shows works as it is shown."""

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import ppo_bbrl
from ppo_bbrl.config.loading import load_config

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_loop_of_the_readme_runs():
    (loop,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in loop.splitlines() if line.strip()]) <= 12
    short = {"max_epochs": 2, "eval_interval": 100, "nb_evals": 2, "opt_epochs": 1}
    cfg = OmegaConf.load(ROOT / "configs" / "cartpole.yaml")
    cfg.algorithm.update(short)
    Path("configs").mkdir()
    OmegaConf.save(cfg, "configs/cartpole.yaml")
    names: dict[str, object] = {}
    exec(compile(loop, "README.md", "exec"), names)
    assert names["ppo_clip"].nb_steps > 400
    assert list(Path("outputs").rglob("best.mp4"))


def test_the_policy_of_the_readme_acts():
    """In the program of somebody else, from the files of a run."""
    (lines,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    assert len(lines.splitlines()) == 3
    algo = ppo_bbrl.PPOClip({"base_dir": "mine", "gym_env": {"env_name": "Pendulum-v1"}})
    algo.register_evaluation(torch.zeros(1))
    algo.close()
    names: dict[str, object] = {"ppo_bbrl": ppo_bbrl}
    exec(compile(lines.replace("Pendulum-v1/<run>", "mine"), "README.md", "exec"), names)
    assert names["env"].action_space.contains(names["action"])
    names["env"].close()


def test_what_the_readme_points_at_exists():
    """And what the page for contributors does: links, and paths in backticks."""
    texts = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)\)", texts)
    texts += (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|notebooks|docs|examples|benchmarks)\b[\w/.]*)`", texts)
    assert len(links) > 5
    assert len(named) > 10
    real = [path for path in (*links, *named) if "NN_" not in path]
    assert [path for path in real if not (ROOT / path).exists()] == []


def test_every_detail_has_an_anchor_and_what_is_named_there_exists():
    """Code and pages refer to a detail by its number, and docs/ppo.md to code by its name."""
    page = (ROOT / "docs" / "ppo.md").read_text(encoding="utf-8")
    numbers = re.findall(r'<a id="detail-(\w+)"></a>', page)
    more = [*(f"a{number}" for number in range(1, 5)), *(f"b{number}" for number in range(1, 9))]
    assert numbers == [*map(str, range(1, 38)), *more]
    code = [*ROOT.glob("src/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("docs/*.md")]
    mentioned = [
        number
        for path in code
        for number in re.findall(r"ppo\.md#detail-(\w+)", path.read_text(encoding="utf-8"))
    ]
    assert len(mentioned) > 5
    assert set(mentioned) <= set(numbers)
    named = re.findall(r"((?:`[\w.]+`(?: and )?)+) in \[[^\]]+\]\(([^)]+)\)", page)
    assert len(named) > 10
    for names, file in named:
        source = (ROOT / "docs" / file).read_text(encoding="utf-8")
        for name in re.findall(r"[\w.]+(?=`)", names):
            assert all(re.search(rf"\b{part}\b", source) for part in name.split(".")), name


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_is_valid_and_says_why(path):
    """A config holds only what differs from the defaults."""
    cfg = load_config(path)
    defaults = load_config({"gym_env": {"env_name": cfg.gym_env.env_name}})
    given = OmegaConf.load(path)

    def leaves(node, prefix=""):
        for key, value in node.items():
            if hasattr(value, "items"):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    for key in leaves(given):
        if key.startswith(("gym_env.env_name", "optimizer.")):
            continue  # an optimiser is given as a whole
        assert OmegaConf.select(cfg, key) != OmegaConf.select(defaults, key), key

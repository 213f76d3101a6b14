"""The documentation: what its pages show runs, and the site has all of them."""

import contextlib
import re
from pathlib import Path

import gymnasium as gym
import pytest
import torch
import yaml

import ppo_bbrl
from ppo_bbrl.config.schema import known_keys

DOCS = Path(__file__).parents[2] / "docs"
SHORT = {"max_epochs": 3, "n_steps": 16, "eval_interval": 100, "nb_evals": 2, "opt_epochs": 1}
#: Pages whose blocks run elsewhere: what they show needs more than a few names.
ELSEWHERE = {
    "export": "library/test_export.py",
    "extending": "library/test_extending.py",
    "teaching": "course/grading/test_grading_page.py",
    "torch_hub": "library/test_examples_shared.py",
}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    return BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))


PAGES = [path.stem for path in sorted(DOCS.glob("*.md")) if blocks(path.stem)]


def config(**algorithm):
    return {"gym_env": {"env_name": "CartPole-v1"}, "algorithm": SHORT | algorithm}


def trained(cfg):
    algo = ppo_bbrl.PPOClip(cfg)
    ppo_bbrl.run(algo)
    return algo


def run(page, given, change=lambda code: code):
    """Run the blocks of a page, one after the other, with the names that it takes for granted."""
    for number, code in enumerate(blocks(page)):
        exec(compile(change(code), f"{page}.md, block {number}", "exec"), given)
    return given


@pytest.fixture(autouse=True)
def own_registry():
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


def test_the_quick_start():
    names = run("quickstart", {}, lambda code: code.replace("max_epochs=20", "max_epochs=3"))
    assert names["algo"].nb_steps > 700
    assert names["action"].shape == ()


def test_the_workspace_and_its_picture():
    names = run("workspace", {})
    assert names["workspace"]["env/env_obs"].shape == (14, 4, 4)
    assert names["workspace"]["env/terminated"].any()
    assert names["workspace"]["env/truncated"].any()
    assert Path("workspace-grid.png").is_file()


def test_an_environment_of_my_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)  # the command line looks in the current folder
    Path("line_env.py").write_text(blocks("environments")[0], encoding="utf-8")
    with contextlib.redirect_stdout(None):
        run("environments", {})
    assert list(Path("outputs").rglob("metrics.csv"))


def test_which_spaces():
    assert type(run("spaces", {})["algo"].train_policy).__name__ == "GaussianPolicy"


def test_resume_and_reproduce():
    assert len(run("reproduce", {})["weights"]) == 2


def test_coming_from_others():
    assert run("coming_from", {})["ppo_clip"].nb_steps > 700


def test_memory():
    algo = trained(config(architecture={"memory": "gru"}))
    env = gym.make("CartPole-v1")
    one, _ = env.reset(seed=0)
    given = {
        "ppo_bbrl": ppo_bbrl,
        "observation": one,
        "observations": torch.tensor(one).repeat(3, 1).numpy(),
        "dones": torch.tensor([True, False, True]).numpy(),
    }
    names = run("memory", given, lambda code: code.replace("outputs/…", str(algo.base_dir)))
    assert names["actions"].shape == (3,)


def test_metrics_of_my_own():
    algo = ppo_bbrl.PPOClip(config())
    run("metrics", {"algo": algo, "value": 3.0})
    algo.logger.flush()
    algo.close()
    assert "my_metric" in (algo.folder.path / "metrics.csv").read_text(encoding="utf-8")


def test_schedules_of_my_own():
    cfg = config(entropy_coef=0.01)
    algo = run("ppo", {"cfg": cfg, "PPOClip": ppo_bbrl.PPOClip})["algo"]
    algo.close()


def test_the_state_of_a_run():
    cfg = ppo_bbrl.load_config(config(max_epochs=3))
    names = run("state", {"cfg": cfg}, lambda code: code.replace("epoch == 20", "epoch == 2"))
    assert names["second"].nb_steps == names["first"].nb_steps


@pytest.mark.slow
def test_many_seeds():
    Path("configs").mkdir()
    Path("configs/cartpole.yaml").write_text(yaml.safe_dump(config()), encoding="utf-8")
    names = run("seeds", {}, lambda code: code.replace("seeds=10", "seeds=2"))
    assert len(names["report"].runs) == 2


@pytest.mark.slow
def test_lightning():
    """Some of its steps; what it learns is tested elsewhere."""
    pytest.importorskip("lightning")
    names = run("lightning", {"__name__": "__main__"}, fewer_steps)
    assert issubclass(names["Model"], torch.nn.Module)


def fewer_steps(code):
    return re.sub(r"max_(epochs|steps)=[\d_]+", r"max_\1=2", code)


def test_no_page_with_code_is_forgotten():
    here = Path(__file__).read_text(encoding="utf-8")
    forgotten = [page for page in PAGES if page not in ELSEWHERE and f'run("{page}"' not in here]
    assert forgotten == []
    tests = DOCS.parent / "tests"
    assert [path for path in ELSEWHERE.values() if not (tests / path).is_file()] == []


def test_every_key_of_the_algorithm_is_beside_its_detail():
    """All but those that say how long a run is and when it is evaluated."""
    text = (DOCS / "ppo.md").read_text(encoding="utf-8")
    keys = {name.split(".")[-1] for name in known_keys() if name.startswith("algorithm.")}
    missing = {key for key in keys if not re.search(rf"\b{key}\b", text)}
    assert missing == {"seed", "max_epochs", "eval_interval", "nb_evals", "max_eval_steps"}


def test_the_site_names_every_page():
    """`make docs` would warn; this is what `make test` sees."""
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/]+\.md)$", text, re.MULTILINE))
    assert {path.name for path in DOCS.glob("*.md")} <= named
    notebooks = (DOCS.parent / "notebooks" / "student").glob("*.ipynb")
    assert named - {path.name for path in DOCS.glob("*.md")} == {
        "index.md",
        "changelog.md",
        "contributing.md",
        *(f"course/{path.stem}.md" for path in notebooks),
    }


def test_the_citation_has_the_version_and_the_licence():
    citation = yaml.safe_load((DOCS.parent / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == ppo_bbrl.__version__
    assert citation["license"] == "MIT"


def test_the_templates_of_issues_are_forms_with_something_to_fill_in():
    for path in sorted((DOCS.parent / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path
        assert len({part["id"] for part in form["body"]}) == len(form["body"]), path


def test_a_commit_is_checked_by_what_make_check_runs():
    hooks = yaml.safe_load((DOCS.parent / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    commands = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    makefile = (DOCS.parent / "Makefile").read_text(encoding="utf-8")
    (check,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    tools = {Path(line.split()[0]).name for line in commands}
    assert tools == set(re.findall(r"\$\(BIN\)/(\S+)", check))

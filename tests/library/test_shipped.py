"""Configurations that come with the package: by name, and as copies."""

from pathlib import Path

import pytest
from command_line import call

from ppo_bbrl import ConfigError, load_config
from ppo_bbrl.config.shipped import config_file, shipped_configs, space_file

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_configuration_is_shipped_under_the_name_of_its_file():
    assert set(shipped_configs()) == {path.stem for path in CONFIGS.glob("*.yaml")}
    given = load_config(CONFIGS / "pendulum.yaml")
    assert load_config("pendulum").algorithm == given.algorithm


def test_a_file_comes_before_a_shipped_one():
    """A folder does not: it holds no configuration."""
    Path("cartpole").write_text("gym_env: {env_name: Acrobot-v1}\n", encoding="utf-8")
    Path("pendulum").mkdir()
    assert load_config("cartpole").gym_env.env_name == "Acrobot-v1"
    assert load_config("pendulum").gym_env.env_name == "Pendulum-v1"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("cartpol", "cartpole"),
        ("Pendulum", "pendulum"),
        ("elsewhere/pendulm.yaml", "pendulum"),
        ("nonsense", "pong"),
    ],
)
def test_what_is_neither_a_file_nor_shipped_is_one_line_with_names(given, hint):
    with pytest.raises(ConfigError) as error:
        config_file(given)
    assert "\n" not in str(error.value)
    assert given in str(error.value)
    assert hint in str(error.value)


@pytest.mark.parametrize("word", ["train", "profile", "check", "seeds"])
def test_every_command_that_takes_a_file_takes_a_name(word, monkeypatch, capsys):
    """Seen by a key that is wrong: the configuration was found."""
    words = ["train", "--seeds", "2"] if word == "seeds" else [word]
    code, _, found = call(monkeypatch, capsys, *words, "cartpole", "algorithm.n_stepps=3")
    assert code == 1
    assert "did you mean algorithm.n_steps" in found
    code, _, lost = call(monkeypatch, capsys, *words, "cartpol")
    assert code == 1
    assert "cartpole_fast" in lost
    assert not Path("outputs").exists()


def test_the_spaces_of_tune_go_by_their_names_too(monkeypatch, capsys):
    spaces = {path.stem: path for path in CONFIGS.glob("spaces/*.yaml")}
    assert {name: space_file(name) for name in spaces} == spaces
    Path("mine.yaml").touch()
    assert space_file("mine.yaml") == Path("mine.yaml")
    words = ["tune", "cartpole_fast"]
    code, _, found = call(monkeypatch, capsys, *words, "cartpole", "algorithm.n_stepps=3")
    assert code == 1
    assert "did you mean algorithm.n_steps" in found
    code, _, lost = call(monkeypatch, capsys, *words, "cartpol")
    assert code == 1
    assert "cartpol: there is no such search space; the nearest shipped ones: cartpole" in lost


def test_init_copies_what_is_not_there_and_keeps_what_was_edited(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "init")[0] == 0

    def texts(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.yaml")}

    assert texts(Path("configs")) == texts(CONFIGS)
    mine = Path("configs/pong.yaml")
    mine.write_text("# mine\n", encoding="utf-8")
    Path("configs/pendulum.yaml").unlink()
    code, _, error = call(monkeypatch, capsys, "init")
    assert code == 1
    assert str(mine) in error
    assert mine.read_text(encoding="utf-8") == "# mine\n"
    assert Path("configs/pendulum.yaml").is_file()
    assert call(monkeypatch, capsys, "init", "configs", "--overwrite")[0] == 0
    assert texts(Path("configs")) == texts(CONFIGS)


def test_the_course_to_fill_in_is_the_student_version(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "course", "mine", "--only", "01,03")[0] == 0
    made = sorted(Path("mine").iterdir())
    assert [path.name[:2] for path in made] == ["01", "03"]
    student = CONFIGS.parent / "notebooks" / "student"
    assert [path.read_bytes() for path in made] == [
        (student / path.name).read_bytes() for path in made
    ]


def test_an_unknown_notebook_makes_nothing(monkeypatch, capsys):
    code, _, error = call(monkeypatch, capsys, "course", "mine", "--only", "01,99")
    assert code == 1
    assert error.count("\n") == 1
    assert "99" in error
    assert not Path("mine").exists()


def test_a_graded_course_is_what_make_course_makes(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "course", "graded", "--graded", "--only", "03")[0] == 0
    assert Path("graded/nbgrader_config.py").is_file()
    text = Path("graded/source/03_ppo_clip/03_ppo_clip.ipynb").read_text(encoding="utf-8")
    assert "BEGIN HIDDEN TESTS" in text

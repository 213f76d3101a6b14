import errno
import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import (
    EventFileLoader,
    RawEventFileLoader,
)
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR

from ppo_bbrl.plots import read_metrics
from ppo_bbrl.runs.metric_names import OF_SOME_RUNS
from ppo_bbrl.runs.metrics import METRICS, Logger, _floats, metric_name

COMMON = [name for name in METRICS if name not in OF_SOME_RUNS]
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def run(tmp_path):
    """A run folder without metrics."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("algorithm: {seed: 1}\n")
    return folder


@pytest.fixture
def log_dir(tmp_path):
    return tmp_path / "tblogs"


@pytest.fixture
def logger(run, log_dir):
    with Logger(log_dir, run / "metrics.csv") as logger:
        yield logger


def scalars(log_dir):
    """What TensorBoard reads: metric → list of (step, value)."""
    events = EventAccumulator(str(log_dir)).Reload()
    return {
        metric_name(tag): [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def measured(run, metric):
    column = read_metrics(run).set_index("steps")[metric].dropna()
    return list(column.items())


# ------------------------------------------------------------------------------------- averages


def test_values_at_the_same_step_are_averaged(run, log_dir, logger):
    for step in (256, 512):
        for value in range(10):
            logger.log_losses(float(value), torch.tensor(0.5), torch.tensor(value / 10), step)
    logger.close()

    assert measured(run, "critic_loss") == [(256, 4.5), (512, 4.5)]
    assert scalars(log_dir)["critic_loss"] == [(256, 4.5), (512, 4.5)]
    assert scalars(log_dir)["actor_loss"] == [
        (256, pytest.approx(0.45)),
        (512, pytest.approx(0.45)),
    ]
    assert logger.newest()["entropy_loss"] == 0.5


def test_the_newest_values_are_those_of_the_row_that_is_not_written_yet(run, logger):
    logger.add_log("critic_loss", 1.0, 256)
    logger.add_log("reward/mean", 7.0, 256)
    logger.add_log("critic_loss", 2.0, 512)
    logger.add_log("critic_loss", torch.tensor(4.0), 512)
    assert logger.newest() == {"critic_loss": 3.0, "reward/mean": 7.0}
    logger.add_log("critic_loss", 6.0, 512)  # to ask has not closed the row
    logger.close()
    assert measured(run, "critic_loss") == [(256, 1.0), (512, 4.0)]


def test_averages_are_taken_in_double_precision(run, logger):
    values = [1e8, 1.0, -1e8]  # In float32 their sum is 0.
    for value in values:
        logger.add_log("critic_loss", torch.tensor(value), 1)
    logger.close()
    assert measured(run, "critic_loss") == [(1, 1 / 3)]


def test_a_row_is_written_when_a_later_step_begins(run, logger):
    logger.add_log("critic_loss", 1.0, 32)
    assert not (run / "metrics.csv").exists()
    logger.add_log("critic_loss", 2.0, 64)
    assert measured(run, "critic_loss") == [(32, 1.0)]
    assert logger.newest() == {"critic_loss": 2.0}
    logger.flush()
    assert measured(run, "critic_loss") == [(32, 1.0), (64, 2.0)]
    assert logger.newest() == {"critic_loss": 2.0}


def test_a_value_after_its_row_was_written_makes_a_further_row(run, log_dir, logger):
    logger.add_log("critic_loss", 1.0, 32)
    logger.add_log("critic_loss", 2.0, 64)
    logger.add_log("critic_loss", 5.0, 32)
    logger.add_log("critic_loss", 7.0, 32)
    logger.add_log("critic_loss", 4.0, 64)  # Its row is still open.
    logger.close()
    assert measured(run, "critic_loss") == [(32, 1.0), (32, 6.0), (64, 3.0)]
    assert sorted(scalars(log_dir)["critic_loss"]) == [(32, 1.0), (32, 6.0), (64, 3.0)]


def test_steps_that_start_again_are_written_as_they_come(run, logger):
    for _ in range(2):
        for step in range(32, 321, 32):
            logger.add_log("critic_loss", float(step), step)
    assert len(logger._rows.pending) <= 2
    logger.close()
    assert len(measured(run, "critic_loss")) == 20


def test_modulo_rounds_steps_down_and_averages(run):
    with Logger(None, run / "metrics.csv", modulo=100) as logger:
        for step in (0, 60, 120, 199, 200):
            logger.add_log("critic_loss", float(step), step)
    assert measured(run, "critic_loss") == [(0, 30.0), (100, 159.5), (200, 200.0)]
    with pytest.raises(ValueError, match="modulo must be at least 1, got 0"):
        Logger(None, None, modulo=0)


# --------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    "value",
    [
        3,
        3.0,
        True + 2,
        np.float32(3),
        np.int64(3),
        np.array(3.0),
        torch.tensor(3),
        torch.tensor(3.0, dtype=torch.bfloat16),
        torch.tensor(3.0, requires_grad=True),
        torch.tensor(1.5, requires_grad=True) * 2,
    ],
)
def test_every_kind_of_scalar(run, logger, value):
    logger.add_log("critic_loss", value, np.int64(7))
    logger.close()
    assert measured(run, "critic_loss") == [(7, 3.0)]


def test_a_logged_tensor_keeps_its_gradient_and_the_log_keeps_no_graph(logger):
    weight = torch.tensor(2.0, requires_grad=True)
    loss = weight**2
    logger.add_log("critic_loss", loss, 1)
    (kept,) = logger._rows.pending[1]["critic_loss"]
    assert not (isinstance(kept, torch.Tensor) and kept.requires_grad)
    loss.backward()
    assert weight.grad == 4.0


def test_changing_a_tensor_after_it_was_logged_does_not_change_the_log(run, logger):
    total = torch.zeros(())
    for _ in range(3):
        total += 1
        logger.add_log("critic_loss", total, 1)
    logger.close()
    assert measured(run, "critic_loss") == [(1, 2.0)]


def test_tensors_of_an_accelerator_are_read_together_and_in_order():
    values = [
        torch.tensor(0.1),
        2.5,
        torch.tensor(2**53 - 1),
        torch.tensor(True),
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor(0.7),
    ]
    expected = [float(np.float32(0.1)), 2.5, 2.0**53 - 1, 1.0, 0.1, float(np.float32(0.7))]
    assert _floats(values) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_logging_does_not_wait_for_a_gpu(run, logger):
    total = torch.zeros((), device="cuda", requires_grad=True) + 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            logger.add_log("critic_loss", total, 1)
            logger.add_log("clip_range", 0.5, 1)
            with torch.no_grad():
                total += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    logger.close()
    assert measured(run, "critic_loss") == [(1, 2.0)]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (torch.zeros(8, 2), "Tensor of shape (8, 2), torch.float32"),
        (torch.zeros(1), "Tensor of shape (1,), torch.float32"),
        (torch.tensor(1j), "Tensor of shape (), torch.complex64"),
        (np.zeros(3), "ndarray of shape (3,), float64"),
        (np.complex64(1j), "complex64 of shape (), complex64"),
        ([torch.ones(2, requires_grad=True)], "list"),
        ("0.5", "str"),
        (None, "NoneType"),
        (1j, "complex"),
    ],
)
def test_what_is_not_a_scalar_is_one_clear_error(run, logger, value, what):
    message = f"metric 'my/loss' must be a real scalar, got {what}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        logger.add_log("my/loss", value, 1)
    logger.close()
    assert not (run / "metrics.csv").exists()


def test_the_column_of_steps_cannot_be_a_metric(logger):
    with pytest.raises(ValueError, match="cannot be named 'steps'"):
        logger.add_log("steps", 1.0, 1)


def test_numbers_read_back_exactly(run, log_dir, logger):
    values = [0.1, 1 / 3, 1e-320, 1.7976931348623157e308, -5e-324, math.pi * 1e10, 2.0**53 + 2]
    values += np.random.default_rng(0).normal(size=200).tolist()
    for step, value in enumerate(values):
        logger.add_log("critic_loss", value, step)
    logger.close()
    assert [value for _, value in measured(run, "critic_loss")] == values
    with np.errstate(over="ignore"):
        assert scalars(log_dir)["critic_loss"] == [
            (step, float(np.float32(value))) for step, value in enumerate(values)
        ]


def test_nan_and_infinity_are_written_as_such(run, log_dir, logger):
    logger.log_losses(math.nan, torch.tensor(math.inf), -math.inf, 1)
    logger.close()
    cells = (run / "metrics.csv").read_text().splitlines()[1].split(",")
    assert cells[:4] == ["1", "nan", "inf", "-inf"]
    read = scalars(log_dir)
    assert math.isnan(read["critic_loss"][0][1])
    assert read["entropy_loss"] == [(1, math.inf)]
    assert read["actor_loss"] == [(1, -math.inf)]


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_returns_of_evaluation_episodes(logger, kind):
    logger.log_reward_losses(kind([1.0, 2.0, 4.0, 9.0]), 10)
    logger.flush()
    assert logger.newest() == {
        "reward/mean": 4.0,
        "reward/max": 9.0,
        "reward/min": 1.0,
        "reward/median": 3.0,  # torch.median would say 2.
    }


# ---------------------------------------------------------------------------------------- files


def test_logger_reads_back_and_closes(run, log_dir):
    logger = Logger(log_dir, run / "metrics.csv")
    logger.log_losses(0.5, 0.25, 0.125, 8)
    logger.close()
    logger.close()

    table = read_metrics(run)
    assert list(table.columns) == ["steps", *COMMON]
    row = table.iloc[0].dropna().to_dict()
    assert row == {"steps": 8, "critic_loss": 0.5, "entropy_loss": 0.25, "actor_loss": 0.125}
    assert {tag: values[0] for tag, values in scalars(log_dir).items()} == {
        "critic_loss": (8, 0.5),
        "entropy_loss": (8, 0.25),
        "actor_loss": (8, 0.125),
    }


def test_nothing_is_made_before_the_first_row(tmp_path):
    with Logger(tmp_path / "a" / "tb", tmp_path / "b" / "metrics.csv") as logger:
        logger.flush()
    assert list(tmp_path.iterdir()) == []


def test_either_output_can_be_left_out():
    with Logger(None, None) as logger:
        logger.add_log("critic_loss", 1.0, 1)
    assert logger.newest() == {"critic_loss": 1.0}


def test_one_event_per_step(log_dir, logger):
    for step in (1, 2, 3):
        for name in METRICS:
            logger.add_log(name, step, step)
    logger.close()
    (file,) = log_dir.iterdir()
    assert ".tfevents." in file.name
    events = list(EventFileLoader(str(file)).Load())
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert events[0].file_version == "brain.Event:2"
    assert [value.tag for value in events[1].summary.value] == [
        metric.tag for metric in METRICS.values()
    ]


def test_tensorboard_shows_returns_before_losses(log_dir, logger):
    """It shows the groups in alphabetical order; a name without a slash is a group of its own."""
    for name in METRICS:
        logger.add_log(name, 1.0, 1)
    logger.close()
    tags = EventAccumulator(str(log_dir)).Reload().Tags()["scalars"]
    groups = sorted({tag.partition("/")[0] for tag in tags})
    assert groups == ["episode", "reward", "time", "train"]
    assert all("/" in tag for tag in tags)


def test_a_metric_has_two_names(run, log_dir, logger):
    """That of the table, as ever, and that of TensorBoard."""
    for name, metric in METRICS.items():
        assert metric_name(name) == metric_name(metric.tag) == name
    logger.add_log("approx_kl", 1.0, 1)
    logger.add_log("train/approx_kl", 3.0, 1)
    assert logger.newest() == {"approx_kl": 2.0}
    logger.close()
    assert measured(run, "approx_kl") == [(1, 2.0)]
    assert list(EventAccumulator(str(log_dir)).Reload().Tags()["scalars"]) == ["train/approx_kl"]
    assert metric_name("mine") == "mine"


@pytest.mark.parametrize(
    ("elsewhere", "name"),
    [
        ("policy_loss", "actor_loss"),
        ("value_loss", "critic_loss"),
        ("entropy", "entropy_loss"),
        ("train/value_loss", "critic_loss"),
        ("losses/clipfrac", "clip_fraction"),
        ("charts/SPS", "steps_per_second"),
        ("rollout/ep_rew_mean", "episode/return"),
        ("charts/episodic_length", "episode/length"),
    ],
)
def test_a_metric_is_found_by_its_name_in_other_libraries(elsewhere, name):
    assert metric_name(elsewhere) == name
    assert name in METRICS


def test_a_metric_of_ones_own_may_have_such_a_name(run, logger):
    """Its values stay apart from ours, whose signs may differ."""
    logger.add_log("policy_loss", -1.0, 1)
    logger.add_log("actor_loss", 1.0, 1)
    logger.close()
    assert measured(run, "policy_loss") == [(1, -1.0)]
    assert measured(run, "actor_loss") == [(1, 1.0)]


def test_tensorboard_shows_what_each_metric_means(log_dir, logger):
    for step in (1, 2):
        for name in (*METRICS, "mine"):
            logger.add_log(name, step, step)
    logger.close()
    events = EventAccumulator(str(log_dir)).Reload()
    assert set(events.Tags()["scalars"]) == {*(m.tag for m in METRICS.values()), "mine"}
    for metric in METRICS.values():
        metadata = events.SummaryMetadata(metric.tag)
        assert metadata.plugin_data.plugin_name == "scalars"
        assert metadata.summary_description == metric.description
    # TensorBoard's fast loader drops the description without this.
    (file,) = log_dir.iterdir()
    first = Event.FromString(list(RawEventFileLoader(str(file)).Load())[1])
    assert first.summary.value[0].metadata.data_class == DATA_CLASS_SCALAR


def test_csv_and_tensorboard_hold_the_same_numbers(run, log_dir, logger):
    draw = np.random.default_rng(1)
    for step in range(0, 3200, 32):
        for name in METRICS:
            if draw.random() < 0.5:
                logger.add_log(name, torch.tensor(draw.normal()), step)
    logger.close()
    events = scalars(log_dir)
    assert set(events) == set(METRICS)
    for name in METRICS:
        assert events[name] == [(step, float(np.float32(v))) for step, v in measured(run, name)]


def test_a_new_name_adds_a_column_and_loses_nothing(run, log_dir, logger):
    logger.add_log("critic_loss", 0.1, 1)
    logger.add_log("critic_loss", 0.2, 2)
    logger.add_log('my "own", metric', 0.3, 2)
    logger.add_log("other", 0.4, 3)
    logger.add_log("critic_loss", 0.5, 4)
    logger.close()
    assert list(read_metrics(run).columns) == ["steps", *COMMON, 'my "own", metric', "other"]
    assert measured(run, "critic_loss") == [(1, 0.1), (2, 0.2), (4, 0.5)]
    assert measured(run, 'my "own", metric') == [(2, 0.3)]
    assert measured(run, "other") == [(3, 0.4)]
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.csv"]
    assert scalars(log_dir)["other"] == [(3, float(np.float32(0.4)))]


def test_values_after_close_are_appended(run, log_dir, logger):
    logger.add_log("critic_loss", 1.0, 1)
    logger.add_log("mine", 1.0, 1)
    logger.close()
    logger.add_log("mine", 2.0, 2)
    logger.close()
    with Logger(log_dir, run / "metrics.csv") as other:
        other.add_log("mine", 3.0, 3)
    assert measured(run, "mine") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert scalars(log_dir)["mine"] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_half_written_line_is_neither_read_nor_continued(run, logger):
    logger.add_log("critic_loss", 1.0, 1)
    logger.close()
    with (run / "metrics.csv").open("a") as file:
        file.write("2,3.14")
    assert measured(run, "critic_loss") == [(1, 1.0)]
    logger.add_log("critic_loss", 3.0, 3)
    logger.close()
    assert measured(run, "critic_loss") == [(1, 1.0), (3, 3.0)]


def test_a_killed_run_keeps_its_rows(run, log_dir):
    script = """
        import os, sys
        from pathlib import Path
        from ppo_bbrl.runs.metrics import Logger
        logger = Logger(Path(sys.argv[1]), Path(sys.argv[2]))
        for step in range(5):
            logger.add_log("critic_loss", step, step)
        os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), log_dir, run / "metrics.csv"]
    subprocess.run(command, check=True)
    assert measured(run, "critic_loss") == [(step, step) for step in range(4)]


@pytest.mark.slow
def test_a_logger_that_nobody_closes_writes_its_last_row(run, log_dir):
    script = """
        import sys
        from pathlib import Path
        from ppo_bbrl.runs.metrics import Logger
        logger = Logger(Path(sys.argv[1]), Path(sys.argv[2]))
        logger.add_log("critic_loss", 1.0, 1)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(
        [*command, log_dir, run / "metrics.csv"], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert measured(run, "critic_loss") == [(1, 1.0)]
    assert scalars(log_dir)["critic_loss"] == [(1, 1.0)]


def test_a_file_that_cannot_be_written_does_not_stop_the_run(run):
    blocked = run.parent / "file"
    blocked.write_text("")
    with Logger(blocked / "tb", run / "metrics.csv") as logger:
        logger.add_log("critic_loss", 1.0, 1)
        with pytest.warns(
            RuntimeWarning, match=r"no metrics in .*tb: .*; training goes on"
        ) as seen:
            logger.add_log("critic_loss", 2.0, 2)
        assert seen[0].filename == __file__
        logger.add_log("critic_loss", 3.0, 3)  # Neither tried nor warned about again so soon.
    assert measured(run, "critic_loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
@pytest.mark.parametrize("index", [0, 1])
def test_a_full_disk_costs_only_the_rows_that_did_not_fit(run, log_dir, index):
    with Logger(log_dir, run / "metrics.csv", every_n_seconds=0) as logger:
        logger.add_log("critic_loss", 1.0, 1)
        logger.flush()
        output = logger._rows.outputs[index]
        with open("/dev/full", "ab") as full:  # noqa: PTH123
            os.dup2(full.fileno(), output._file.fileno())
        logger.add_log("critic_loss", 2.0, 2)
        with pytest.warns(RuntimeWarning, match="No space left on device"):
            logger.flush()
        logger.add_log("critic_loss", 3.0, 3)
    rows = [(1, 1.0), (2, 2.0), (3, 3.0)]
    fitted = [rows[0], rows[2]]
    assert measured(run, "critic_loss") == (fitted if index == 0 else rows)
    assert scalars(log_dir)["critic_loss"] == (fitted if index == 1 else rows)


def test_a_new_column_that_does_not_fit_leaves_the_table_as_it_was(run, log_dir, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Logger(log_dir, run / "metrics.csv", every_n_seconds=0) as logger:
        logger.add_log("critic_loss", 1.0, 1)
        logger.flush()
        logger.add_log("mine", 2.0, 2)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail)
            with pytest.warns(RuntimeWarning, match="No space left on device"):
                logger.flush()
        assert measured(run, "critic_loss") == [(1, 1.0)]
        logger.add_log("mine", 3.0, 3)
    assert measured(run, "mine") == [(3, 3.0)]
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.csv"]


def test_a_logger_stays_in_its_files(tmp_path, monkeypatch):
    """An environment may change the current folder before the first row, or later."""
    with Logger(Path("tb"), Path("metrics.csv")) as logger:
        Path("elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        logger.add_log("critic_loss", 1.0, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "metrics.csv", "tb"}
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("index", [0, 1])
def test_rows_are_not_written_through_links(run, log_dir, tmp_path, index):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("steps,mine\n1,2\n")
    link = (run / "metrics.csv", log_dir)[index]
    link.symlink_to((outside / "file", outside)[index])
    logger = Logger(log_dir, run / "metrics.csv")
    logger.add_log("critic_loss", 1.0, 1)
    with pytest.warns(RuntimeWarning, match="symbolic link"):
        logger.close()
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "steps,mine\n1,2\n"


def test_verbose_prints_each_row(capsys):
    with Logger(None, None, verbose=True) as logger:
        logger.add_log("critic_loss", 0.5, 32)
        logger.add_log("clip_range", 1 / 3, 32)
    assert capsys.readouterr().out == "steps 32: critic_loss=0.5 clip_range=0.333333\n"


# ------------------------------------------------------------------------------------ the module


def test_the_document_describes_every_metric_in_the_words_of_the_table():
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert {name: (meaning, unit) for name, meaning, unit, *_ in rows} == {
        metric.name: (metric.description, metric.unit) for metric in METRICS.values()
    }
    assert len(rows) == len(METRICS)


def test_importing_starts_neither_tensorboard_nor_plotting():
    script = "import sys, ppo_bbrl.runs.metrics; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"tensorboard", "matplotlib", "pandas", "tensorflow"}

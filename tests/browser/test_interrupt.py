"""JupyterLab's "Interrupt Kernel", Ctrl-C for a notebook: run the cell again, and it goes on."""

import csv
import re

import nbformat
import pytest
from notebook_page import NotebookPage

pytestmark = pytest.mark.browser

NAME = "interrupted"
CELLS = [
    """from ppo_bbrl import PPOClip, run
algo = PPOClip({
    "base_dir": "interrupted", "save_every": 1000,
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {
        "seed": 1, "n_envs": 2, "n_steps": 32, "batch_size": 32, "max_epochs": 100_000,
        "eval_interval": 500, "nb_evals": 2,
        "architecture": {"actor_hidden_size": [16], "critic_hidden_size": [16]},
    },
    "compute": {"compile": "never"},
})""",
    "run(algo)",
    """done = algo.next_iteration
algo.cfg.algorithm.max_epochs = done + 5
print("interrupted after", done, "saved as", algo.last_checkpoint.name)""",
    "run(algo)",
    'print("went on to", algo.next_iteration, "with", algo.nb_steps, "steps")\nalgo.close()',
]


@pytest.fixture
def notebook(new_page, lab):
    address, folder = lab
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in CELLS])
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(content, folder / f"{NAME}.ipynb")
    page = new_page()
    page.goto(address.format(NAME))
    yield NotebookPage(page, content)
    page.close()


def test_an_interrupted_run_goes_on_when_its_cell_is_run_again(notebook, lab, screenshot):
    page, (_, folder) = notebook.page, lab
    interrupted = []

    def interrupt():
        if not interrupted and re.search(r"steps [\d,]+", notebook.output(1)):
            notebook.choose("Kernel", "Interrupt Kernel")
            interrupted.append(notebook.output(1))

    notebook.run_all(seconds=300, while_running=interrupt)
    assert interrupted, "the run was over, or never began"
    assert "KeyboardInterrupt" in notebook.output(1)
    assert notebook.stopped_at() == 1
    screenshot(page, "10-interrupted")

    notebook.cell(2).locator(".cm-line").first.click()
    notebook.run_all(seconds=300, item="Run Selected Cell and All Below")
    assert notebook.stopped_at() is None
    done, name = re.search(r"after (\d+) saved as (\S+)", notebook.output(2)).groups()
    assert name == f"iteration-{int(done):09}.pt"
    reached, steps = map(int, re.search(r"to (\d+) with (\d+)", notebook.output(4)).groups())
    assert reached == int(done) + 5
    with (folder / "outputs" / NAME / "metrics.csv").open(encoding="utf-8") as file:
        rows = [int(row["steps"]) for row in csv.DictReader(file)]
    assert rows == sorted(set(rows)), "an iteration came twice"
    assert len(rows) >= reached
    assert rows[-1] == steps
    screenshot(page, "11-went-on")

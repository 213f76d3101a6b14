"""A notebook run as a reader runs it, for the tests that look at what it shows."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


class NotebookRun:
    """A notebook, run in a folder of its own. nbclient has no keyboard: input() would raise.

    Its experiments are shortened where TESTING_MODE is set. `more` is the source of a last cell,
    run in the notebook's own kernel: it tells what the cells only draw. `kernel`, a manager, is one
    that others have used: of them it keeps the imported modules and nothing else.
    """

    def __init__(self, version, name, folder, *, more=None, timeout=300, kernel=None):
        self.content = nbformat.read(NOTEBOOKS / version / f"{name}.ipynb", as_version=4)
        if more is not None:
            self.content.cells.append(nbformat.v4.new_code_cell(more))
        if kernel is not None:
            clear = f"%reset -f\n%cd -q {folder}"
            self.content.cells.insert(0, nbformat.v4.new_code_cell(clear))
        self.client = NotebookClient(
            self.content,
            km=kernel,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )

    def run(self):
        try:
            self.client.execute()
        finally:
            if self.client.kc is not None:  # a kernel of others goes on
                self.client.kc.stop_channels()
        return self

    @property
    def cells(self):
        return [cell for cell in self.content.cells if cell.cell_type == "code"]

    def outputs(self, mime):
        return [
            output.data[mime]
            for cell in self.cells
            for output in cell.outputs
            if mime in output.get("data", {})
        ]

    def text(self, stream="stdout"):
        return "".join(
            output.text
            for cell in self.cells
            for output in cell.outputs
            if output.output_type == "stream" and output.name == stream
        )

    def told(self):
        """What `more` printed as JSON."""
        return json.loads(self.cells[-1].outputs[0].text)


def full_length(name, folder, *, more=None):
    """The solution with its experiments at full length, whatever the environment says.

    A cell may take half an hour: far more than a reader waits, so that a busy machine passes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", os.fspath(folder / "ipython"))
        patch.delenv("TESTING_MODE", raising=False)
        return NotebookRun("solution", name, folder, more=more, timeout=1800).run()

"""A browser, JupyterLab and TensorBoard, as a student has them in front of them.

`make test-browser` runs the tests of this folder, in minutes; with TESTING_MODE=on, in which the
notebook learns for a second only, in less. They use the Chromium of the system; where there
is none they are skipped. Screenshots are written to outputs/screenshots.
"""

import os
import secrets
import shutil
import subprocess
import sys

import pytest
from servers import ROOT, address_of, stop, wait_for, write_json

SCREENSHOTS = ROOT / "outputs" / "screenshots"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

#: JupyterLab as it is installed, but without its question about news, which needs a network, and
#: with all cells in the page, also those far below.
PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
NOTEBOOK_SETTINGS = {"windowingMode": "none"}


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (extra browser)"
    )
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is on PATH")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def new_page(browser):
    """Open another page. Its limits only notice what hangs: a busy machine is slow."""

    def open_page():
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(180_000)
        return page

    return open_page


@pytest.fixture(scope="session")
def screenshot():
    """Write what a page shows to a file of this name."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def write(page, name, **options):
        page.screenshot(path=SCREENSHOTS / f"{name}.png", **options)

    return write


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own on a copy of the student notebooks: its address, and the folder."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed (extra notebook)")
    home, folder = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("course")
    for notebook in (ROOT / "notebooks" / "student").glob("*.ipynb"):
        shutil.copy(notebook, folder)
    write_json(home / "config" / "labconfig" / "page_config.json", PAGE_CONFIG)
    write_json(
        home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings",
        NOTEBOOK_SETTINGS,
    )
    token = secrets.token_hex(16)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    if os.geteuid() == 0:
        command.append("--allow-root")
    log = home / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            (running,) = wait_for(
                lambda: list((home / "runtime").glob("jpserver-*.json")),
                f"JupyterLab ({log})",
                seconds=180,
                process=process,
            )
            address = wait_for(lambda: address_of(running), "its address", seconds=30)
            # A workspace for each notebook, or the tabs of the one before would open with it.
            yield f"{address}lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}", folder
        finally:
            stop(process)

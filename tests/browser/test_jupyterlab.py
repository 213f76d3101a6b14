"""Notebook 03 in JupyterLab, as a student goes through it; TensorBoard on what the run wrote."""

import io
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field

import nbformat
import pytest
from notebook_page import STUB, NotebookPage
from PIL import Image
from servers import ROOT, stop, wait_for

pytestmark = pytest.mark.browser

NAME = "03_ppo_clip"
STUDENT = sorted(path.stem for path in (ROOT / "notebooks" / "student").glob("*.ipynb"))
SHORT = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")


def answers_to(name):
    """What the solution has in the places of the stubs of a function or class, in their order."""
    cells = nbformat.read(ROOT / "notebooks" / "solution" / f"{NAME}.ipynb", as_version=4).cells
    stubs = nbformat.read(ROOT / "notebooks" / "student" / f"{NAME}.ipynb", as_version=4).cells
    (cell,) = [cell for cell in cells if cell.source.startswith(name)]
    (stub,) = [cell for cell in stubs if cell.source.startswith(name) and STUB in cell.source]
    before, *given = stub.source.split(STUB)
    rest, answers = cell.source.removeprefix(before), []
    for text in given:
        answer, _, rest = rest.partition(text) if text else (rest, "", "")
        answers.append(answer)
    return answers


@dataclass
class Session:
    """What was seen of a student's session."""

    notebook: NotebookPage
    stops: list[tuple[int, str]] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)


def percent(shown):
    """How far a progress bar has come."""
    return int(re.search(r"(\d+) %", shown)[1])


@pytest.fixture(scope="module")
def session(new_page, lab, screenshot):
    """The exercise filled in wrongly, then rightly; the second one; then all cells run."""
    address, folder = lab
    page = new_page()
    page.goto(address.format(NAME))
    notebook = NotebookPage(page, nbformat.read(folder / f"{NAME}.ipynb", as_version=4))
    seen = Session(notebook)
    screenshot(page, "1-opened")

    def run_until_it_stops(name):
        notebook.run_all(seconds=300)
        stopped = notebook.stopped_at()
        assert stopped is not None, "an exercise is missing, and all cells ran"
        seen.stops.append((stopped, notebook.output(stopped)))
        notebook.cell(stopped).scroll_into_view_if_needed()
        screenshot(page, name)

    run_until_it_stops("2-not-written")
    objective = notebook.number("def policy_objective(")
    (right,) = answers_to("def policy_objective(")
    wrong = right.replace("torch.min(", "torch.max(")
    assert wrong != right
    notebook.fill_in(objective, STUB, wrong)
    run_until_it_stops("3-wrong")
    # As a student would: the one word, not the whole cell anew.
    line = next(line for line in wrong.split("\n") if "torch.max(" in line)
    notebook.fill_in(objective, line, line.strip().replace("torch.max(", "torch.min("))
    run_until_it_stops("4-right")
    for number, cell in enumerate(notebook.content.cells):
        if cell.cell_type == "code" and STUB in cell.source and number != objective:
            for answer in answers_to(cell.source.partition("\n")[0]):
                notebook.fill_in(number, STUB, answer)

    training = notebook.number("run(ppo_clip)\n")

    def watch():
        shown = notebook.output(training)
        if re.search(r"\d+ %", shown) and shown not in seen.progress:
            before = percent(seen.progress[-1]) if seen.progress else 0
            seen.progress.append(shown)
            if before < 30 <= percent(shown):
                notebook.cell(training).scroll_into_view_if_needed()
                screenshot(page, "5-progress")

    notebook.run_all(seconds=1200, while_running=watch)
    yield seen
    page.close()


def test_an_unwritten_exercise_stops_at_its_check(session):
    stopped, message = session.stops[0]
    assert stopped == session.notebook.number("check_policy_objective(policy_objective)")
    assert "policy_objective is not written yet" in message
    assert "Traceback" not in message


def test_a_wrong_exercise_is_told_its_mistake(session):
    stopped, message = session.stops[1]
    assert stopped == session.notebook.number("check_policy_objective(policy_objective)")
    assert "the larger of the two products is taken" in message
    assert "Where to look: max or min" in message
    assert "Traceback" not in message


def test_the_right_one_goes_on_to_the_next_exercise(session):
    stopped, message = session.stops[2]
    assert stopped == session.notebook.number("check_is_clipped(is_clipped)")
    assert "is_clipped is not written yet" in message


def test_then_all_cells_run(session):
    notebook = session.notebook
    assert notebook.stopped_at() is None
    numbers = [prompt.strip("[]:") for prompt in notebook.prompts()]  # empty where collapsed
    first = int(numbers[0])
    assert all(one in ("", str(first + place)) for place, one in enumerate(numbers))
    checks = [
        number
        for number, cell in enumerate(notebook.content.cells)
        if cell.cell_type == "code" and cell.source.startswith("check_")
    ]
    assert len(checks) >= 5
    for number in checks:
        assert "Well done!" in notebook.output(number)


def test_the_progress_of_the_run_is_seen_while_it_goes_on(session):
    percents = [percent(shown) for shown in session.progress]
    assert len(set(percents)) >= 4
    assert percents == sorted(percents)
    assert percents[0] < 50
    assert re.search(r"[█░]{20} \d+ %  steps [\d,]+  steps/s [\d,]+", session.progress[0])


def test_pictures_are_seen(session, screenshot):
    notebook, page = session.notebook, session.notebook.page
    every = range(len(notebook.content.cells))
    cells = [n for n in every if notebook.cell(n).locator(".jp-OutputArea img").count()]
    drawn = ["workspace_grid(", "plt.subplots", "learning_curve(", "report.figure("]
    drawn += ["policy_map(", "critic_map("]
    assert {notebook.number(words) for words in drawn} <= set(cells)
    for number in cells:
        picture = notebook.cell(number).locator(".jp-OutputArea img").first
        picture.scroll_into_view_if_needed()
        width = picture.evaluate("image => image.complete && image.naturalWidth")
        assert width > 100
        assert picture.bounding_box()["width"] < page.viewport_size["width"]
        screenshot(page, f"6-picture-{number:02}")


def test_the_video_plays(session, screenshot):
    notebook, page = session.notebook, session.notebook.page
    video = notebook.cell(notebook.number("visualize_best()")).locator("video")
    assert video.count() == 1
    # Chromium begins when the video is in sight.
    video.scroll_into_view_if_needed()
    page.wait_for_function(
        "video => !video.paused && video.currentTime > 0", arg=video.element_handle()
    )
    first = video.evaluate("video => video.currentTime")
    page.wait_for_timeout(1500)
    second = video.evaluate("video => video.currentTime")
    screenshot(page, "7-video")
    if SHORT:
        assert second != first  # it begins anew every second
    else:
        assert second > first
        assert video.evaluate("video => video.duration") > 5  # the pole stays up
    assert video.evaluate("video => video.videoWidth") > 100
    assert video.evaluate("video => video.error") is None


def test_each_choice_of_the_quiz_is_answered(session, screenshot):
    notebook = session.notebook
    number = notebook.number('quiz("03", 1, "?")')
    assert "put your choice in place of" in notebook.output(number)
    before, told = "?", []
    for choice in "bc":
        asked = 'quiz("03", 1, "{}")'
        notebook.fill_in(number, asked.format(before), asked.format(choice))
        notebook.run_all(seconds=60, item="Run Selected Cell")
        told.append(notebook.output(number))
        before = choice
    assert told[0].startswith("(b) No. This is the clipped product")
    assert told[1].startswith("(c) Yes. The ratio is 1.5")
    screenshot(notebook.page, "8-quiz")


def look_at_curves(page, tags):
    """Choose some curves in TensorBoard's page, and wait until each is drawn."""
    box = page.get_by_role("combobox", name="Filter tags (regex)")
    box.fill("|".join(f"^{tag}$" for tag in tags))
    box.press("Escape")  # the list of tags would hide the cards
    for tag in tags:
        # Those of the groups stay in the page, hidden, while there is a filter.
        card = page.locator("scalar-card:visible", has=page.locator(f'[title="{tag}"]'))
        card.wait_for()
        card.scroll_into_view_if_needed()
        wait_for(lambda card=card: coloured(card.screenshot()) > 200, tag, seconds=180)


def coloured(picture):
    """How many pixels of a card's chart are neither white, grey nor black: those of curves."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    chart = image.crop((0, 0, image.width, image.height * 6 // 10))  # below it is a table
    return sum(max(pixel) - min(pixel) > 40 for pixel in chart.getdata())


def test_tensorboard_shows_the_curves_of_the_run(session, new_page, lab, screenshot, tmp_path):
    """The command is the one that the notebook tells."""
    _, folder = lab
    told = session.notebook.output(session.notebook.number("setup_tensorboard("))
    command = shlex.split(told.partition("start TensorBoard:")[2])
    assert command[-2] == "--logdir"
    if SHORT:  # what tests write lies elsewhere
        command[-1] = command[-1].replace("/outputs/", "/outputs-testing/")
    log = tmp_path / "tensorboard.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port=0"], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            (address,) = wait_for(
                lambda: re.findall(r"http://\S+", log.read_text()),
                "TensorBoard",
                seconds=180,
                process=process,
            )
            page = new_page()
            page.goto(address)
            page.locator("scalar-card").first.wait_for()
            look_at_curves(page, ["reward/mean", "clipped"])
            screenshot(page, "9-tensorboard")
            page.close()
        finally:
            stop(process)


@pytest.mark.parametrize("name", STUDENT)
def test_formulas_are_set_and_no_text_is_left_raw(name, new_page, lab):
    """MathJax itself has read every formula of the notebook."""
    address, folder = lab
    page = new_page()
    page.goto(address.format(name))
    NotebookPage(page, nbformat.read(folder / f"{name}.ipynb", as_version=4))
    page.wait_for_selector("mjx-container", state="attached")
    page.wait_for_timeout(2000)
    errors = page.locator("mjx-merror, [data-mjx-error]").all_text_contents()
    assert errors == []
    shown = page.locator(".jp-MarkdownOutput").all_inner_texts()
    raw = [text for text in shown if re.search(r"\$\$|\$\\|\\(frac|hat|text)|</?details", text)]
    assert raw == []
    page.close()

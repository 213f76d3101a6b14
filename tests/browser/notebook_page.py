"""A notebook open in JupyterLab, and what a reader does with it."""

import re
import time

ASK_AGAIN = 20  # seconds
STUB = "assert False, 'Not implemented yet'"


class NotebookPage:
    """Cells are numbered as in the file.

    Args:
        page: of playwright; shows the notebook.
        content: the notebook, as read from its file.
    """

    def __init__(self, page, content):
        self.page, self.content = page, content
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(
            "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length === count",
            arg=len(content.cells),
        )
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')

    def number(self, *words, kind="code"):
        """The number of the first cell with these words."""
        return next(
            number
            for number, cell in enumerate(self.content.cells)
            if cell.cell_type == kind and all(word in cell.source for word in words)
        )

    def cell(self, number):
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def fill_in(self, number, old, new):
        """Put `new` in the place of the lines `old` of a cell, by mouse and keyboard."""
        cell, keyboard = self.cell(number), self.page.keyboard
        cell.scroll_into_view_if_needed()
        first, *others = old.split("\n")
        cell.locator(".cm-line", has_text=first.strip()).first.click()
        keyboard.press("Home")
        for _ in others:
            keyboard.press("Shift+ArrowDown")
        keyboard.press("Shift+End")
        keyboard.insert_text(new)

    def choose(self, menu, item):
        """A command of the menu bar."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}$")).click()

    def prompts(self):
        """What stands before the code cells: `[3]:`, `[*]:` while it runs, `[ ]:` if it did not."""
        found = self.page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
        return [prompt.strip() for prompt in found]

    def run_all(self, *, seconds, while_running=lambda: None, item="Run All Cells"):
        """Run cells by an item of the menu; returns when none is running any more."""
        before = self.prompts()
        self.choose("Run", item)
        begun = asked = time.monotonic()
        while "[*]:" in (prompts := self.prompts()) or prompts == before:
            now = time.monotonic()
            assert now < begun + seconds, f"still running after {seconds} s: {prompts}"
            if prompts == before and now > asked + ASK_AGAIN:
                # JupyterLab drops it without a word while a slow kernel is not connected yet.
                self.choose("Run", item)
                asked = now
            while_running()
            self.page.wait_for_timeout(200)

    def output(self, number):
        """The text that a cell shows below itself."""
        area = self.cell(number).locator(".jp-OutputArea").first
        return area.inner_text() if area.count() else ""

    def stopped_at(self):
        """The number of the cell after which no other ran; None if all did."""
        prompts = self.prompts()
        if "[ ]:" not in prompts:
            return None
        code = [n for n, cell in enumerate(self.content.cells) if cell.cell_type == "code"]
        return code[prompts.index("[ ]:") - 1]

"""What a student's code may not do while it is graded: start processes, go online, look around.

Python tells an audit hook of such events before they happen, and a hook cannot be taken away.
The boundary refuses it too (`boundary`); this says so in words, and keeps the insides of Python out
of reach.
"""

import _thread
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ppo_course.grading.whose import Whose

PROCESSES = (
    "os.exec os.fork os.forkpty os.kill os.killpg os.posix_spawn os.spawn os.startfile os.system "
    "pty.spawn signal.pthread_kill subprocess.Popen"
)
NETWORK = "socket.bind socket.connect socket.getaddrinfo socket.gethostbyname"
INTERPRETER = (
    "cpython.PyInterpreterState_New gc.get_objects gc.get_referents gc.get_referrers "
    "sqlite3.connect sys._current_frames sys.addaudithook sys.settrace"
)
FOREIGN_CODE = "ctypes."
FILES = (
    "os.chmod os.chown os.link os.mkdir os.remove os.rename os.rmdir os.symlink os.truncate "
    "os.utime shutil.move shutil.rmtree"
)
#: what leads from an exception or a generator to the frames of the check
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")

#: what else a function consists of
REWRITTEN = ("__defaults__", "__kwdefaults__")

HANDING_OUT_FRAMES = ("inspect", "logging", "traceback")

#: events about code that is made
MADE = ("code.__new__", "compile", "marshal.loads")

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NotAllowedError(PermissionError):
    """Something that may not be done while a notebook is graded."""


def install(*, scratch: str, hidden: Sequence[str], whose: Whose) -> None:
    """Refuse the events above in this process, for good.

    Args:
        scratch: the folder in which files may be written.
        hidden: folders whose files may not be read: the course with everybody's work, the checks.
        whose: what tells a student's code.
    """
    folders = [os.path.realpath(each) for each in hidden]
    sys.addaudithook(_hook(os.path.realpath(scratch), folders, whose))


def refuse_threads() -> None:
    """Let no thread begin in this process, for good; Python has no event for it."""

    def refused(*_: Any, **__: Any) -> None:
        raise NotAllowedError("not allowed while the notebook is graded: starting a thread")

    for module in (_thread, threading):
        for name in vars(module):
            if name.lstrip("_").startswith("start_"):
                setattr(module, name, refused)


def _hook(
    scratch: str, hidden: Sequence[str], whose: Whose
) -> Callable[[str, tuple[Any, ...]], None]:
    refused = {event: event for event in f"{PROCESSES} {NETWORK} {INTERPRETER}".split()}
    # Python itself does it, after an error in the profiler.
    refused["sys.setprofile"] = "recursion without end, or another profiler"
    # Kept here, out of reach of whoever replaces them in their modules.
    realpath, fspath, getframe, error = os.path.realpath, os.fspath, sys._getframe, NotAllowedError
    separator, string, files = os.sep, str, FILES.split()
    of_student, forged = whose[0], _forged(whose)

    def below(path: Any, folder: str) -> bool:
        if isinstance(path, int):  # an open file
            return True
        text = fspath(path)
        real = realpath(text.decode() if isinstance(text, bytes) else text)
        return real == folder or real.startswith(folder + separator)

    def refuse(what: str) -> None:
        raise error(f"not allowed while the notebook is graded: {what}")

    def open_file(path: Any, flags: int) -> None:
        if isinstance(path, int) or path is None:
            return
        if below(path, scratch):
            if string(path).endswith(".pyc"):  # code that says where it is from as it likes
                refuse("compiled Python of one's own")
            return
        if flags & WRITING and path != os.devnull:
            refuse(f"writing {string(path)}")
        for folder in hidden:
            if below(path, folder):
                refuse(f"reading {string(path)}")

    looking = False  # the hook's own looking at frames is an event too

    def look_at_frames() -> None:
        nonlocal looking
        if looking:
            return
        looking = True
        frame = getframe(2)
        looking = False
        if of_student(frame.f_code) or (
            # Not further up: libraries look at frames too, for a student who knows nothing of it.
            frame.f_globals.get("__name__") in HANDING_OUT_FRAMES and by_student(frame.f_back)
        ):
            refuse("looking at the frames of the interpreter")

    def by_student(frame: FrameType | None) -> bool:
        return frame is not None and of_student(frame.f_code)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "object.__getattr__":  # the one that comes all the time
            if arguments[1] in FRAMES:
                look_at_frames()
        elif event == "open":
            open_file(arguments[0], arguments[2])
        elif event in MADE and forged(event, arguments, getframe(1)):
            refuse("code under the name of another file")
        elif event in refused or event.startswith(FOREIGN_CODE):
            refuse(refused.get(event, event))
        elif event == "import":
            if arguments[1] is not None and below(arguments[1], scratch):
                refuse("native code of one's own")
        elif event in files and not below(arguments[0], scratch):
            refuse(event)
        elif event == "sys._getframe":
            look_at_frames()
        elif event == "object.__setattr__" and (
            arguments[1] == "__code__" or (arguments[1] in REWRITTEN and by_student(getframe(1)))
        ):
            refuse("changing the code of a function")

    return hook


def _forged(whose: Whose) -> Callable[[str, tuple[Any, ...], FrameType], bool]:
    """What finds code that is made under the name of another file: one knows by it whose it is."""
    (of_student, named), open_code = whose, io.open_code
    string, separator = str, os.sep

    def forged(event: str, arguments: tuple[Any, ...], frame: FrameType) -> bool:
        if event != "marshal.loads":
            source, name = arguments[:2]
            if type(name) is not string or named(name):
                return False
            if event == "compile" and isinstance(source, string | bytes):
                with contextlib.suppress(OSError):
                    file = open_code(name) if name.startswith(separator) else io.BytesIO()
                    with file:
                        text = file.read()
                    if text and source in (text, text.decode("utf-8", "replace")):
                        return False  # as when a module is imported
                return True
        return of_student(frame.f_code)  # packages change code of theirs

    return forged

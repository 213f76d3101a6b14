"""Hostile solution cells: what a student could hand in instead of an answer.

Each stands in the solution cell of the exercise `is_clipped`. Names in capitals are filled
in: BOB and CONFIG are files of the course, OUTSIDE and EXCHANGE are folders, HOME_FILE lies in the
teacher's home, CHECKS and CLONE are the package's checks and the folder of its clone, PORT and
SOCKET are those of a listener, SLEEP is the name of a program that would go on.
"""

#: asks the kernel itself, by the numbers of x86-64, whatever Python's own functions would refuse
CALLS = """import ctypes, os
call = ctypes.pythonapi.syscall
call.restype = ctypes.c_long
def ask(*given):
    found = call(*given)
    print('GRANTED' if found >= 0 else 'no', given[0])
    return found
"""

#: starts another program, a process, a thread, another interpreter
PROGRAMS = {
    "a shell": "import os\nos.system('SLEEP &')",
    "a subprocess": "import subprocess\nsubprocess.Popen('SLEEP'.split())",
    "a spawned process": (
        "import os\nos.posix_spawn('/bin/sleep', 'SLEEP'.split(), {}, setpgroup=0)"
    ),
    "multiprocessing's own way": (
        "from multiprocessing.util import spawnv_passfds\n"
        "spawnv_passfds(b'/bin/sh', [b'sh', b'-c', b'setsid SLEEP &'], [])"
    ),
    "subprocess's own way": (
        "import _posixsubprocess, os, sys\n"
        "command = [b'/bin/sh', b'-c', b'setsid SLEEP &']\n"
        "given = [command, command[:1], True, (), None, None, *[-1] * 6, *os.pipe()]\n"
        "given += [False, False, 0, None, None, None, -1, None]\n"
        "given += [False] * (sys.version_info > (3, 11))\n"
        "_posixsubprocess.fork_exec(*given)"
    ),
    "a fork that leaves its session": (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', 'SLEEP'.split())"
    ),
    "another program in its place": "import os\nos.execvp('sleep', 'SLEEP'.split())",
    "a terminal of its own": "import pty\npty.spawn('SLEEP'.split())",
    "a fork with a terminal": "import os\nos.forkpty()",
    "a fork bomb": "import os\nwhile True:\n    os.fork()",
    "a process of multiprocessing": (
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()"
    ),
    "a thread": "import threading\nthreading.Thread(target=print).start()",
    "a thread of a fresh module": (
        "import importlib, sys\ndel sys.modules['_thread']\n"
        "importlib.import_module('_thread').start_new_thread(print, ())"
    ),
    "an interpreter without hooks": (
        "import _xxsubinterpreters as interpreters\n"
        "interpreters.run_string(interpreters.create(), 'import os; os.system(\"SLEEP &\")')"
    ),
    "a function of C": "import ctypes\nctypes.CDLL(None).system(b'SLEEP &')",
    "a function of C by cffi": (
        "from cffi import FFI\nffi = FFI()\nffi.cdef('int system(const char *);')\n"
        "ffi.dlopen(None).system(b'SLEEP &')"
    ),
    "native code of its own": (
        "import importlib.machinery, importlib.util, pathlib, shutil, sysconfig\n"
        "libraries = pathlib.Path(sysconfig.get_config_var('DESTSHARED')).glob('_bisect*.so')\n"
        "shutil.copyfile(next(libraries), '_bisect.so')\n"
        "loader = importlib.machinery.ExtensionFileLoader('_bisect', '_bisect.so')\n"
        "spec = importlib.util.spec_from_loader('_bisect', loader)\n"
        "print('LOADED', loader.create_module(spec))"
    ),
    "a bomb of sessions": (
        "import os\nfor _ in range(50):\n    try:\n        os.setsid()\n    except OSError:\n"
        "        pass\n    if os.fork() == 0:\n        os.execvp('sleep', 'SLEEP'.split())"
    ),
    "a queue of the kernel's own": CALLS + "ask(425, 8, ctypes.create_string_buffer(120))",
}

#: reaches for other processes: the worker, the next student's
PROCESSES = {
    "a signal to its parent": "import os\nos.kill(os.getppid(), 9)",
    "a signal to all": "import os\nos.kill(-1, 9)",
    "a signal by a file descriptor": (
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)"
    ),
    "a signal when a pipe is ready": (
        "import fcntl, os, signal\nreading, writing = os.pipe()\n"
        "fcntl.fcntl(reading, 8, os.getppid())\nfcntl.fcntl(reading, 10, int(signal.SIGKILL))\n"
        "fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)\nos.write(writing, b'x')"
    ),
    "its parent's limits": (
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))"
    ),
    "its own limits": (
        "import resource\nfor limit in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):\n"
        "    print(resource.setrlimit(limit, (10**6, 10**6)) or 'RAISED')"
    ),
    "its parent's cores": "import os\nos.sched_setaffinity(os.getppid(), {0})",
    "its parent's priority": "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'r+b').write(b'x')",
    "its parent's files": (
        "import os\nfor name in range(8):\n    try:\n"
        "        open(f'/proc/{os.getppid()}/fd/{name}', 'wb').write(b'{}\\n')\n"
        "    except OSError:\n        pass"
    ),
    "its parent's group": "import os\nos.killpg(os.getpgid(os.getppid()), 9)",
    "shared memory that is left": (
        "from multiprocessing import shared_memory\n"
        "shared_memory.SharedMemory('left', create=True, size=64)"
    ),
    "its own group": "import os\nos.killpg(0, 9)",
}

READ = "with open({}) as file:\n    print(file.read())"
#: reads what it should not see
READING = {
    "another submission": "print(open('BOB').read())",
    "another submission by a descriptor": (
        "import os\nfolder = os.open('/', os.O_RDONLY)\n"
        "print(os.read(os.open('BOB'[1:], os.O_RDONLY, dir_fd=folder), 1000))"
    ),
    "another submission by torch": (
        "import torch\n"
        "print(bytes(torch.from_file('BOB', size=20, dtype=torch.uint8).tolist()).decode())"
    ),
    "another submission by numpy": "import numpy\nprint(numpy.fromfile('BOB', dtype='S20'))",
    "another submission by a link": (
        "import os\nos.symlink('BOB', 'mine')\nprint(open('mine').read())"
    ),
    "another submission by a second name": (
        "import os\nos.link('BOB', 'mine')\nprint(open('mine').read())"
    ),
    "another submission by the process": "print(open('/proc/self/root/BOB').read())",
    "another submission by its parent": (
        "import os\nprint(open(f'/proc/{os.getppid()}/root/BOB').read())"
    ),
    "another submission as a module": (
        "import importlib.machinery\n"
        "print(importlib.machinery.SourceFileLoader('bob', 'BOB').get_data('BOB').decode())"
    ),
    "another submission by SQLite": (
        "import sqlite3\nprint(sqlite3.connect('file:BOB?mode=ro', uri=True).execute('.dump'))"
    ),
    "the names of the students": "import os\nprint(os.listdir('OUTSIDE/course/submitted'))",
    "the names of the students by scanning": (
        "import os\nprint([e.name for e in os.scandir('OUTSIDE/course/submitted')])"
    ),
    "the exchange": "print(open('EXCHANGE/inbound.txt').read())",
    "the home": "print(open('HOME_FILE').read())",
    "the system's users": "print(open('/etc/passwd').read())",
    "the checks": "print(open('CHECKS/nb10_bug_hunt/suspects.py').read())",
    "the checks by their bytes": (
        "import pathlib\nprint([path.read_bytes() for path in pathlib.Path('CHECKS').rglob('*')])"
    ),
    "the answers of the clone": (
        "import pathlib\nprint(pathlib.Path('CLONE/notebooks/source/03_ppo_clip.py').read_text())"
    ),
    "the tests of the clone": (
        "import pathlib\nprint(pathlib.Path('CLONE/tests/course/grading/attacks.py').read_text())"
    ),
    "the environment of the teacher": (
        "import os\nprint(os.environ)\nprint(open(f'/proc/{os.getppid()}/environ').read())"
    ),
}

#: writes, deletes or changes what is not its own
WRITING = {
    "the second path of replace": (
        "import os\nopen('mine', 'w').write('pwned')\nos.replace('mine', 'BOB')"
    ),
    "the second path of rename": (
        "import os\nopen('mine', 'w').write('pwned')\nos.rename('mine', 'CONFIG')"
    ),
    "the first path of rename": "import os\nos.rename('BOB', 'mine')",
    "a second name outside": (
        "import os\nopen('mine', 'w').write('pwned')\nos.link('mine', 'OUTSIDE/new')"
    ),
    "a link outside": "import os\nos.symlink('/etc/passwd', 'OUTSIDE/new')",
    "a new file": "open('OUTSIDE/new', 'w').write('pwned')",
    "the configuration": "open('CONFIG', 'a').write('import os')",
    "a file by a descriptor": (
        "import os\nfolder = os.open('/', os.O_RDONLY)\n"
        "os.write(os.open('BOB'[1:], os.O_WRONLY | os.O_TRUNC, dir_fd=folder), b'pwned')"
    ),
    "a removed file by a descriptor": (
        "import os\nos.remove('BOB'[1:], dir_fd=os.open('/', os.O_RDONLY))"
    ),
    "a removed file": "import os\nos.remove('BOB')",
    "a removed folder": "import shutil\nshutil.rmtree('OUTSIDE/course', ignore_errors=True)",
    "a file of torch": (
        "import torch\ntorch._C.PyTorchFileWriter('OUTSIDE/new').write_end_of_file()"
    ),
    "a file mapped by torch": (
        "import torch\ntorch.from_file('BOB', shared=True, size=20, dtype=torch.uint8).fill_(65)"
    ),
    "a file of numpy": "import numpy\nnumpy.save('OUTSIDE/new', numpy.zeros(3))",
    "a file mapped by numpy": (
        "import numpy\nnumpy.memmap('BOB', dtype='uint8', mode='r+')[:] = 65"
    ),
    "a shortened file": "import os\nos.truncate('BOB', 0)",
    "a pipe": "import os\nos.mkfifo('OUTSIDE/new')",
    "a device": "import os\nos.mknod('OUTSIDE/new')",
    "a folder": "import os\nos.mkdir('OUTSIDE/new')",
    "a mode": "import os\nos.chmod('BOB', 0o777)",
    "an owner": "import os\nos.chown('BOB', 1, 1)",
    "a time": "import os\nos.utime('BOB', (1, 1))",
    "an attribute": "import os\nos.setxattr('BOB', 'user.mine', b'pwned')",
    "a database": (
        "import sqlite3\nwith sqlite3.connect('OUTSIDE/new') as it:\n"
        "    it.execute('create table a (b)')"
    ),
    "a log": "import logging\nlogging.FileHandler('OUTSIDE/new')",
    "an archive": "import zipfile\nzipfile.ZipFile('OUTSIDE/new', 'w').writestr('a', 'b')",
    "the package": "open('CHECKS/../__init__.py', 'a').write('import os')",
    "another root": "import os\nos.chroot('.')",
}

#: sends something to the listener
NETWORK = {
    "a datagram": (
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        ".sendto(b'x', ('127.0.0.1', PORT))"
    ),
    "a connection": "import socket\nsocket.create_connection(('127.0.0.1', PORT))",
    "a connection of C's module": (
        "import _socket\n_socket.socket(2, 1, 0).connect_ex(('127.0.0.1', PORT))"
    ),
    "a local socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('SOCKET')",
    "a local datagram": (
        "import socket\none, other = socket.socketpair(type=socket.SOCK_DGRAM)\n"
        "one.sendto(b'x', 'SOCKET')"
    ),
    "a page": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT/')",
    "a store of torch": (
        "import torch.distributed as parallel\n"
        "parallel.TCPStore('127.0.0.1', PORT, is_master=False, timeout=__import__('datetime')"
        ".timedelta(seconds=1))"
    ),
    "a connection of asyncio": (
        "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', PORT))"
    ),
    "a name": "import socket\nsocket.getaddrinfo('localhost', PORT)",
    "a server": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "a local socket without a file": (
        "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0SOCKET')"
    ),
}

FRAMES = """
def give(frame):
    while frame is not None:
        for name in ("is_clipped", "expected", "right", "secret", "check"):
            print(name, frame.f_locals.get(name))
        names = frame.f_globals
        for name in ("_run", "_judge", "_taken", "_found", "_told", "_try", "_tampered"):
            if name in names:
                names[name] = lambda *_, **__: ("passed", "")
        for value in list(frame.f_locals.values()):
            if isinstance(value, list):
                value[:] = [(None, None)] * len(value)
        if "right" in names:
            global answer
            answer = names["right"]
        frame = frame.f_back


answer = None


def is_clipped(*given):
    look()
    return answer(*given) if answer else 0


"""
#: wants to pass without an answer
FORGING = {
    "a frame of a signal handler": FRAMES
    + (
        "import signal\nsignal.signal(signal.SIGUSR1, lambda _, frame: give(frame))\n"
        "def look():\n    signal.raise_signal(signal.SIGUSR1)"
    ),
    "a frame of an interrupt": FRAMES
    + (
        "import _thread, signal\nsignal.signal(signal.SIGINT, lambda _, frame: give(frame))\n"
        "def look():\n    _thread.interrupt_main()"
    ),
    "a frame of an alarm": FRAMES
    + (
        "import signal\nsignal.signal(signal.SIGALRM, lambda _, frame: give(frame))\n"
        "def look():\n    signal.setitimer(signal.ITIMER_REAL, 0.001)\n    sum(range(10**6))"
    ),
    "a frame of a timer": FRAMES
    + (
        "import signal\nsignal.signal(signal.SIGPROF, lambda _, frame: give(frame))\n"
        "signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)\ndef look():\n    sum(range(10**6))"
    ),
    "a frame of logging": FRAMES + "import logging\ndef look():\n    give(logging.currentframe())",
    "a frame of inspect": FRAMES + "import inspect\ndef look():\n    give(inspect.currentframe())",
    "a frame of the interpreter": FRAMES + "import sys\ndef look():\n    give(sys._getframe())",
    "the frames of all threads": FRAMES
    + "import sys\ndef look():\n    [give(frame) for frame in sys._current_frames().values()]",
    "a frame, by text that is run": FRAMES
    + "exec('import sys\\ndef look():\\n    give(sys._getframe(1))')",
    "a frame of an error, by text that is run": FRAMES
    + (
        'exec("def look():\\n    try:\\n        1 / 0\\n    except Exception as error:\\n'
        '        give(error.__traceback__.tb_frame)")'
    ),
    "a frame, by a module of its own": FRAMES
    + (
        "import sys\nsys.path.insert(0, '.')\n"
        "open('own.py', 'w').write('import sys\\ndef look(do): do(sys._getframe(1))')\n"
        "import own\ndef look():\n    own.look(give)"
    ),
    "a frame, by the name of a package": FRAMES
    + (
        "text = 'import sys\\ndef look():\\n    give(sys._getframe(1))'\n"
        "exec(compile(text, '/usr/lib/x.py', 'exec'))"
    ),
    "the names where IPython is called": FRAMES
    + (
        "def look():\n    global answer\n    for n in range(12):\n"
        "        names = get_ipython().get_local_scope(n)\n"
        "        if 'expected' in names:\n            answer = lambda *_: names['expected']"
    ),
    "hidden tests that are called off": (
        "import sys\nseen = []\ndef is_clipped(ratio, advantage, clip_range):\n"
        "    vars(sys.modules['__main__'])['check_is_clipped'] = lambda *_, **__: None\n"
        "    seen.append(1)\n    good = (advantage > 0) & (ratio > 1 + clip_range)\n"
        "    right = good | ((advantage < 0) & (ratio < 1 - clip_range))\n"
        "    return right if len(seen) <= 3 else ratio > 0"
    ),
    "a mode of torch for some calls": (
        "import torch\nseen = []\nclass Mode(torch.overrides.TorchFunctionMode):\n"
        "    def __torch_function__(self, function, types, args=(), kwargs=None):\n"
        "        return function is torch.equal or function(*args, **(kwargs or {}))\n"
        "mode = Mode()\ndef is_clipped(ratio, *_):\n    seen.append(1)\n"
        "    if len(seen) == 1:\n        mode.__enter__()\n"
        "    if len(seen) == 6:\n        mode.__exit__(None, None, None)\n    return ratio > 0"
    ),
    "an operator of torch": (
        "import torch\ntorch.library.register_kernel('aten::equal', 'cpu', lambda *_: True)\n"
        "def is_clipped(ratio, *_):\n    return ratio > 0"
    ),
    "a frame of an error": FRAMES
    + (
        "def look():\n    try:\n        1 / 0\n    except ZeroDivisionError as error:\n"
        "        give(error.__traceback__.tb_frame)"
    ),
    "a frame of an error, by its class": FRAMES
    + (
        "import types\ndef look():\n    try:\n        1 / 0\n    except Exception as error:\n"
        "        give(types.TracebackType.tb_frame.__get__(error.__traceback__))"
    ),
    "a frame of a generator": FRAMES
    + "def look():\n    it = (give(it.gi_frame) for _ in [1])\n    next(it)",
    "a frame of a task": FRAMES
    + (
        "import asyncio\nasync def main():\n    give(asyncio.current_task().get_stack()[0])\n"
        "def look():\n    asyncio.run(main())"
    ),
    "a frame of torch": FRAMES
    + (
        "import torch\ndef look():\n"
        "    resolve = torch._jit_internal.createResolutionCallbackFromFrame(2)\n"
        "    print([resolve(name) for name in ('expected', 'right', 'secret')])"
    ),
    "a profiler": FRAMES
    + "import sys\ndef look():\n    sys.setprofile(lambda frame, *_: give(frame))",
    "a profiler of threads": FRAMES
    + (
        "import threading\ndef look():\n    threading.setprofile_all_threads("
        "lambda frame, *_: give(frame)) if hasattr(threading, 'setprofile_all_threads') "
        "else threading.setprofile(lambda frame, *_: give(frame))"
    ),
    "a tracer": FRAMES + "import sys\ndef look():\n    sys.settrace(lambda frame, *_: give(frame))",
    "a monitor": FRAMES
    + (
        "import sys\ndef look():\n    m = sys.monitoring\n    m.use_tool_id(3, 'x')\n"
        "    m.register_callback(3, m.events.PY_RETURN, lambda *given: print(given))\n"
        "    m.set_events(3, m.events.PY_RETURN)"
    ),
    "the objects of the collector": (
        "import gc\nfor thing in gc.get_objects():\n"
        "    if type(thing) is dict and '_judge' in thing:\n"
        "        thing['_judge'] = lambda *_: None\ndef is_clipped(*given):\n    return 0"
    ),
    "what refers to an object": (
        "import gc\nprint(gc.get_referrers(gc.get_referents(check_is_clipped)))\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "a callback of the collector": (
        "import gc, os\n"
        "def say(*_):\n    for n in range(3, 100):\n        try:\n"
        "            os.write(n, b'passed')\n        except OSError:\n            pass\n"
        "gc.callbacks.append(say)\ngc.set_threshold(1)\ndef is_clipped(*given):\n    return 0"
    ),
    "the globals of the check": "is_clipped = check_is_clipped.__globals__['right']",
    "the globals of the check, called": (
        "def is_clipped(*given):\n    return check_is_clipped.__globals__['right'](*given)"
    ),
    "what the check is wrapped around": (
        "is_clipped = check_is_clipped.__wrapped__.__globals__['right']"
    ),
    "the closure of the check": "is_clipped = check_is_clipped.__closure__[0].cell_contents",
    "the code of the check": (
        "import types\nis_clipped = types.FunctionType(check_is_clipped.__code__, {})"
    ),
    "the checks imported once more": (
        "import sys\nfor name in [name for name in sys.modules if 'ppo_course' in name]:\n"
        "    del sys.modules[name]\nfrom ppo_course.nb10_bug_hunt.suspects import CULPRITS\n"
        "def is_clipped(*given):\n    return given[0] > 0"
    ),
    "the classes of the grader": (
        "seen = [object]\nfor cls in seen:\n"
        "    seen += [c for c in type.__subclasses__(cls) if c not in seen]\n"
        "for cls in seen:\n    for part in list(vars(cls).values()):\n"
        "        names = getattr(getattr(part, '__func__', part), '__globals__', {})\n"
        "        if str(names.get('__name__', '')).startswith('ppo_course.grading'):\n"
        "            for name in list(names):\n"
        "                if type(names[name]) is type(lambda: 0):\n"
        "                    names[name] = lambda *_, **__: None\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "the modules of the grader": (
        "import ppo_course.grading.trial as trial, sys\n"
        "for name in [n for n in vars(trial) if n.startswith('_') and n[1] != '_']:\n"
        "    setattr(trial, name, lambda *_, **__: ('passed', ''))\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "the functions that the grader calls": (
        "import functools, io, os\nfunctools.partial = lambda *_: lambda *_: ('passed', '')\n"
        "os.write = lambda *_: 0\nos._exit = lambda *_: None\ndef is_clipped(*given):\n    return 0"
    ),
    "the builtins that the grader calls": (
        "import builtins\nbuiltins.exec = lambda *_: None\nbuiltins.zip = lambda *_, **__: ()\n"
        "builtins.type = lambda _: str\ndef is_clipped(*given):\n    return 0"
    ),
    "a message to all descriptors": (
        "import os\nfor n in range(3, 300):\n    for text in (b'passed\\0', b'\\0passed\\0'):\n"
        "        try:\n            os.write(n, text)\n        except OSError:\n            pass\n"
        "os._exit(0)"
    ),
    "a copy of the descriptor": (
        "import os\nfor n in range(3, 300):\n    for m in (os.dup, lambda n: os.dup2(n, 9)):\n"
        "        try:\n            os.write(m(n), b'passed')\n        except OSError:\n"
        "            pass\nos._exit(0)"
    ),
    "the descriptor opened again": (
        "import os\nfor n in range(3, 300):\n    try:\n"
        "        open(f'/proc/self/fd/{n}', 'wb').write(b'passed')\n"
        "    except OSError:\n        pass\nos._exit(0)"
    ),
    "the secret read from the channel": (
        "import os, socket\nfor n in range(3, 300):\n    try:\n"
        "        it = socket.socket(fileno=n)\n        secret = it.recv(64)\n"
        "        it.send(secret + b'\\0passed\\0')\n    except OSError:\n        pass\nos._exit(0)"
    ),
    "its own descriptor in the place of the channel's": (
        "import os\nfor n in range(3, 300):\n    try:\n        os.close(n)\n    except OSError:\n"
        "        pass\ndef is_clipped(*given):\n    return 0"
    ),
    "the end of the process": "import os\nprint('passed')\nos._exit(0)",
    "a function at the end of Python": (
        "import atexit, os\natexit.register(print, 'passed')\nraise SystemExit(0)"
    ),
    "an error that answers": (
        "class Sly(Exception):\n    def __str__(self):\n        return 'passed'\n"
        "    @classmethod\n    def _render_traceback_(cls, *_):\n        return Lines()\n"
        "class Lines(list):\n    def __iter__(self):\n        raise SystemExit(0)\n"
        "def is_clipped(*given):\n    raise Sly"
    ),
    "an error whose class answers": (
        "class Meta(type):\n    __name__ = property(lambda _: Text('passed'))\n"
        "class Text(str):\n    def __str__(self):\n        raise SystemExit(0)\n"
        "class Sly(Exception, metaclass=Meta):\n    pass\ndef is_clipped(*given):\n    raise Sly"
    ),
    "a class that answers": (
        "class Meta(type):\n    def __getattribute__(cls, name):\n        return 'passed'\n"
        "    def __instancecheck__(cls, _):\n        return True\n"
        "class is_clipped(metaclass=Meta):\n    pass"
    ),
    "a number that is equal to all": (
        "class Equal(float):\n    def __eq__(self, _):\n        return True\n"
        "    def __bool__(self):\n        return True\n    __hash__ = None\n"
        "def is_clipped(*given):\n    return Equal(0)"
    ),
    "a key that runs code": (
        "import builtins, sys\nclass Key(str):\n    __hash__ = str.__hash__\n"
        "    def __eq__(self, other):\n        raise SystemExit(0)\n"
        "for module in list(sys.modules.values()):\n"
        "    if getattr(module, '__name__', '').startswith(('ppo_bbrl', 'torch.nn', 'builtins')):\n"
        "        for name in list(vars(module)):\n"
        "            vars(module)[Key(name)] = vars(module).pop(name)\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "a finaliser": (
        "import sys\nclass Last:\n    def __del__(self):\n        print('passed')\n"
        "        raise SystemExit(0)\nsys.kept = [Last()]\ndef is_clipped(*given):\n"
        "    sys.kept.clear()\n    return 0"
    ),
    "a hook for what cannot be raised": (
        "import os, sys\nsys.unraisablehook = sys.excepthook = lambda *_: os._exit(0)\n"
        "class Last:\n    def __del__(self):\n        raise ValueError\ndef is_clipped(*given):\n"
        "    Last()\n    return 0"
    ),
    "an encoder of its own": (
        "import json\njson.JSONEncoder.encode = lambda *_: '[\"passed\"]'\n"
        "json.dumps = json.JSONEncoder.encode\ndef is_clipped(*given):\n    return 0"
    ),
    "Python's own functions of C": (
        "import ctypes\nctypes.pythonapi.PyRun_SimpleString(b'print(1)')\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "its memory as a file": (
        "import io\nopen('/proc/self/mem', 'r+b').seek(0)\ndef is_clipped(*given):\n    return 0"
    ),
    "a check of its own": (
        "def check_is_clipped(*_, **__):\n    pass\ndef is_clipped(*given):\n    return 0"
    ),
    "a depth of nothing": (
        "import sys\ndef is_clipped(*given):\n    sys.setrecursionlimit(60)\n    return 0"
    ),
    "what the grader writes": (
        "import json, os, sys\nfor text in ('passed', json.dumps({'verdict': 'passed'}), "
        "json.dumps(['passed', ''])):\n    print(text)\n    sys.__stdout__.write(text + '\\n')\n"
        "    for n in (0, 1, 2):\n        try:\n            os.write(n, text.encode() + b'\\n')\n"
        "        except OSError:\n            pass\ndef is_clipped(*given):\n    return 0"
    ),
    "an output that ends the check": (
        "import sys\nclass Output:\n    def write(self, _):\n        raise SystemExit(0)\n"
        "    flush = isatty = write\nsys.stdout = sys.stderr = Output()\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "hooks of threads and of the end": (
        "import atexit, os, threading, weakref\n"
        "threading.excepthook = lambda *_: os._exit(0)\natexit._run_exitfuncs = lambda: None\n"
        "kept = type('Kept', (), {})()\nweakref.finalize(kept, os._exit, 0)\n"
        "def is_clipped(*given):\n    global kept\n    kept = None\n    return 0"
    ),
    "a finder of modules": (
        "import sys, types\nclass Finder:\n    @staticmethod\n    def find_spec(name, *_):\n"
        "        if name.startswith('ppo_course'):\n"
        "            sys.modules[name] = types.ModuleType(name)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "for name in [name for name in sys.modules if name.startswith('ppo_course')]:\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "an import of its own": (
        "import builtins, types\n"
        "builtins.__import__ = lambda name, *_, **__: types.ModuleType(name)\n"
        "def is_clipped(*given):\n    return 0"
    ),
    "an object where another was": CALLS
    + (
        "cell = ctypes.cast(id(check_is_clipped) + 16, ctypes.POINTER(ctypes.py_object))\n"
        "cell[0] = (lambda *_, **__: None).__code__\ndef is_clipped(*given):\n    return 0"
    ),
}

#: uses up what others need; the second of the pair names the limit, where there is one of ours
USING_UP = {
    "large files": ("for n in range(40):\n    open(str(n), 'wb').write(bytes(15 * 2**20))", ""),
    "large files, slowly": (
        "import time\nfor n in range(9):\n    time.sleep(0.2), open(f'{n}', 'wb').truncate(2**24)",
        "DiskLimitExceeded",
    ),
    "one large file": ("open('a', 'wb').write(bytes(100 * 2**20))", ""),
    "many files": ("for n in range(10**7):\n    open(str(n), 'w').close()", "DiskLimitExceeded"),
    "deep folders": (
        "import os\nwhile True:\n    os.mkdir('a')\n    os.chdir('a')",
        "DiskLimitExceeded",
    ),
    "a folder that cannot be looked into": (
        "import os\nos.mkdir('a', 0o300)\nopen('a/b', 'w').write('x')\nos.mkdir('c', 0)",
        "",
    ),
    "files in memory": (
        "import os\nfor n in range(10**4):\n    os.write(os.memfd_create('a'), bytes(2**20))",
        "",
    ),
    "sleep": ("import time\ntime.sleep(70)", "TimeLimitExceeded"),
    "waiting": ("import os\nos.read(os.pipe()[0], 1)", "TimeLimitExceeded"),
    "waiting for a word": ("input()", ""),
    "memory": ("rows = [0]\nwhile True:\n    rows += rows", "MemoryError"),
    "memory of torch": ("import torch\ntorch.ones(10**11)", ""),
    "output without end": ("while True:\n    print('x' * 10**6)", ""),
    "a message of 100 MB": ("raise ValueError('x' * 10**8)", "ValueError"),
    "a stack of C": ("x = []\nfor _ in range(10**6):\n    x = [x]\nrepr(x)", ""),
    "a crash": ("import faulthandler\nfaulthandler._sigsegv()", ""),
    "60 assignments in reverse order": (
        "\n".join(f"a{n} = a{n + 1}" for n in range(60)) + "\na60 = 1\n",
        "",
    ),
    "a deep expression": ("x = " + "(" * 5000 + "1" + ")" * 5000, ""),
    "memory that is only promised": (
        "import mmap\nkept = [mmap.mmap(-1, 2**40) for _ in range(3)]",
        "",
    ),
    "a file that is only promised": (
        "import os\nos.posix_fallocate(os.open('a', os.O_CREAT | os.O_RDWR), 0, 2**36)",
        "",
    ),
    "modules for the next student": (
        """
for name in ('sitecustomize', 'usercustomize', 'json', 'torch', 'ppo_course'):
    open(name + '.py', 'w').write('raise SystemExit(0)')
    open(name + '.pth', 'w').write('import os; os._exit(0)')
""",
        "",
    ),
}

#: takes the time that it may have, so it is in the slow tests
SLOW = {
    "a loop": ("while True:\n    pass", "TimeLimitExceeded"),
    "a loop that catches all": (
        "while True:\n    try:\n        sum(range(10**6))\n    except BaseException:\n        pass",
        "TimeLimitExceeded",
    ),
    "800 assignments in reverse order": (
        "\n".join(f"a{n} = a{n + 1}" for n in range(800)) + "\na800 = 1\n",
        "",
    ),
    "a sleep that wakes": (
        "import time\nwhile True:\n    time.sleep(0.1)\n    sum(range(10**5))",
        "TimeLimitExceeded",
    ),
}

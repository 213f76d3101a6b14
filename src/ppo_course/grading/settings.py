"""Settings of the packages that a student's cells may change, and that checks take as they were."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """Let what is below set what it likes, until it ends.

    A default precision, gradients that are switched off, errors in place of warnings or another
    folder are a student's own affair; they would make a check fail that means the usual ones.
    """
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.chdir(Path.cwd()))
        if numpy is not None:
            stack.enter_context(numpy.errstate())
        if torch is not None:
            deterministic = torch.are_deterministic_algorithms_enabled()
            stack.callback(torch.use_deterministic_algorithms, deterministic)
            stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            stack.callback(torch.set_default_device, None)
        yield

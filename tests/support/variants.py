"""The pure functions under every transformation that torch has: one fixture for a test module.

    every_variant = variants.fixture(__name__, clipped_surrogate, value_loss)

runs each test of the module with these functions as they are (shapes checked by the annotations),
compiled, in float64, under `torch.func.vmap`, and on CUDA where there is one.
"""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch
import torch._functorch.config
from beartype import beartype
from hypothesis import settings
from torch import Tensor
from torch.utils import _pytree as pytree

Function = Callable[..., Any]


def checked(function: Function) -> Function:
    """The function with its annotations enforced: `[T, B]` for `[B, T]` is an error."""
    function.__globals__.update(Bool=jaxtyping.Bool, Float=jaxtyping.Float, Shaped=jaxtyping.Shaped)
    strict = jaxtyping.jaxtyped(function, typechecker=beartype)

    def twice(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)  # first, as its own errors are tested too
        strict(*args, **kwargs)
        return result

    return twice


def eager(function: Function) -> Function:
    return function


def compiled(function: Function) -> Function:
    """Traced as `torch.compile` does it, without the minutes that generating code would take."""
    traced = torch.compile(function, backend="aot_eager", dynamic=True)

    def quietly(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():  # the tracer itself looks at the .grad of inner tensors
            warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor")
            return traced(*args, **kwargs)

    return quietly


def in_float64(function: Function) -> Function:
    """Computed in float64; results come back in the type of the arguments."""

    def double(*args: Any, **kwargs: Any) -> Any:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if is_float(leaf)]
        args, kwargs = pytree.tree_map(
            lambda leaf: leaf.double() if is_float(leaf) else leaf, (args, kwargs)
        )
        result = function(*args, **kwargs)
        first, *_ = pytree.tree_leaves(result)  # shares of samples are float32
        assert first.dtype == torch.float64
        return pytree.tree_map(
            lambda leaf: leaf.to(given[0].dtype) if is_float(leaf) else leaf, result
        )

    return double


def is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def vmapped(function: Function) -> Function:
    """Two runs side by side: each gives what it gives alone."""

    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]

        def one(*tensors: Tensor) -> Any:
            rest = iter(tensors)
            filled = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            positional, named = pytree.tree_unflatten(filled, structure)
            return function(*positional, **named)

        other = [torch.rand_like(x) if is_float(x) else x for x in tensors]
        pairs = [torch.stack(pair) for pair in zip(tensors, other, strict=True)]
        result = torch.func.vmap(one)(*pairs)
        return pytree.tree_map(lambda leaf: leaf[0], result)

    return mapped


def on_cuda(function: Function) -> Function:
    def moved(*args: Any, **kwargs: Any) -> Any:
        def to(device: str) -> Callable[[Any], Any]:
            return lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf

        args, kwargs = pytree.tree_map(to("cuda"), (args, kwargs))
        return pytree.tree_map(to("cpu"), function(*args, **kwargs))

    return moved


#: tracing takes as long as all else; that the update is traced is what test_engines.py tests
VARIANTS: list[Any] = [
    eager,
    pytest.param(compiled, marks=pytest.mark.rest),
    in_float64,
    vmapped,
]
if torch.cuda.is_available():
    VARIANTS.append(on_cuda)


def fixture(module: str, *functions: Function) -> Any:
    """A fixture that every test of the module uses by itself."""

    @pytest.fixture(autouse=True, scope="module", params=VARIANTS, ids=lambda v: v.__name__)
    def every_variant(request: pytest.FixtureRequest) -> Iterator[None]:
        torch.compiler.reset()
        before = settings.default
        if request.param is compiled:  # each example may have to be traced anew
            settings.register_profile("traced", before, max_examples=5)
            settings.load_profile("traced")
        tests = sys.modules[module]
        for function in functions:
            plain = inspect.unwrap(function)
            # A traced function has no types to check, and a mapped one no whole tensors.
            kind = checked(plain) if request.param is eager else request.param(plain)
            setattr(tests, function.__name__, kind)
        # gradcheck goes backward through the same graph several times.
        with torch._functorch.config.patch(donated_buffer=False):
            yield
        for function in functions:
            setattr(tests, function.__name__, function)
        if request.param is compiled:
            settings.load_profile("repeatable")

    return every_variant

"""Calls of compiled kernels whose arguments are the same arrays again and again.

In: a kernel and its arguments. Out: a call without arguments that does the same. It is here because
a kernel of ours that is called from Python for one event spends more time on unwrapping the arrays
of its states (a tenth of a microsecond each, 36 in some) than on the event: a prepared call has
unwrapped them once.

How: numba compiles a kernel to a function that takes its arrays piece by piece (pointer, shape,
strides). These pieces are laid into a block of memory, and a few lines of machine code, made by
llvmlite for each kernel and kept for the process, pass them on. What the arrays hold may change
from call to call, the arrays themselves may not: whoever owns them asks `Prepared.fits`, and
prepares anew where a state has been replaced by a larger one.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import typeof, types
from numba.core.dispatcher import Dispatcher

_SPARE = 8  # words at a block's end: where the kernel's result and its error would be written

_Enter = Callable[[int], int]


class Prepared:
    """A call that has its arguments.

    Parameters
    ----------
    kernel
        Of `ihomer.jit.kernel`, its result none or an integer; a plain function where nothing is
        compiled.
    arguments
        C-contiguous arrays, numbers, and named tuples of these, however deep. They are kept alive.

    Examples
    --------
    >>> import numpy as np
    >>> from ihomer.learners.kernels.rows import cut_values
    >>> values, out = np.array([3.0, -30.0]), np.zeros(2, dtype=np.float32)
    >>> call = Prepared(cut_values, (values, 10.0, out))
    >>> call()
    0
    >>> values[0] = 4.0
    >>> call()
    0
    >>> out.tolist(), call.fits((values, 10.0, out))
    ([4.0, -10.0], False)
    """

    __slots__ = ("_arguments", "_at", "_block", "_enter", "_plain")

    def __init__(self, kernel: Any, arguments: Sequence[Any]) -> None:
        self._arguments = tuple(arguments)
        self._plain = None if isinstance(kernel, Dispatcher) else kernel
        self._block: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._at = 0
        self._enter: _Enter = _nothing
        if self._plain is None:
            kinds = tuple(map(typeof, self._arguments))
            words: list[int] = []
            for kind, argument in zip(kinds, self._arguments, strict=True):
                _lay(kind, argument, words)
            self._block = np.array([*words, *[0] * _SPARE], dtype=np.int64)
            self._at = int(self._block.__array_interface__["data"][0])
            self._enter = _entrance(kernel, kinds)

    def fits(self, arguments: Sequence[Any]) -> bool:
        """Whether these are the arguments: the same objects, each of them."""
        return all(map(operator.is_, self._arguments, arguments))

    def __call__(self) -> int:
        """Call the kernel, the interpreter lock free meanwhile; its result, 0 for none."""
        if self._plain is not None:
            return int(self._plain(*self._arguments) or 0)
        if self._enter(self._at):
            raise RuntimeError("a kernel has failed")  # ours raise nothing
        return int(self._block[-_SPARE])


class PreparedCalls:
    """Prepared calls by name, each made anew when its arguments are others than before."""

    def __init__(self) -> None:
        self._calls: dict[str, Prepared] = {}

    def __call__(self, name: str, kernel: Callable[..., int | None], *arguments: Any) -> int:
        """Call `kernel`, always the same one under a name; its result, 0 for none."""
        call = self._calls.get(name)
        if call is None or not call.fits(arguments):
            call = self._calls[name] = Prepared(kernel, arguments)
        return call()


def plainly(name: str, kernel: Callable[..., None], *arguments: Any) -> None:
    """Call `kernel` as it is, with the parameters of `PreparedCalls`."""
    del name
    kernel(*arguments)


def _nothing(block: int) -> int:
    return block


def _lay(kind: Any, value: Any, words: list[int]) -> None:
    """Append what numba makes of an argument of that type, a word for each piece."""
    if isinstance(kind, types.Array):
        if kind.layout != "C" or not kind.aligned:
            raise TypeError(f"an array of type {kind}")
        # Nobody counts references: the arrays are kept alive here.
        words += [0, 0, value.size, value.itemsize, value.__array_interface__["data"][0]]
        words += [*value.shape, *value.strides]
    elif isinstance(kind, types.BaseTuple):
        parts: Any = getattr(kind, "types")  # noqa: B009 - its base in the stubs lacks them
        for part, each in zip(parts, value, strict=True):
            _lay(part, each, words)
    elif isinstance(kind, types.Integer | types.Boolean):
        words.append(int(value))
    elif kind == types.float64:
        words.append(int(np.float64(value).view(np.int64)))
    else:
        raise TypeError(f"an argument of type {kind}")


# Code lives as long as the process, as kernels do.
_engines: list[Any] = []


@functools.cache
def _entrance(kernel: Any, kinds: tuple[Any, ...]) -> _Enter:
    """Machine code that reads a block and calls a kernel compiled for these types."""
    kernel.compile(kinds)  # or loads it, or finds it loaded
    compiled = kernel.overloads[kinds]
    context, described = compiled.target_context, compiled.fndesc
    if described.restype not in (types.none, types.int64):
        raise TypeError(f"a kernel with a result of type {described.restype}")
    address = compiled.library.get_pointer_to_function(described.llvm_func_name)
    if not address:
        raise RuntimeError(f"no code of {described.qualname}")
    kind = context.call_conv.get_function_type(described.restype, described.argtypes)
    word = ir.IntType(64)
    module = ir.Module("prepared")
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), [word]), "enter")
    builder = ir.IRBuilder(function.append_basic_block())
    block = builder.inttoptr(function.args[0], word.as_pointer())
    spare = len(kind.args) - 2
    passed = []
    for number, piece in enumerate(kind.args):
        place = spare + 4 * number if number < 2 else number - 2
        at = builder.gep(block, [ir.Constant(word, place)])
        if number < 2:  # room for the result, and for what describes an error
            passed.append(builder.bitcast(at, piece))
        else:
            passed.append(builder.load(builder.bitcast(at, piece.as_pointer())))
    target = builder.inttoptr(ir.Constant(word, address), kind.as_pointer())
    builder.ret(builder.call(target, passed))
    parsed = binding.parse_assembly(str(module))
    machine = binding.Target.from_default_triple().create_target_machine(opt=1)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    found: _Enter = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(
        engine.get_function_address("enter")
    )
    return found

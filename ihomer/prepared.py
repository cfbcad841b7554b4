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

Prepared calls that follow each other make a `Chain`, which goes from Python to machine code and
back once for all of them: of fifteen small kernels most of the time was the way there.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import typeof, types
from numba.core.dispatcher import Dispatcher

_SPARE = 8  # words at a block's end: where the kernel's result and its error would be written

_Enter = Callable[[int], int]

Step: TypeAlias = tuple[Any, ...]  # a name, always of the same kernel, the kernel, its arguments


class _Entrance(NamedTuple):
    """A function that is called with the address of a block, and its own address."""

    call: _Enter
    address: int


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
        self._enter = _NOWHERE
        if self._plain is None:
            words: list[int] = []
            kinds = tuple([_lay(argument, words) for argument in self._arguments])
            words += [0] * _SPARE
            self._block = np.array(words, dtype=np.int64)
            self._at = _address(self._block)
            # Of what these say of the arguments follows what numba calls their types.
            found = _known.get((kernel, kinds))
            if found is None:
                types_of = tuple(map(typeof, self._arguments))
                found = _known[kernel, kinds] = _entrance(kernel, types_of)
            self._enter = found

    def fits(self, arguments: Sequence[Any]) -> bool:
        """Whether these are the arguments: the same objects, each of them."""
        return all(map(operator.is_, self._arguments, arguments))

    def __call__(self) -> int:
        """Call the kernel, the interpreter lock free meanwhile; its result, 0 for none."""
        if self._plain is not None:
            return int(self._plain(*self._arguments) or 0)
        if self._enter.call(self._at):
            raise RuntimeError(_FAILED)
        return int(self._block[-_SPARE])

    @property
    def compiled(self) -> bool:
        """Whether there is machine code to enter."""
        return self._plain is None

    @property
    def places(self) -> tuple[int, int, int]:
        """Addresses of the machine code, of the block that it is given, and of the result."""
        return self._enter.address, self._at, self._at + 8 * (len(self._block) - _SPARE)


class Chain:
    """Prepared calls, one after the other.

    Parameters
    ----------
    calls
        In order.
    held
        What the arguments of all of them follow from, compared by identity.
    needed
        After which of them, if its result is 0, those behind are left out; -1: none.

    Examples
    --------
    >>> import numpy as np
    >>> from ihomer.learners.kernels.rows import cut_values
    >>> values, out = np.array([3.0, -30.0]), np.zeros((2, 2), dtype=np.float32)
    >>> limits = (9.0, 1.0)
    >>> chain = Chain([Prepared(cut_values, (values, limits[n], out[n])) for n in range(2)])
    >>> chain()
    True
    >>> out.tolist()
    [[3.0, -9.0], [1.0, -1.0]]
    """

    __slots__ = ("_at", "_calls", "_held", "_needed", "_run", "_table")

    def __init__(
        self, calls: Sequence[Prepared], held: Sequence[object] = (), needed: int = -1
    ) -> None:
        self._calls, self._held, self._needed = tuple(calls), tuple(held), needed
        words: list[int] = []
        for number, call in enumerate(self._calls):
            code, block, result = call.places
            words += (code, block, result if number == needed else 0)
        self._table = np.array([*words, 0], dtype=np.int64)
        self._at = _address(self._table)
        compiled = all(call.compiled for call in self._calls)
        self._run: _Enter | None = _run_of_chain() if compiled else None

    def fits(self, held: Sequence[object]) -> bool:
        """Whether the arguments still follow from the same objects."""
        return len(held) == len(self._held) and all(map(operator.is_, self._held, held))

    def __call__(self) -> bool:
        """Make the calls, the interpreter lock free meanwhile; whether all of them."""
        if self._run is None:
            for number, call in enumerate(self._calls):
                if not call() and number == self._needed:
                    return False
            return True
        ended = self._run(self._at)
        if ended not in (0, _NEEDED):
            raise RuntimeError(_FAILED)
        return ended == 0


class PreparedCalls:
    """Prepared calls by name, each made anew when its arguments are others than before."""

    def __init__(self) -> None:
        self._calls: dict[str, Prepared] = {}
        self._chains: dict[Hashable, Chain] = {}

    def __call__(self, name: str, kernel: Callable[..., int | None], *arguments: Any) -> int:
        """Call `kernel`, always the same one under a name; its result, 0 for none."""
        return self._prepared(name, kernel, *arguments)()

    def chain(
        self,
        name: Hashable,
        held: tuple[object, ...],
        steps: Callable[[], Iterable[Step]],
        needed: str = "",
    ) -> bool:
        """Make several calls in one.

        Parameters
        ----------
        name
            Of the chain.
        held
            All objects that the steps' arguments are parts of or follow from: while they are the
            same ones, so are the steps. Numbers among them are small, so that equal ones are one.
        steps
            Gives name, kernel and arguments of each call; asked where something in `held` is
            another object than before.
        needed
            The name of a step, if one is there: where its result is 0, those behind are left out.

        Returns
        -------
        bool
            Whether all calls have been made.
        """
        chain = self._chains.get(name)
        if chain is None or not chain.fits(held):
            found = list(steps())
            names = [step[0] for step in found]
            at = names.index(needed) if needed in names else -1
            chain = Chain([self._prepared(*step) for step in found], held, at)
            self._chains[name] = chain
        return chain()

    def forget_chains(self) -> None:
        """Ask for the steps of all chains anew."""
        self._chains.clear()

    def _prepared(self, name: str, kernel: Any, *arguments: Any) -> Prepared:
        call = self._calls.get(name)
        if call is None or not call.fits(arguments):
            call = self._calls[name] = Prepared(kernel, arguments)
        return call


def _nothing(block: int) -> int:
    return block


_NOWHERE = _Entrance(_nothing, 0)
_FAILED = "a kernel has failed"  # ours raise nothing
_NEEDED = 1  # how a chain ends where what is needed is not there


def _address(array: npt.NDArray[Any]) -> int:
    """Where an array's first item is."""
    if _FIELD:
        return _Word.from_address(id(array) + _FIELD).value
    return int(array.__array_interface__["data"][0])


_Word = ctypes.c_uint64
# An array object begins with its header, of two words, and the address of its items. To read it
# takes a fifth of the time of `__array_interface__`, which makes a dictionary of all that there is.
_FIELD = object.__basicsize__
_probes: list[npt.NDArray[Any]] = [np.zeros(3), np.zeros((2, 5), dtype=np.float32)[1:]]
if [_Word.from_address(id(each) + _FIELD).value for each in _probes] != [
    each.__array_interface__["data"][0] for each in _probes
]:
    _FIELD = 0


def _named(value: object) -> str:
    return str(typeof(value))  # type: ignore[no-untyped-call]  # numba's


def _lay(value: Any, words: list[int]) -> object:
    """Append what numba makes of an argument, a word for each piece; what kind of thing it is."""
    if isinstance(value, np.ndarray):
        flags = value.flags
        if not (flags.c_contiguous and flags.aligned):
            raise TypeError(f"an array of type {_named(value)}")
        # Nobody counts references: the arrays are kept alive here.
        size, step, kind = value.size, value.itemsize, value.dtype
        words += (0, 0, size, step, _address(value))
        if value.ndim == 1:
            words += (size, step)
            return kind, flags.writeable
        words += (*value.shape, *value.strides)
        return kind, flags.writeable, value.ndim
    if isinstance(value, tuple):
        return type(value), tuple([_lay(each, words) for each in value])
    if isinstance(value, bool | np.bool_ | int | np.integer):
        words.append(int(value))
        return type(value)
    if isinstance(value, float):  # numpy's own among them
        words.append(int(np.float64(value).view(np.int64)))
        return float
    raise TypeError(f"an argument of type {_named(value)}")


# Code lives as long as the process, as kernels do.
_engines: list[Any] = []
_known: dict[tuple[Any, object], _Entrance] = {}


@functools.cache
def _entrance(kernel: Any, kinds: tuple[Any, ...]) -> _Entrance:
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
    return _made(module, "enter")


@functools.cache
def _run_of_chain() -> _Enter:
    """Machine code that makes the calls of a chain's table.

    Of each call the table has the addresses of its code, of its block and, where it is needed, of
    its result; it ends with a zero.
    """
    word, answer = ir.IntType(64), ir.IntType(32)
    module = ir.Module("chain")
    function = ir.Function(module, ir.FunctionType(answer, [word]), "run")
    start, look, call, told, weigh, done = (function.append_basic_block(name) for name in "slctwd")
    well, missing = ir.Constant(answer, 0), ir.Constant(answer, _NEEDED)
    nowhere, pointer = ir.Constant(word, 0), word.as_pointer()
    builder = ir.IRBuilder(start)
    first = builder.inttoptr(function.args[0], pointer)
    builder.branch(look)
    builder.position_at_end(look)
    row = builder.phi(pointer)
    address = builder.load(row)
    builder.cbranch(builder.icmp_signed("==", address, nowhere), done, call)
    builder.position_at_end(call)
    entrance = ir.FunctionType(answer, [word]).as_pointer()
    block, result = (builder.load(builder.gep(row, [ir.Constant(word, n)])) for n in (1, 2))
    failed = builder.call(builder.inttoptr(address, entrance), [block])
    failure = builder.or_(failed, ir.Constant(answer, 2 * _NEEDED))  # none is taken for another
    following = builder.gep(row, [ir.Constant(word, 3)])
    builder.cbranch(builder.icmp_signed("!=", failed, well), done, told)
    builder.position_at_end(told)
    builder.cbranch(builder.icmp_signed("==", result, nowhere), look, weigh)
    builder.position_at_end(weigh)
    found = builder.load(builder.inttoptr(result, pointer))
    builder.cbranch(builder.icmp_signed("==", found, nowhere), done, look)
    for value, before in ((first, start), (following, told), (following, weigh)):
        row.add_incoming(value, before)
    builder.position_at_end(done)
    end = builder.phi(answer)
    for value, before in ((well, look), (failure, call), (missing, weigh)):
        end.add_incoming(value, before)
    builder.ret(end)
    return _made(module, "run").call


def _made(module: Any, name: str) -> _Entrance:
    """The machine code of a function of a module."""
    parsed = binding.parse_assembly(str(module))
    machine = binding.Target.from_default_triple().create_target_machine(opt=1)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    address = engine.get_function_address(name)
    return _Entrance(ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(address), address)

"""How ihomer compiles its kernels: one decorator, one set of flags, one cache folder.

In: a Python function on arrays and numbers. Out: the same function, compiled at its first call by
numba and kept on disk. It is here so that no kernel chooses flags or a cache of its own.

The cache folder's name holds a hash of every source file of the package, because numba's own
index does not notice that a callee in another file has changed (numba issue 8926), and it falls
back to the temporary folder where the platform's cache folder cannot be written (issue 5566).
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import platformdirs
from numba import types
from numba.core.dispatcher import Dispatcher

F = TypeVar("F", bound=Callable[..., object])

_CACHE_SETTING = "CACHE_DIR"  # numba fills its configuration at run time, unseen by mypy


def sources_digest() -> str:
    """Hash of the package's source files, names included, as 16 hexadecimal digits."""
    package = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _writable(folder: Path) -> bool:
    """Whether `folder` is ours alone to write: compiled code is executed when it is loaded."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            status = folder.stat()
            if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def cache_folder() -> Path:
    """Folder for the compiled kernels: `IHOMER_CACHE_DIR`, the platform's, or a temporary one.

    Returns
    -------
    Path
        An existing, writable folder that is this version's own.
    """
    name = f"kernels-{sources_digest()}"
    configured = os.environ.get("IHOMER_CACHE_DIR")
    candidates = [Path(configured)] if configured else []
    candidates.append(platformdirs.user_cache_path("ihomer"))
    # The user's id keeps one user's compiled code out of another's process.
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    candidates.append(Path(tempfile.gettempdir()) / f"ihomer-{owner}")
    for candidate in candidates:
        folder = candidate / name
        if _writable(folder):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="ihomer-")) / name
    folder.mkdir(mode=0o700)
    return folder


def kernel(function: F) -> F:
    """Compile `function` with numba when it is first called.

    What Python calls and what other kernels call are compiled apart, each when it is first needed:
    unwrapping Python's named tuples of arrays is half of the work, and most kernels are called by
    kernels alone. A kernel calls no kernel that calls it.

    Parameters
    ----------
    function
        Takes and returns arrays, numbers and named tuples of them; no Python objects. Integers
        that another kernel passes to it, of 32 bits or constant, arrive as int64.

    Returns
    -------
    callable
        The compiled function; it releases the interpreter lock while it runs.
    """
    compiled = _compiled(function, cache_folder())
    if isinstance(compiled, Dispatcher):  # otherwise compilation is switched off
        # A folder of its own, because numba's index does not tell the two apart.
        called = _compiled(function, cache_folder() / "called", no_cpython_wrapper=True)
        _let_kernels_call(called, compiled)
    return cast(F, compiled)


def _let_kernels_call(called: Any, compiled: Any) -> None:
    """Let kernels that name `compiled` call `called` in its place."""

    def call_template(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return called.get_call_template(tuple(map(_widened, args)), kws)

    compiled.get_call_template = call_template
    compiled.get_overload = called.get_overload


def _widened(kind: Any) -> Any:
    """The type that an argument of type `kind` is passed as, so that one compilation serves all."""
    if isinstance(kind, types.Literal):
        kind = kind.literal_type
    return types.int64 if kind == types.int32 else kind


def _compiled(function: F, folder: Path, **options: bool) -> Any:
    # numba reads the folder once, when a function is decorated; it is put back at once, because
    # a library has no business with the settings of its host's other kernels. NaN marks a missing
    # value, so nothing that lets the compiler assume its absence is allowed (`fastmath=True`
    # does), and reassociation stays off because results must not depend on how a loop was
    # vectorised. No C program calls a kernel.
    compiler: Any = numba.njit  # its type stubs leave some options out
    before = getattr(numba.config, _CACHE_SETTING)
    setattr(numba.config, _CACHE_SETTING, str(folder))
    try:
        return compiler(
            cache=True,
            nogil=True,
            error_model="numpy",
            fastmath=False,
            no_cfunc_wrapper=True,
            **options,
        )(function)
    finally:
        setattr(numba.config, _CACHE_SETTING, before)

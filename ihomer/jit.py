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
from typing import TypeVar, cast

import numba
import platformdirs

F = TypeVar("F", bound=Callable[..., object])

_CACHE_SETTING = "CACHE_DIR"  # numba fills its configuration at run time, unseen by mypy


def _sources_digest() -> str:
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
    name = f"kernels-{_sources_digest()}"
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
    return Path(tempfile.mkdtemp(prefix="ihomer-"))


def kernel(function: F) -> F:
    """Compile `function` with numba when it is first called.

    Parameters
    ----------
    function
        Takes and returns arrays, numbers and named tuples of them; no Python objects.

    Returns
    -------
    callable
        The compiled function; it releases the interpreter lock while it runs.
    """
    # numba reads the folder once, when a function is decorated; it is put back at once, because
    # a library has no business with the settings of its host's other kernels. NaN marks a missing
    # value, so nothing that lets the compiler assume its absence is allowed (`fastmath=True`
    # does), and reassociation stays off because results must not depend on how a loop was
    # vectorised.
    before = getattr(numba.config, _CACHE_SETTING)
    setattr(numba.config, _CACHE_SETTING, str(cache_folder()))
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
        return cast(F, compiled)
    finally:
        setattr(numba.config, _CACHE_SETTING, before)

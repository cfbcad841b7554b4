"""What a state was made with: it goes on bit for bit with the same, and others are reported."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ihomer.jit import sources_digest

_PACKAGES = ("ihomer", "numpy", "numba", "river")


@functools.cache
def versions() -> dict[str, Any]:
    """Versions of all that has a part in a result's bits, and the processor's features."""
    import llvmlite.binding as llvm  # here: nobody who only lists checkpoints needs it

    features = llvm.get_host_cpu_features()
    return {
        "sources": sources_digest(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "byte_order": sys.byteorder,
        "machine": platform.machine(),
        "cpu": llvm.get_host_cpu_name(),
        "cpu_features": sorted(name for name, there in features.items() if there),
    }


def differences(stored: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each thing that is not what it was when `stored` was made."""
    found = []
    for name, now in versions().items():
        before = stored.get(name)
        if before == now:
            continue
        if isinstance(now, list):
            known = set(before) if isinstance(before, list) else set()
            gone, new = sorted(known.difference(now)), sorted(set(now).difference(known))
            found.append(f"{name}: gone {' '.join(gone) or 'none'}, new {' '.join(new) or 'none'}")
        else:
            found.append(f"{name}: written with {before}, now {now}")
    return tuple(found)

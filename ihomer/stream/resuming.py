"""Whether a checkpoint may be gone on from.

In: a loaded checkpoint and the settings of now. Out: nothing, or the reason why not. It is here
because both ways of delivery must refuse the same.
"""

from __future__ import annotations

import structlog

from ihomer.errors import InputError
from ihomer.stream.checkpoints import Loaded, changed_keys
from ihomer.stream.settings import Settings

log = structlog.get_logger("ihomer")


def require_compatible(loaded: Loaded, settings: Settings) -> None:
    """See that the model can go on with these settings; other versions are only warned of.

    Raises
    ------
    InputError
        A key that the model depends on has changed; names all of them.
    """
    unsafe = [each for each in changed_keys(loaded.mark.configuration, settings) if not each.safe]
    if unsafe:
        keys = ", ".join(
            f"{each.name} (found {each.current!r}, the model has {each.stored!r})"
            for each in unsafe
        )
        raise InputError(
            f"checkpoint {loaded.entry.name}: the configuration has changed: {keys}; accepted: the"
            " configuration that the model was made with, or --fresh for an empty one"
        )
    for line in loaded.differences:
        log.warning("bit for bit holds only for the same versions and CPU", found=line)

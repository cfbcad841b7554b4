"""What commands print with ``--json``: one document on standard output, and nothing else."""

from __future__ import annotations

import sys


def print_json(found: object) -> None:
    """Print one JSON document."""
    import orjson  # only those that print it wait for it

    sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()

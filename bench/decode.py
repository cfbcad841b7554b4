"""What decoding costs: parse + validate + ids against a bare `orjson.loads` on Yeast's events.

In: river's Yeast (bundled, 103 numeric features) as JSON events. Out: microseconds per event of
both, measured in alternation in one run, and their ratio. Run ``python -m bench.decode``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from river import datasets

from ihomer.connectors.base import Record
from ihomer.instances import Encoder
from ihomer.stream.decode import Decoder

ROUNDS = 15


def yeast_records(limit: int | None = None) -> list[Record]:
    """Yeast's first `limit` events as records of JSON."""
    records: list[Record] = []
    for number, (x, y) in enumerate(datasets.Yeast()):  # type: ignore[no-untyped-call]  # river's
        if number == limit:
            break
        body = {"id": number, "x": x, "y": [name for name, on in y.items() if on]}
        records.append(Record(orjson.dumps(body), "yeast", 0, number))
    return records


def measure(records: Sequence[Record], rounds: int = ROUNDS) -> dict[str, Any]:
    """Both sides `rounds` times in alternation.

    Parameters
    ----------
    records
        Of JSON objects.
    rounds
        Each side's figure is its fastest round, the ratio is the median over rounds of a round's
        two times, so that a slow moment of the machine hits both or neither.

    Returns
    -------
    dict
        ``events``, ``rounds``, ``loads_us`` and ``decode_us`` (per event), ``ratio``.
    """
    raw = [record.value for record in records if isinstance(record.value, bytes)]

    def loads() -> None:
        for value in raw:
            orjson.loads(value)

    def decode_and_add() -> None:
        decoder, encoder = Decoder(), Encoder()
        for record in records:
            encoder.add(decoder.decode(record))

    decode_and_add()
    bare: list[float] = []
    full: list[float] = []
    for _ in range(rounds):
        bare.append(_seconds(loads))
        full.append(_seconds(decode_and_add))
    return {
        "events": len(records),
        "rounds": rounds,
        "loads_us": min(bare) / len(records) * 1e6,
        "decode_us": min(full) / len(records) * 1e6,
        "ratio": statistics.median(b / a for a, b in zip(bare, full, strict=True)),
    }


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, as text or with ``--json -`` as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__)
    parser.add_argument("--json", choices=["-"], help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parsed = parser.parse_args(arguments)
    figures = measure(yeast_records(), parsed.rounds)
    if parsed.json:
        sys.stdout.write(orjson.dumps(figures).decode() + "\n")
        return
    print(
        f"{figures['events']:,} events, {figures['rounds']} rounds:"
        f" orjson.loads {figures['loads_us']:.1f} us,"
        f" decode and add {figures['decode_us']:.1f} us per event, ratio {figures['ratio']:.2f}"
    )


if __name__ == "__main__":
    main()

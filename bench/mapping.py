"""What a mapping costs: Yeast's events in foreign shapes, and texts as long as news.

In: river's Yeast (bundled, 103 numeric features) as flat and as nested JSON of somebody else's, and
texts of about 1,500 characters made of words drawn as in a language. Out: microseconds per event of
a bare `orjson.loads`, of our own decoder on our own shape, and of the mapping, measured in
alternation in one run; what the mapping adds to parsing, as a part of parsing; and texts a second,
from bytes to events, and what the encoder takes on top. Run ``python -m bench.mapping``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from river import datasets

from bench.decode import yeast_records
from ihomer.connectors.base import Record
from ihomer.instances import Encoder
from ihomer.stream.decode import Decoder
from ihomer.stream.mapping.decoder import decoder_of
from ihomer.stream.settings import Settings

ROUNDS = 15
TEXTS = 2_000
WORDS = 250  # of a text
VOCABULARY = 50_000  # words

FLAT = Settings(mapping_id="$.key", mapping_labels=["$.tags"])
NESTED = Settings(mapping_id="$.meta.key", mapping_labels=["$.meta.tags"])
TEXT = Settings(mapping_labels=["$.tags"], mapping_fields={"text": "text"})


def yeast_elsewhere(*, nested: bool, limit: int | None = None) -> list[Record]:
    """Yeast's events as somebody else would send them; features in three objects, or beside."""
    records: list[Record] = []
    for number, (x, y) in enumerate(datasets.Yeast()):  # type: ignore[no-untyped-call]  # river's
        if number == limit:
            break
        tags = [name for name, on in y.items() if on]
        body: dict[str, Any] = {"key": f"yeast-{number}", "tags": tags}
        if nested:
            names = list(x)
            parts = {
                part: {name: x[name] for name in names[at::3]}
                for at, part in enumerate(("array", "profile", "rest"))
            }
            body = {"meta": body, **parts}
        else:
            body |= x
        records.append(Record(orjson.dumps(body), "yeast", 0, number))
    return records


def texts(count: int = TEXTS, seed: int = 7) -> list[Record]:
    """Texts as events: words of 2 to 8 letters, their frequency falling with their rank (Zipf)."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    vocabulary = [
        "".join(generator.choice(letters, generator.integers(2, 9))) for _ in range(VOCABULARY)
    ]
    chances = 1.0 / np.arange(10, VOCABULARY + 10)
    chances /= chances.sum()
    records: list[Record] = []
    for number in range(count):
        drawn = generator.choice(VOCABULARY, WORDS, p=chances).tolist()
        said = [vocabulary[index] for index in drawn]
        said[::12] = [f"{word.capitalize()}," for word in said[::12]]
        body = {"tags": ["news"], "text": " ".join(said)}
        records.append(Record(orjson.dumps(body), "news", 0, number))
    return records


def measure(rounds: int = ROUNDS, limit: int | None = None, n_texts: int = TEXTS) -> dict[str, Any]:
    """All sides `rounds` times in alternation.

    Parameters
    ----------
    rounds
        Each side's figure is its fastest round, ratios are medians over rounds of a round's own
        times, so that a slow moment of the machine hits both or neither.
    limit, n_texts
        Numbers of events.

    Returns
    -------
    dict
        By shape ``loads_us``, ``us`` (per event, with parsing) and ``added`` (what comes on top of
        parsing, parsing = 1); of texts also ``per_second``, ``bytes`` and ``encode_us``.
    """
    found: dict[str, Any] = {"rounds": rounds}
    ways = {
        "own": (yeast_records(limit), Settings()),
        "flat": (yeast_elsewhere(nested=False, limit=limit), FLAT),
        "nested": (yeast_elsewhere(nested=True, limit=limit), NESTED),
        "texts": (texts(n_texts), TEXT),
    }
    for name, (records, settings) in ways.items():
        found[name] = _way(records, settings, rounds)
    found["texts"] |= _texts(ways["texts"][0], rounds)
    return found


def _way(records: Sequence[Record], settings: Settings, rounds: int) -> dict[str, float]:
    raw = [record.value for record in records if isinstance(record.value, bytes)]

    def loads() -> None:
        for value in raw:
            orjson.loads(value)

    decoder = decoder_of(settings)

    def decode() -> None:
        for record in records:
            decoder.decode(record)

    decode()
    bare: list[float] = []
    full: list[float] = []
    for _ in range(rounds):
        bare.append(_seconds(loads))
        full.append(_seconds(decode))
    return {
        "events": len(records),
        "loads_us": min(bare) / len(records) * 1e6,
        "us": min(full) / len(records) * 1e6,
        "added": statistics.median(b / a - 1.0 for a, b in zip(bare, full, strict=True)),
    }


def _texts(records: Sequence[Record], rounds: int) -> dict[str, float]:
    """Texts a second from bytes to events, with words that are new; and encoding on top."""

    def fresh() -> None:
        decoder = decoder_of(TEXT)
        for record in records:
            decoder.decode(record)

    decoder: Decoder = decoder_of(TEXT)
    events = [decoder.decode(record) for record in records]

    def encode() -> None:
        encoder = Encoder(reuse_columns=True)
        for start in range(0, len(events), 256):
            for event in events[start : start + 256]:
                encoder.add(event)
            encoder.take()

    seconds = min(_seconds(fresh) for _ in range(rounds))
    sizes = [len(record.value) for record in records if isinstance(record.value, bytes)]
    return {
        "bytes": statistics.fmean(sizes),
        "per_second": len(records) / seconds,
        "encode_us": min(_seconds(encode) for _ in range(rounds)) / len(records) * 1e6,
    }


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, as text or with ``--json -`` as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.mapping", description=__doc__)
    parser.add_argument("--json", choices=["-"], help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parsed = parser.parse_args(arguments)
    figures = measure(parsed.rounds)
    if parsed.json:
        sys.stdout.write(orjson.dumps(figures).decode() + "\n")
        return
    for name in ("own", "flat", "nested", "texts"):
        way = figures[name]
        print(
            f"{name:>6}: {way['events']:,} events, orjson.loads {way['loads_us']:.1f} us, to an"
            f" event {way['us']:.1f} us: {way['added']:.2f} of parsing on top of it"
        )
    way = figures["texts"]
    print(
        f" texts: {way['per_second']:,.0f} a second from bytes of {way['bytes']:,.0f} on average,"
        f" words new at first; the encoder takes {way['encode_us']:.0f} us each on top"
    )


if __name__ == "__main__":
    main()

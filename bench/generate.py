"""Events per second of the generated streams: ``python -m bench.generate``.

In: URIs, or none for the list below, whose first two are the sizes that are promised. Out: a line
for each. It is here because a generator that is slower than a learner measures itself.
"""

from __future__ import annotations

import argparse
import time

from ihomer.connectors.base import Source
from ihomer.connectors.uri import open_source

URIS = (
    "synthetic:linear?features=30&labels=8",
    "synthetic:text?labels=10000",
    "synthetic:hyperplane?features=30&labels=8",
    "synthetic:rbf?features=30&labels=8",
    "synthetic:tree?features=30&labels=8",
    "synthetic:xor?features=30&labels=8",
    "synthetic:linear?features=100&labels=200",
    "synthetic:linear?labels=100000",
    "synthetic:blocks",
    "synthetic:blocks?labels=2000",
    "synthetic:text",
    "synthetic:text?labels=100000",
    "synthetic:text?labels=1000000",
    "synthetic:linear?drift=gradual&at=0&width=1000000",
    "synthetic:text?labels=10000&drift=gradual&of=structure&at=0&width=1000000",
)
_BATCH = 1024


def measure(source: Source, seconds: float) -> tuple[int, float, float]:
    """Events and seconds of the wall clock and of the processor, in `seconds` at least.

    The first batch, with what a stream prepares once, is not in it; a stream that ends begins
    anew.
    """
    source.next_batch(_BATCH, 0.0)
    count, wall, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        batch = source.next_batch(_BATCH, 0.0)
        if batch is None:
            source.seek({"event": 0})
        else:
            count += len(batch)
    return count, time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.generate", description=__doc__)
    parser.add_argument("uris", nargs="*", default=URIS, metavar="URI")
    parser.add_argument("--seconds", type=float, default=2.0, help="at least, for each stream")
    arguments = parser.parse_args()
    print("events/s  (processor)  ms to first event  stream")
    for uri in arguments.uris:
        start = time.perf_counter()
        source = open_source(uri)
        source.next_batch(1, 0.0)
        first = time.perf_counter() - start
        count, wall, processor = measure(source, arguments.seconds)
        print(f"{count / wall:8,.0f}  {count / processor:11,.0f}  {first * 1e3:17,.0f}  {uri}")
        source.close()


if __name__ == "__main__":
    main()

"""Imported by a server that forks processes: all that ``ihomer run`` needs, compiled."""

from __future__ import annotations

import ihomer.stream.cli.outside
import ihomer.stream.daemon
import ihomer.stream.exactly_once.plan
import ihomer.stream.files_once.ledger
import ihomer.stream.keeper
import ihomer.stream.watch  # noqa: F401 - as the command does
from ihomer.stream.assemble import warm_up

warm_up(processes=1)

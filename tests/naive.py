"""The slow, obvious references that kernels and incremental code are held against."""

from __future__ import annotations

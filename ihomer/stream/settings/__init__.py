"""Configuration: every key, where its value comes from, and how it is told."""

from __future__ import annotations

from ihomer.stream.settings.keys import PREFIX, Settings
from ihomer.stream.settings.load import (
    DEFAULT_FILE,
    OTHER_VARIABLES,
    LoadedSettings,
    load_settings,
)
from ihomer.stream.settings.reference import Key, mask, reference, toml_value

__all__ = [
    "DEFAULT_FILE",
    "OTHER_VARIABLES",
    "PREFIX",
    "Key",
    "LoadedSettings",
    "Settings",
    "load_settings",
    "mask",
    "reference",
    "toml_value",
]

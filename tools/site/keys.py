"""The reference of all configuration keys, from the settings' own model.

In: `ihomer.stream.settings.reference`. Out: a Markdown page. It is here so that a key that is
added or changed is in the documentation by that alone.
"""

from __future__ import annotations

from itertools import groupby

from ihomer.stream.settings import Settings, reference
from ihomer.stream.settings.reference import Key
from tools.site.markdown import code, table

_HEAD = """\
# Configuration keys

Every key with its default; where a key's value comes from, and how a file looks:
[Configuration](../reference/configuration.md). *May be changed* says whether a model that has
learned with another value goes on bit for bit; a daemon refuses a checkpoint if a key that may not
be changed differs. `ihomer config init` writes the same as a commented file.
"""


def keys_page() -> str:
    """The page: an overview, then every key."""
    keys = reference()
    rows = [
        [f"[`{key.name}`](#{_anchor(key)})", code(key.default), _first(key.description)]
        for key in keys
    ]
    parts = [_HEAD, table(["key", "default", "what it is"], rows)]
    for group, members in groupby(keys, key=_group):
        if group:
            parts.append(f"## Table `[{group}]`")
        parts += [_section(key, "###" if group else "##") for key in members]
    return "\n\n".join(parts) + "\n"


def _group(key: Key) -> str:
    """The TOML table of a key of the mapping; other keys are listed flat."""
    return "mapping" if key.name.startswith("mapping_") else ""


def _anchor(key: Key) -> str:
    return f"key-{key.name.replace('_', '-')}"


def _section(key: Key, level: str) -> str:
    extra = Settings.model_fields[key.name].json_schema_extra
    safe = isinstance(extra, dict) and bool(extra.get("safe_to_change"))
    spelling = f" ({key.spelling})" if key.spelling else ""
    lines = [
        f"({_anchor(key)})=",
        f"{level} {code(key.name)}",
        "",
        _escaped(key.description),
        "",
        f"- Accepted: {_escaped(key.accepted)}",
        f"- Default: {code(key.default)}",
        f"- Environment: {code(key.variable)}{spelling}",
        f"- May be changed under a model: {'yes' if safe else 'no'}",
    ]
    return "\n".join(lines)


def _first(description: str) -> str:
    """What a description says before its first full stop or semicolon."""
    end = min((at for at in (description.find(". "), description.find("; ")) if at > 0), default=-1)
    return _escaped(description if end < 0 else description[:end])


def _escaped(text: str) -> str:
    """Prose in which nothing is taken for markup."""
    for sign in "\\`*_<>[]$":
        text = text.replace(sign, f"\\{sign}")
    return text

"""What tells one experiment from another in a table: labels from settings. Needs no JAX."""

import json
from collections.abc import Iterable, Sequence

from lstm_jax.errors import printable

# What a label adds where specs alone do not tell two experiments apart.
_SHORT = {"task_file_sha256": "file", "cell_file_sha256": "file", "hidden_size": "hidden"}
_LONGEST = 120


def labels(settings: Sequence[dict], name: str, telling: Sequence[str]) -> list[str]:
    """Each one's spec, with those settings in which experiments of that spec differ."""
    by_spec: dict[str, list[dict]] = {}
    for own in settings:
        by_spec.setdefault(own[name], []).append(own)
    differing = {}
    for spec, alike in by_spec.items():
        values = {setting: {own[setting] for own in alike} for setting in telling}
        differing[spec] = {
            setting: _differing_options(found) if setting.endswith("options") else set()
            for setting, found in values.items()
            if len(found) > 1
        }
    return [
        shown(
            ", ".join(
                [
                    own[name],
                    *(
                        _telling(setting, own[setting], options)
                        for setting, options in differing[own[name]].items()
                    ),
                ]
            )
        )
        for own in settings
    ]


def _differing_options(texts: Iterable[str]) -> set[str]:
    """Names of the options that are not the same in all of several JSON objects."""
    found: dict[str, list[str]] = {}
    count = 0
    for text in texts:
        count += 1
        for name, value in json.loads(text or "{}").items():
            found.setdefault(name, []).append(json.dumps(value, sort_keys=True))
    return {name for name, values in found.items() if len(values) < count or len(set(values)) > 1}


def shown(value: str | int) -> str | int:
    """Text of a row as it is safe to print."""
    return printable(value, _LONGEST) if isinstance(value, str) else value


def _telling(setting: str, value: str | int, options: set[str]) -> str:
    """A setting as a label gives it: the start of a hash, of options those that differ."""
    if setting.endswith("sha256"):
        value = value[:8] or "built-in"
    elif setting.endswith("options"):
        own = json.loads(value or "{}")
        told = ", ".join(f"{name}={own[name]}" for name in own if name in options)
        return told or "other options"
    return f"{_SHORT.get(setting, setting)}={value}"

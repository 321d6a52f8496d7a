"""Tells whether a change to a published schema breaks anybody.

Both directions count, because old and new producers and consumers run side by side and logs are replayed:

- *backward*: a new reader must accept every old body, so nothing may become required, narrower or of another type;
- *forward*: an old reader must accept every new body, so nothing it requires may vanish or widen.

Allowed are new optional properties, and new titles, descriptions, defaults and definitions.
"""

from __future__ import annotations

from typing import Any

NOTES = {"title", "description", "examples", "default", "$schema", "$id", "$defs", "discriminator"}
Schema = dict[str, Any]


def changes_that_break(old: Schema, new: Schema) -> list[str]:
    """Sentences, each naming the place and what changed there; empty if everybody keeps working."""
    return sorted(set(_compare(old, new, old, new, "body", frozenset())))


def _compare(
    old: Any, new: Any, old_root: Schema, new_root: Schema, place: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if any(pair):
            if pair in seen:
                return []
            seen |= {pair}
        old, new = _resolved(old, old_root), _resolved(new, new_root)
        found = _compare_properties(old, new, old_root, new_root, place, seen)
        for word in (old.keys() | new.keys()) - NOTES - {"properties", "required", "$ref"}:
            found += _compare_word(word, old, new, old_root, new_root, place, seen)
        return found
    return [] if old == new else [f"{place} was {old!r} and is {new!r}"]


def _compare_word(
    word: str,
    old: Schema,
    new: Schema,
    old_root: Schema,
    new_root: Schema,
    place: str,
    seen: frozenset[tuple[str, str]],
) -> list[str]:
    if word not in new:
        return [f"{place} no longer says {word!r} (it was {old[word]!r})"]
    if word not in old:
        return [f"{place} now says {word!r} ({new[word]!r})"]
    if word in {"anyOf", "oneOf", "allOf", "prefixItems"}:
        if len(old[word]) != len(new[word]):
            return [f"{place} has other alternatives than before"]
        return [
            change
            for number, (one, other) in enumerate(zip(old[word], new[word], strict=True))
            for change in _compare(one, other, old_root, new_root, f"{place}.{word}[{number}]", seen)
        ]
    if word in {"items", "additionalProperties"}:
        return _compare(old[word], new[word], old_root, new_root, f"{place}[]", seen)
    if word == "enum" and set(old[word]) != set(new[word]):
        return [f"{place} knows other values than before: {sorted(set(old[word]) ^ set(new[word]))}"]
    return [] if old[word] == new[word] else [f"{place}.{word} was {old[word]!r} and is {new[word]!r}"]


def _compare_properties(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, place: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
    found = [f"{place}.{name} was removed" for name in before.keys() - after.keys()]
    found += [f"{place}.{name} is new and required" for name in required_after - before.keys()]
    found += [f"{place}.{name} became required" for name in (required_after & before.keys()) - required_before]
    found += [f"{place}.{name} is no longer required" for name in (required_before & after.keys()) - required_after]
    for name in before.keys() & after.keys():
        found += _compare(before[name], after[name], old_root, new_root, f"{place}.{name}", seen)
    return found


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Schema = root["$defs"][str(reference).rsplit("/", 1)[1]]
    return {**target, **{word: value for word, value in schema.items() if word != "$ref"}}

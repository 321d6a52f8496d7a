"""Generates what others read: a JSON Schema for each event type and document, one AsyncAPI document, and the flow of events.

python -m contracts.publish          writes contracts/schemas, contracts/asyncapi and the diagram
python -m contracts.publish --check  exits 1 if what is checked in differs, or if a published version changed incompatibly
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from contracts.catalog import CATALOG, Entry
from contracts.compat import changes_that_break
from contracts.envelope import CONTENT_TYPE, SCHEMA_ROOT
from contracts.manifest import SCHEMA_NAME, Manifest
from contracts.topics import DEAD_LETTERS, GENERATION, PROGRESS, TOPICS
from contracts.values import Value

HERE = Path(__file__).parent
SCHEMAS = HERE / "schemas"
ASYNCAPI = HERE / "asyncapi" / "heaters.asyncapi.json"
ARCHITECTURE = HERE.parent / "ARCHITECTURE.md"
FLOW_BEGINS = "<!-- flow: made by python -m contracts.publish -->"
FLOW_ENDS = "<!-- flow ends -->"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, type[Value]] = {SCHEMA_NAME: Manifest}
"""What is published beside events: documents that lie in the store."""


def schema_of(entry: Entry) -> dict[str, Any]:
    """The JSON Schema of an event's body as it is written to the wire."""
    schema = entry.model.model_json_schema(mode="serialization")
    return {"$schema": DIALECT, "$id": f"{SCHEMA_ROOT}{entry.type}", **schema}


def document_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a document as it is written into the store."""
    return {
        "$schema": DIALECT,
        "$id": f"{SCHEMA_ROOT}{name}",
        **DOCUMENTS[name].model_json_schema(mode="serialization"),
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Every published schema, by the name of its event type or document."""
    events = {entry.type: schema_of(entry) for entry in CATALOG}
    return events | {name: document_schema(name) for name in DOCUMENTS}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: every topic, every message, who sends and who receives it."""
    channels = {
        topic.name: {
            "address": topic.name,
            "description": topic.purpose,
            "messages": {
                entry.type: {"$ref": f"#/components/messages/{entry.type}"} for entry in CATALOG if entry.topic == topic
            },
            "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions}},
        }
        for topic in TOPICS
    }
    operations: dict[str, Any] = {}
    for entry in CATALOG:
        reference = {"$ref": f"#/channels/{entry.topic.name}/messages/{entry.type}"}
        for action, parties in (("send", entry.producers), ("receive", entry.consumers)):
            if entry.superseded_by is not None and action == "send":
                continue
            for party in parties:
                operations[f"{party}.{action}.{entry.type}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{entry.topic.name}"},
                    "messages": [reference],
                }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Heaters",
            "version": "1",
            "description": "CloudEvents 1.0, Kafka binding, binary mode; bodies are JSON; the key is the video id.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {"messages": {entry.type: _message(entry) for entry in CATALOG}},
    }


def _message(entry: Entry) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": entry.type,
        "summary": (entry.model.__doc__ or "").strip().splitlines()[0],
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
            "properties": {
                "ce_specversion": {"const": "1.0"},
                "ce_id": {"type": "string"},
                "ce_source": {"type": "string"},
                "ce_type": {"const": entry.type},
                "ce_subject": {"type": "string"},
                "ce_time": {"type": "string", "format": "date-time"},
                "ce_dataschema": {"const": f"{SCHEMA_ROOT}{entry.type}"},
                "traceparent": {"type": "string"},
                "tracestate": {"type": "string"},
            },
        },
        "payload": {"$ref": f"../schemas/{entry.type}.json"},
    }
    if entry.superseded_by is not None:
        message["x-superseded-by"] = entry.superseded_by.TYPE
    return message


def flow() -> str:
    """The flow of events between services, as a Mermaid diagram: an arrow for each producer, consumer and topic."""
    arrows: dict[tuple[str, str, str], list[str]] = {}
    for entry in CATALOG:
        if entry.superseded_by is not None or entry.topic in (PROGRESS, DEAD_LETTERS, GENERATION):
            continue
        noun = entry.type.removeprefix("heaters.").rpartition(".v")[0].partition(".")[2]
        for producer in entry.producers:
            for consumer in entry.consumers:
                arrows.setdefault((producer, consumer, entry.topic.name), []).append(noun)
    lines = ["```mermaid", "flowchart LR"]
    for (producer, consumer, topic), nouns in arrows.items():
        said = ", ".join(nouns) if len(nouns) <= 3 else f"{', '.join(nouns[:2])} … {len(nouns)} types"
        lines.append(f'    {producer} -- "{topic.removeprefix("heaters-")}: {said}" --> {consumer}')
    return "\n".join([*lines, "```"])


def architecture() -> str:
    """ARCHITECTURE.md with its diagram made anew."""
    text = ARCHITECTURE.read_text()
    before, _, rest = text.partition(FLOW_BEGINS)
    _, _, after = rest.partition(FLOW_ENDS)
    return f"{before}{FLOW_BEGINS}\n{flow()}\n{FLOW_ENDS}{after}"


def generated() -> dict[Path, str]:
    """Every generated file and its text."""
    files = {SCHEMAS / f"{name}.json": _spell(schema) for name, schema in schemas().items()}
    files[ASYNCAPI] = _spell(asyncapi())
    if ARCHITECTURE.exists():
        files[ARCHITECTURE] = architecture()
    return files


def _spell(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def differences() -> list[str]:
    """What is wrong with the checked-in files, a sentence each; none when they are in step and compatible."""
    files = generated()
    found = [
        f"{path.relative_to(HERE.parent)} is not what the models generate; run python -m contracts.publish."
        for path, text in files.items()
        if not path.exists() or path.read_text() != text
    ]
    found += [
        f"{path.relative_to(HERE.parent)} belongs to nothing any more, but a published version stays for ever."
        for path in sorted(SCHEMAS.glob("*.json"))
        if path not in files
    ]
    return found


def incompatible() -> list[str]:
    """Changes to published versions that would break a reader or a writer of the checked-in schemas."""
    found = []
    for name, schema in schemas().items():
        path = SCHEMAS / f"{name}.json"
        if path.exists():
            found += [f"{name}: {change}" for change in changes_that_break(json.loads(path.read_text()), schema)]
    return found


def main() -> int:
    """The command line."""
    breaking = incompatible()
    for sentence in breaking:
        print(sentence, file=sys.stderr)  # noqa: T201 - a command's only voice.
    if breaking:
        print("A published version never changes so; add a new version with an upcaster.", file=sys.stderr)  # noqa: T201
        return 1
    if "--check" in sys.argv[1:]:
        for sentence in differences():
            print(sentence, file=sys.stderr)  # noqa: T201
        return 1 if differences() else 0
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Brings a training set to a folder: shards and their index, as the review service makes them.

Guarantees: a file appears whole or not at all; given again after an interruption, the command goes on with the files that are
missing, as long as the same clips are delivered; what lies there of another set is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from console.api import Api

PLAN = "training-set.json"
INDEX = "index.parquet"


def bring(api: Api, folder: Path, asked: Mapping[str, Any]) -> Iterator[Path | Mapping[str, Any]]:
    """The set as the service tells of it, then each file as it arrives. ``asked`` are the route's parameters."""
    query = urlencode({name: value for name, value in asked.items() if value}, doseq=True)
    made = api.get("/api/training-set" + (f"?{query}" if query else ""))
    yield made
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / PLAN
    if not plan.exists() or json.loads(plan.read_text()).get("digest") != made["digest"]:
        for old in (*folder.glob("[0-9]*.tar"), folder / INDEX, plan):
            old.unlink(missing_ok=True)
        plan.write_text(json.dumps(made, indent=1) + "\n")
    addresses = {shard["name"]: shard["url"] for shard in made["shards"]} | {INDEX: made["index"]}
    for name, address in addresses.items():
        target = folder / name
        if not target.exists():
            api.save(address, target)
            yield target

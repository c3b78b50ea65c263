"""What the audit trail of a data directory says."""

import json
from pathlib import Path
from typing import Any


def audited(folder: Path) -> list[dict[str, Any]]:
    """The events in their order, each as its name, its ids, its details, and whether it succeeded."""
    return [
        _told(json.loads(line)) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()
    ]


def audited_names(folder: Path) -> list[str]:
    """The names of the events, in their order."""
    return [event["name"] for event in audited(folder)]


def _told(event: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"name": event["subtype"][-1]["code"], "outcome": event["outcome"]}
    for agent in event["agent"]:
        if "network" in agent:
            told["network"] = agent["network"]["address"]
    for entity in event.get("entity", []):
        for detail in entity.get("detail", []):
            told[detail["type"]] = detail["valueString"]
        if "what" in entity:
            identifier = entity["what"]["identifier"]
            told[identifier["system"].removeprefix("urn:certrad:")] = identifier["value"]
    return told

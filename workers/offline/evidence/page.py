"""The index of evidence as one page of HTML that prints: no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from certrad.workers.offline.evidence.requirements import SOURCES

_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{border:1px solid #999;padding:.35rem .5rem;text-align:left;vertical-align:top}"
    "@media print{body{max-width:none;margin:0}tr{break-inside:avoid}}"
)


def page(index: Mapping[str, Any]) -> bytes:
    """Returns the page.

    Args:
        index: The index, as it is written to `index.json`.
    """
    items = [
        [escape(each["title"]), _files(each["files"]) or _not_covered(each["not_covered"]), escape(each["note"] or "")]
        for each in index["items"]
    ]
    parts = [
        f"<h1>Evidence: {escape(index['title'])}</h1>",
        f"<p>Gathered {escape(index['made_at'])} by certrad {escape(index['version'])}. "
        "Research use only; not a medical device. The records inform; none of them fulfils a requirement.</p>",
        "<h2>Items</h2>",
        _table(("item", "files", "note"), items),
        *_accuracy(index["certified_accuracy"], index["evaluated"]),
        *_audited(index["audited"]),
        *_attacked(index["attacked"]),
        "<h2>Limits</h2>",
        f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in index['limits'])}</ul>",
    ]
    for source, title in SOURCES.items():
        rows = [_requirement(each) for each in index["requirements"] if each["source"] == source]
        parts += [f"<h2>{escape(title)}</h2>", _table(("place", "about", "evidence", "not covered"), rows)]
    head = f'<meta charset="utf-8"><title>Evidence: {escape(index["title"])}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'.encode()


def _requirement(each: Mapping[str, Any]) -> Sequence[str]:
    named = ", ".join(each["items"]) or "none"
    return escape(each["place"]), escape(each["subject"]), escape(named), _not_covered(each["not_covered"])


def _accuracy(rows: Sequence[Mapping[str, Any]], classifier: Mapping[str, Any] | None) -> list[str]:
    if not rows:
        return []
    named = [] if classifier is None else [f"<p>{_classifier(classifier)}.</p>"]
    cells = [
        [escape(f"{each[name]}") for name in ("radius", "certified", "images", "share", "low", "high")] for each in rows
    ]
    header = ("radius at least", "certified for the label", "images", "share", "95% from", "to")
    return ["<h2>Certified accuracy</h2>", *named, _table(header, cells)]


def _audited(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = ("mode", "scope", "adapter", "images", "certified", "mean_radius", "attacked", "contradictions")
    cells = [[*(_value(each[name]) for name in names), _yes(each["radius_held"])] for each in rows]
    header = (*(name.replace("_", " ") for name in names), "every certified radius held")
    return ["<h2>Attacks on certified images</h2>", _table(header, cells)]


def _attacked(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    shares = [
        [kind.replace("_", "-"), escape(found["attacks"].get(kind, "no attack")), *map(str, list(share.values()))]
        for kind, share in found["accuracy"].items()
    ]
    names = ("image", "label", "clean", "non_adaptive", "adaptive")
    rows = [
        [*(_value(each[name]) for name in names), *(_yes(held) for held in each["class_held"].values())]
        for each in found["images"]
    ]
    epsilon = f"{255 * found['epsilon']:.4g}/255"
    return [
        "<h2>Images attacked without a certificate</h2>",
        f"<p>{_classifier(found)}; largest change of a value {escape(epsilon)}. No radius was predicted for these "
        "images: the table says whether their class held.</p>",
        _table(("images", "attack", "correct", "of", "share", "95% from", "to"), shares),
        _table((*(name.replace("_", "-") for name in names), "held, non-adaptive", "held, adaptive"), rows),
    ]


def _classifier(named: Mapping[str, Any]) -> str:
    adapter = "" if named["adapter"] is None else f" with adapter {named['adapter']}"
    return escape(f"Backbone {named['backbone']}{adapter}, prompt {named['prompt']}")


def _yes(held: bool | None) -> str:
    return "not attacked" if held is None else "yes" if held else "no"


def _value(value: object) -> str:
    return escape("none" if value is None else f"{value}")


def _files(names: Sequence[str]) -> str:
    return ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in names)


def _not_covered(reason: str | None) -> str:
    return f"not covered: {escape(reason)}" if reason else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table; the cells are HTML."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

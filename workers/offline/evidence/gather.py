"""`certrad evidence`: gathers the records of an installation about one task, and signs their digests."""

import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.envelopes.dsse import STATEMENT_TYPE, seal_statement
from certrad.models.certificates.signature import is_signed, public_key
from certrad.models.certificates.text import general_limits
from certrad.models.evaluation.certified import COLUMNS, Row, summary
from certrad.models.files import replace_file
from certrad.models.installed import CardError, Cards, installed_cards
from certrad.models.shipped import shipped_datasets
from certrad.models.types.codec import encode_card
from certrad.models.types.selftest import REPORT_SCHEMA
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.engine.code_digest import code_sha256
from certrad.workers.keys.admin import list_keys
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.evidence.page import page
from certrad.workers.offline.evidence.requirements import ITEMS, REQUIREMENTS, ItemId
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings

SCHEMA: Final = "certrad.evidence/1"
PREDICATE_TYPE: Final = "https://github.com/certrad/certrad/evidence/v1"
ENVELOPE: Final = "index.dsse.json"
_PRIVATE: Final = ("url", "token", "password", "user", "secret", "key")


@dataclass(slots=True)
class Evidence:
    """The files that are gathered, by their names, and why an item has none."""

    files: dict[str, bytes] = field(default_factory=dict)
    of_item: dict[ItemId, list[str]] = field(default_factory=dict)
    reasons: dict[ItemId, str] = field(default_factory=dict)
    certified_accuracy: list[dict[str, Any]] = field(default_factory=list)

    def add(self, item: ItemId, name: str, content: bytes) -> None:
        """Adds a file of an item."""
        self.files[name] = content
        self.of_item.setdefault(item, []).append(name)

    def leave_out(self, item: ItemId, reason: str) -> None:
        """Says why an item has no file."""
        self.reasons[item] = reason


def write_evidence(options: Namespace) -> int:
    """Writes the folder.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    settings = settings_of(StackSettings, options.data_dir)
    keys = SigningKeys(settings.signing_dir)
    if not keys.public_keys():
        return fail(
            f"there is no key in {keys.directory}: run this where `signing/` is, the machine or container of intake",
            FAILURE,
        )
    if options.out.exists():
        return fail(f"`--out` must not exist; {options.out} does", BAD_USAGE)
    try:
        cards = installed_cards(settings.cards_dir, settings.prompts_dir)
        evidence = _gathered(options, settings, cards)
    except (OSError, ValueError, CardError) as error:
        return fail(str(error), BAD_USAGE)
    index = _index(evidence, cards.tasks[options.task].title)
    files = {**evidence.files, "index.json": _json(index), "index.html": page(index)}
    files[ENVELOPE] = _sealed_digests(files, options.task, index["made_at"], keys.current())
    try:
        for name, content in files.items():
            replace_file(options.out / name, content, private=False)
    except OSError as error:
        return fail(f"the evidence cannot be written: {error.strerror}", FAILURE)
    _print_items(index)
    return DONE


def _sealed_digests(files: Mapping[str, bytes], task: str, made_at: str, key: Ed25519PrivateKey) -> bytes:
    """Returns the envelope: the digests of the files, signed."""
    digests = [{"name": name, "digest": {"sha256": hashlib.sha256(files[name]).hexdigest()}} for name in sorted(files)]
    predicate = {"schema": SCHEMA, "task": task, "public_key": public_key(key), "made_at": made_at}
    return seal_statement(
        {"_type": STATEMENT_TYPE, "subject": digests, "predicateType": PREDICATE_TYPE, "predicate": predicate}, key
    )


def _print_items(index: Mapping[str, Any]) -> None:
    for each in index["items"]:
        sys.stdout.write(f"{each['id']:14} {', '.join(each['files']) or 'not covered: ' + each['not_covered']}\n")


def _gathered(options: Namespace, settings: StackSettings, cards: Cards) -> Evidence:
    evidence, task = Evidence(), cards.tasks[options.task]
    evidence.add("task_card", "cards/task.json", encode_card(task).encode())
    evidence.add("backbone_card", "cards/backbone.json", encode_card(cards.backbones[task.default_backbone]).encode())
    named = [cards.prompts[name] for name in (task.default_prompt, task.default_bank) if name]
    for card in named:
        # The digests of images that it was tuned on say nothing to a reader, and there may be thousands.
        facts = {name: value for name, value in asdict(card).items() if name != "tuned_on"}
        evidence.add("prompt_cards", f"cards/prompt-{card.id}.json", _json(facts))
    if not named:
        evidence.leave_out("prompt_cards", "the task has no learned prompt")
    evidence.add("limits", "limits.json", _json(list(general_limits())))
    _add_evaluation(evidence, options.evaluation, options.task)
    _add_audit(evidence, options.audit)
    _add_selftest(evidence, options.selftest, unsigned=options.unsigned_selftest)
    _add_sbom(evidence, options.sbom)
    evidence.add("keys", "keys.json", _json(list_keys(settings)))
    installed = {each.metadata["Name"]: each.version for each in distributions()}
    evidence.add("versions", "versions.json", _json({"code_sha256": code_sha256(), "distributions": installed}))
    evidence.add("settings", "settings.json", _json(_public(settings)))
    return evidence


def _add_evaluation(evidence: Evidence, table: Path | None, task: str) -> None:
    if table is None:
        evidence.leave_out("evaluation", "no evaluation was given")
        return
    header, *lines = table.read_text(encoding="utf-8").splitlines() or [""]
    beside = table.with_suffix(".json")
    if header != "\t".join(COLUMNS) or not lines:
        raise ValueError(f"{table} must be a table of `certrad evaluate --out`, with at least one row")
    if not beside.is_file():
        raise ValueError(f"{beside} must hold the settings of the table, as `certrad evaluate --out` writes it")
    rows = [Row.from_line(line) for line in lines]
    settings = json.loads(beside.read_text("utf-8"))
    data = str(settings.get("data"))
    known = shipped_datasets().get(data)
    if (data if known is None else known.task) != task:
        raise ValueError(f"{table} must be about the task {task!r}, got one about the data set {data!r}")
    shown = summary(rows)
    for radius, share in shown["certified_accuracy"].items():
        evidence.certified_accuracy.append(
            {
                "radius": radius,
                "certified": share.hits,
                "images": share.images,
                "share": f"{share.value:.4f}",
                "low": share.low,
                "high": share.high,
            }
        )
    chosen = {name: settings[name] for name in _OF_EVALUATION if name in settings}
    evidence.add(
        "evaluation", "evaluation/table.tsv", "\n".join([header, *(row.to_line() for row in rows), ""]).encode()
    )
    evidence.add(
        "evaluation", "evaluation/summary.json", _json({"settings": chosen, "rows": evidence.certified_accuracy})
    )


_OF_EVALUATION: Final = (
    *("data", "split", "split_rule", "images_of_split", "images", "images_sha256", "classifier", "scope", "params"),
    *("backbone_sha256", "dtype", "device", "batch_size", "seed"),
)


def _add_audit(evidence: Evidence, file: Path | None) -> None:
    if file is None:
        evidence.leave_out("audit", "no result of `certrad audit` was given")
        return
    match _read_json(file):
        case {"sound": bool(), "verdicts": list(), "settings": dict()} as found:
            chosen = {name: found[name] for name in ("sound", "verdicts", "settings")}
            evidence.add("audit", "audit.json", _json(chosen))
        case _:
            raise ValueError(f"{file} must hold what `certrad audit --json` printed")


def _add_selftest(evidence: Evidence, file: Path | None, *, unsigned: bool) -> None:
    if file is None:
        evidence.leave_out("selftest", "no report of `certrad selftest` was given")
        return
    report = _read_json(file)
    if not isinstance(report, dict) or report.get("schema") != REPORT_SCHEMA:
        raise ValueError(f"{file} must be a report of `certrad selftest --out`")
    if report.get("signature") is None:
        if not unsigned:
            raise ValueError(f"{file} has no signature; add `--unsigned-selftest` if its host has no signing key")
    elif not is_signed(report):
        raise ValueError(f"{file} was changed after it was signed")
    evidence.add("selftest", "selftest.json", file.read_bytes())


def _add_sbom(evidence: Evidence, file: Path | None) -> None:
    if file is None:
        evidence.leave_out("sbom", "no software bill of materials was given")
        return
    bill = _read_json(file)
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX":
        raise ValueError(f"{file} must be a CycloneDX document in JSON")
    evidence.add("sbom", "sbom.json", file.read_bytes())


def _index(evidence: Evidence, title: str) -> dict[str, Any]:
    items = [
        {"id": item, "title": words, "files": evidence.of_item.get(item, []), "not_covered": evidence.reasons.get(item)}
        for item, words in ITEMS.items()
    ]
    there = set(evidence.of_item)
    requirements = [
        {
            "source": each.source,
            "place": each.place,
            "subject": each.subject,
            "items": [item for item in each.items if item in there],
            "not_covered": "; ".join([each.missing, *(evidence.reasons[i] for i in each.items if i not in there)]),
        }
        for each in REQUIREMENTS
    ]
    return {
        "schema": SCHEMA,
        "title": title,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("certrad"),
        "items": items,
        "certified_accuracy": evidence.certified_accuracy,
        "limits": list(general_limits()),
        "requirements": requirements,
    }


def _public(settings: StackSettings) -> Mapping[str, str]:
    """Returns the settings; of one that may hold a secret, only whether it was set."""
    shown = {}
    for name in sorted(type(settings).model_fields):
        value = getattr(settings, name)
        if isinstance(value, SecretStr) or any(part in _PRIVATE for part in name.split("_")):
            shown[name] = "set" if name in settings.model_fields_set else "not set"
        else:
            shown[name] = str(value)
    return shown


def _read_json(file: Path) -> Any:  # noqa: ANN401  # what JSON holds is what the caller checks
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        raise ValueError(f"{file} is no JSON") from None


def _json(value: object) -> bytes:
    return canonical(value)

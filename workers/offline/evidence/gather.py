"""`certrad evidence`: gathers the records of an installation about one task, and signs their digests."""

import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.envelopes.dsse import STATEMENT_TYPE, seal_statement
from certrad.models.certificates.signature import is_signed, public_key, signer
from certrad.models.certificates.text import general_limits
from certrad.models.evaluation.certified import COLUMNS, Row, summary
from certrad.models.files import replace_file
from certrad.models.installed import CardError, Cards, installed_cards
from certrad.models.shipped import shipped_datasets
from certrad.models.types import TaskCard
from certrad.models.types.selftest import REPORT_SCHEMA
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.engine.code_digest import code_sha256
from certrad.workers.keys.admin import list_keys
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.evidence.attacks import attacked_images, verdicts_of
from certrad.workers.offline.evidence.cards import add_adapter_cards, add_cards, prompts_of
from certrad.workers.offline.evidence.made_here import NotMadeError, bill_of_materials, selftest_report
from certrad.workers.offline.evidence.page import page
from certrad.workers.offline.evidence.parts import GatheredEvidence
from certrad.workers.offline.evidence.requirements import ITEMS, REQUIREMENTS
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings

SCHEMA: Final = "certrad.evidence/1"
PREDICATE_TYPE: Final = "https://github.com/certrad/certrad/evidence/v1"
ENVELOPE: Final = "index.dsse.json"
_PRIVATE: Final = ("url", "token", "password", "user", "secret", "key")


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
        cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
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
        covered = "not covered: " + each["not_covered"] if each["not_covered"] else ", ".join(each["files"])
        note = f" ({each['note']})" if each["note"] else ""
        sys.stdout.write(f"{each['id']:14} {covered}{note}\n")


def _gathered(options: Namespace, settings: StackSettings, cards: Cards) -> GatheredEvidence:
    evidence, task = GatheredEvidence(), cards.tasks[options.task]
    add_cards(evidence, task, cards)
    evidence.add("limits", "limits.json", _json(list(general_limits())))
    _add_evaluation(evidence, options.evaluation, options.task)
    _add_audit(evidence, options.audit)
    _add_attack(evidence, options.attack, task)
    of_prompts = {card.adapter for card in prompts_of(task, cards)}
    named = {task.default_adapter, *of_prompts, *evidence.adapters()}
    add_adapter_cards(evidence, named, AdapterStore(own=settings.adapters_dir))
    _add_selftest(evidence, options.selftest, settings, unsigned=options.unsigned_selftest)
    _add_sbom(evidence, options.sbom)
    evidence.add("keys", "keys.json", _json(list_keys(settings)))
    installed = {each.metadata["Name"]: each.version for each in distributions()}
    evidence.add("versions", "versions.json", _json({"code_sha256": code_sha256(), "distributions": installed}))
    evidence.add("settings", "settings.json", _json(_public(settings)))
    return evidence


def _add_evaluation(evidence: GatheredEvidence, table: Path | None, task: str) -> None:
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
    if isinstance(classifier := settings.get("classifier"), dict):
        named = {name: classifier.get(name) for name in ("backbone", "prompt", "adapter")}
        evidence.evaluated = {name: value if isinstance(value, str) else None for name, value in named.items()}
    evidence.add(
        "evaluation", "evaluation/table.tsv", "\n".join([header, *(row.to_line() for row in rows), ""]).encode()
    )
    evidence.add(
        "evaluation", "evaluation/summary.json", _json({"settings": chosen, "rows": evidence.certified_accuracy})
    )


_OF_EVALUATION: Final = (
    *("data", "split", "split_rule", "images_of_split", "images", "images_sha256", "classifier", "scope", "params"),
    *("backbone_sha256", "adapter_sha256", "dtype", "device", "batch_size", "seed"),
)


def _add_audit(evidence: GatheredEvidence, file: Path | None) -> None:
    if file is None:
        evidence.leave_out("audit", "no result of `certrad audit` was given")
        return
    match _read_json(file):
        case {"sound": bool(), "verdicts": list(), "settings": dict()} as found:
            try:
                evidence.audited = verdicts_of(found["verdicts"], found["settings"].get("modes", ()))
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from None
            chosen = {"sound": found["sound"], "verdicts": evidence.audited, "settings": found["settings"]}
            evidence.add("audit", "audit.json", _json(chosen))
        case _:
            raise ValueError(f"{file} must hold what `certrad audit --json` printed")


def _add_attack(evidence: GatheredEvidence, file: Path | None, task: TaskCard) -> None:
    if file is None:
        evidence.leave_out("attack", "no result of `certrad attack` was given")
        return
    try:
        evidence.attacked = attacked_images(_read_json(file), task)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    evidence.add("attack", "attack.json", _json(evidence.attacked))


def _add_selftest(evidence: GatheredEvidence, file: Path | None, settings: StackSettings, *, unsigned: bool) -> None:
    keys = SigningKeys(settings.signing_dir)
    try:
        content = selftest_report(settings, keys) if file is None else file.read_bytes()
    except NotMadeError as error:
        evidence.leave_out("selftest", str(error))
        return
    name = "the report" if file is None else str(file)
    report = _parsed(content, name)
    if not isinstance(report, dict) or report.get("schema") != REPORT_SCHEMA:
        raise ValueError(f"{name} must be a report of `certrad selftest --out`")
    if report.get("signature") is not None and not is_signed(report):
        raise ValueError(f"{name} was changed after it was signed")
    revoked = {revocation.sha256 for revocation in keys.revocations()}
    own = {key.public_key for key in keys.public_keys() if key.sha256 not in revoked}
    by = signer(report)
    if by not in own and not unsigned:
        raise ValueError(
            f"{name} is not signed with a key of this installation that is not revoked; add `--unsigned-selftest` to "
            "take it without"
        )
    outcome = "passed" if report.get("passed") is True else "not passed"
    holder = "this installation" if by in own else f"the key {by}, which is not one of this installation"
    evidence.notes["selftest"] = f"{outcome}; signed by {holder if by else 'nobody'}"
    evidence.add("selftest", "selftest.json", content)


def _add_sbom(evidence: GatheredEvidence, file: Path | None) -> None:
    try:
        content = bill_of_materials() if file is None else file.read_bytes()
    except NotMadeError as error:
        evidence.leave_out("sbom", str(error))
        return
    bill = _parsed(content, f"{file}")
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX":
        raise ValueError(f"{file} must be a CycloneDX document in JSON")
    evidence.notes["sbom"] = "the environment of this command" if file is None else "as it was given"
    evidence.add("sbom", "sbom.json", content)


def _index(evidence: GatheredEvidence, title: str) -> dict[str, Any]:
    items = [
        {
            "id": item,
            "title": words,
            "files": evidence.of_item.get(item, []),
            "note": evidence.notes.get(item),
            "not_covered": evidence.reasons.get(item),
        }
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
        "evaluated": evidence.evaluated,
        "audited": evidence.audited,
        "attacked": evidence.attacked,
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
    return _parsed(file.read_bytes(), str(file))


def _parsed(content: bytes, name: str) -> Any:  # noqa: ANN401  # see `_read_json`
    try:
        return json.loads(content)
    except ValueError:
        raise ValueError(f"{name} is no JSON") from None


def _json(value: object) -> bytes:
    return canonical(value)

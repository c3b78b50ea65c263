"""`certrad verify FILE`: checks a document by itself and, with its image, by sampling on this machine."""

import json
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from certrad.models.certificates import set_checks
from certrad.models.certificates.schemas.schema import read
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.certificates.verify import (
    Check,
    Issuer,
    Opened,
    ProvenTime,
    Skipped,
    TimeStampTrust,
    Verification,
    check_image,
    open_certificate,
    run_check,
    verify,
)
from certrad.models.errors import Rejected
from certrad.models.installed import installed_cards
from certrad.models.types import BackboneCard
from certrad.models.types.image import IMAGE_WARNINGS, ImageWarning
from certrad.models.types.public_key import from_jwk, from_pem
from certrad.models.types.variant_lists import VARIANTS_LIMIT
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.keys.time_stamps import read_limited
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import WorkerSettings

_KEY_BYTES: Final = 32
_CAVEAT: Final = "A certificate says nothing about whether the class is right."
_SAME: Final = "weights, prompt and text features have the stated digests"
_UNROUNDED: Final = (
    "unrounded_window: the certificate is from before windows were rounded to a lattice, and its image was rendered so"
)
_ROUNDED: Final = "weights and prompt have the stated digests; this machine rounds the text features differently"
_OnSamples = Callable[[int], None]


def verify_document(options: Namespace) -> int:
    """Checks the document and prints.

    Returns:
        The exit code: 0 for a valid document, 1 for any other, 2 for bad usage.
    """
    settings = settings_of(WorkerSettings, options.data_dir)
    try:
        content, issuer = options.file.read_bytes(), None if options.key is None else read_issuer(options.key)
        stamp = None if options.time_stamp is None else _reader(options, settings)
        image = None if options.image is None else options.image.read_bytes()
        calibration = None if options.calibration is None else options.calibration.read_bytes()
        folders = settings.cards_dir, settings.prompts_dir, settings.adapters_dir
        cards = {} if image is None else installed_cards(*folders).backbones
    except (OSError, ValueError) as error:
        return fail(str(error), BAD_USAGE)
    statement = None
    warnings: list[ImageWarning] = []
    try:
        opened = open_certificate(content)
        verification = verify(content, issuer, stamp)
        if stamp is not None and "time_stamp" not in {check.name for check in verification.checks}:
            verification = replace(verification, checks=(*verification.checks, _of_stamp(opened, stamp)))
    except Rejected as rejected:
        verification = Verification(checks=(Check("document", False, rejected.detail),), issuer="not_checked")
    else:
        if verification.valid:
            statement = read(opened.document)
    if statement is not None:
        if calibration is not None and (set_claim := statement.prediction_set) is not None:
            keys = None if issuer is None else issuer.public_keys
            test = partial(set_checks.calibration_file, statement, set_claim, calibration, keys)
            verification = replace(verification, checks=(*verification.checks, run_check("calibration", test)))
        if image is not None:
            of_image = _of_image(statement, image, options, cards, settings, warnings)
            verification = replace(verification, checks=(*verification.checks, *of_image))
        verification = replace(verification, skipped=(*verification.skipped, *_not_asked(verification, options)))
    _show(verification, statement, warnings, as_json=options.json)
    return DONE if verification.valid else FAILURE


def read_issuer(path: Path) -> Issuer:
    """Returns the published keys of an issuer.

    Args:
        path: The saved answer of /.well-known/certrad-keys, .pem or jwks.json, or a public key in hexadecimal.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is none of them.
    """
    text = path.read_text(encoding="utf-8").strip()
    try:
        published = _published(text)
        keys = [bytes.fromhex(key["public_key"] if "public_key" in key else from_jwk(key)) for key in published["keys"]]
        revoked = {str(key["sha256"]): key.get("leaked_at") for key in published.get("revoked", [])}
        leaks = {key: datetime.fromisoformat(leaked) for key, leaked in revoked.items() if leaked is not None}
        committed = {str(epoch["sha256"]): epoch["secret"] for epoch in published.get("epochs", [])}
        revealed = [bytes.fromhex(secret) for secret in committed.values() if secret]
    except (ValueError, KeyError, TypeError, AttributeError):
        keys, revoked, leaks, published, committed, revealed = [], {}, {}, {}, {}, []
    if not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise ValueError(
            f"{path} must hold the answer of /.well-known/certrad-keys, PEM, a JSON Web Key Set, or one public key in "
            "hexadecimal"
        )
    return Issuer(
        public_keys=frozenset(key.hex() for key in keys),
        revoked=frozenset(revoked),
        leaks=leaks,
        secrets={sha256(secret).hexdigest(): secret for secret in revealed},
        epochs=frozenset(committed) if "epochs" in published else None,
    )


def _published(text: str) -> dict[str, Any]:
    """Returns the keys of a text in the form of /.well-known/certrad-keys or of a JSON Web Key Set."""
    if text.startswith("{"):
        published: dict[str, Any] = json.loads(text)
        return published
    keys = from_pem(text) if text.startswith("-----BEGIN") else [text]
    return {"keys": [{"public_key": key} for key in keys]}


def _reader(options: Namespace, settings: WorkerSettings) -> ProvenTime:
    """Returns what reads the time stamp of the options.

    Raises:
        OSError: A file cannot be read.
        ValueError: No authority is trusted.
    """
    response, trusted = options.time_stamp.read_bytes(), options.tsa_certificates or settings.tsa_certificates
    if trusted is None:
        raise ValueError("`--tsa-certificates` must be given with `--time-stamp`: whom you trust to state the time")
    trust = TimeStampTrust(certificates=trusted.read_bytes(), policy=settings.tsa_policy)
    return lambda _, signature: read_limited(response, signature, trust, hidden=settings.data_dir)


def _of_stamp(opened: Opened, stamp: ProvenTime) -> Check:
    """Returns the check of a time stamp that the issuer's answer did not depend on."""

    def proven() -> str:
        match opened.document.get("signature"):
            case {"value": str(value)}:
                moment = stamp(opened.sha256, bytes.fromhex(value))
            case _:
                raise ValueError("the document is not signed")
        return f"the signature was made by {moment.isoformat() if moment else 'no known time'}"

    return run_check("time_stamp", proven)


def _not_asked(verification: Verification, options: Namespace) -> Iterator[Skipped]:
    """Returns the checks that the image and the model would allow, and that nobody asked for."""
    made = {each.name for each in verification.checks}
    if options.calibration is None and "prediction_set" in made:
        yield Skipped("calibration", "no `--calibration` was given")
    if "image" not in made:
        yield Skipped("image", "no `--image` was given")
    for name, option in (("replay", "--replay"), ("fresh", "--fresh")):
        if name not in made:
            asked = getattr(options, name)
            yield Skipped(name, "it needs the checks above to hold" if asked else f"no `{option}` was given")


def _samples(options: Namespace) -> bool:
    return bool(options.replay or options.fresh)


def _of_image(
    statement: Statement,
    image: bytes,
    options: Namespace,
    cards: Mapping[str, BackboneCard],
    settings: WorkerSettings,
    warnings: list[ImageWarning],
) -> Iterator[Check]:
    """Yields the checks that need the image and, to sample, the model; a refusal of either ends them.

    The warnings of the image are appended to `warnings`.
    """
    from certrad.workers.intake.decode import backbone_card, decode_limited  # pydicom and Pillow

    try:
        request = replace(statement.request, frame=options.frame, region=options.region)
        card = backbone_card(request.classifier.backbone, cards)
        rows = statement.variants or statement.unsmoothed
        asked = 0 if rows is None else min(len(rows.rows), VARIANTS_LIMIT)
        limits = settings.model_copy(update={"variants_max": max(asked, settings.variants_max)})
        decoded, facts = decode_limited(image, request, card, limits, rounded=statement.rounds_windows)
        warnings.extend(facts.warnings)
        found = check_image(statement, facts)
        notes = () if statement.rounds_windows else (_UNROUNDED,)
        yield Check("image", True, "; ".join((found, *notes, *(f"warning {code}" for code in facts.warnings))))
    except (Rejected, ValueError) as error:
        yield Check("image", False, str(error))
        return
    if not _samples(options):
        return
    from certrad.models.adapters.store import AdapterStore
    from certrad.models.prompts.store import PromptStore
    from certrad.models.replay import replay  # torch
    from certrad.models.replay.rebuild import rebuild
    from certrad.models.replay.unsmoothed import check_answers
    from certrad.models.replay.versions import version_warning

    try:
        prompts, adapters = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
        rebuilt = rebuild(statement, decoded, cards, settings.backbones_dir, prompts, adapters)
    except (Rejected, ValueError) as error:
        yield Check("classifier", False, str(error))
        return
    texts, versions = _SAME if rebuilt.same_text else _ROUNDED, version_warning(statement.software)
    yield Check("classifier", True, texts if versions is None else f"{texts}; {versions}")
    if options.fresh:
        with _bar("fresh run") as on_samples:
            key = secrets.token_bytes(_KEY_BYTES)
            yield run_check("fresh", lambda: replay.check_fresh_noise(statement, rebuilt, key, on_samples))
    if options.replay:
        tolerant = rebuilt.may_differ(statement.classifier.processor)
        yield run_check("selection", lambda: replay.check_selection(statement, rebuilt, tolerant=tolerant))
        with _bar("replay") as on_samples:
            given = statement, rebuilt, options.replay, SystemRandom()
            again = partial(replay.check_labels, *given, tolerant=tolerant, on_samples=on_samples)
            yield run_check("replay", again)
        if statement.variants is not None:
            with _bar("variants") as on_samples:
                again = partial(replay.check_variants, *given, tolerant=tolerant, on_samples=on_samples)
                yield run_check("replay_variants", again)
        if statement.unsmoothed is not None:
            yield run_check("replay_unsmoothed", lambda: check_answers(statement, rebuilt, decoded, tolerant=tolerant))
        if statement.parameters is not None:
            with _bar("window noise") as on_samples:
                again = partial(replay.check_windows, *given, tolerant=tolerant, on_samples=on_samples)
                yield run_check("replay_parameters", again)


@contextmanager
def _bar(task: str) -> Iterator[_OnSamples]:
    """Yields a function that takes the number of samples drawn so far; the model sets the pace."""
    columns = (
        TextColumn("{task.description}"),
        SpinnerColumn(),
        TextColumn("{task.completed} samples"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(task, total=None)
        yield lambda done: progress.update(bar, completed=done)


def _show(
    verification: Verification, statement: Statement | None, warnings: Sequence[ImageWarning], *, as_json: bool
) -> None:
    if as_json:
        body = {"valid": verification.valid}
        body |= {name: getattr(verification, name) for name in ("form", "reformatted", "certificate", "issuer")}
        found = {name: [asdict(each) for each in getattr(verification, name)] for name in ("checks", "skipped")}
        sys.stdout.write(json.dumps({**body, **found}) + "\n")
        return
    for each in verification.checks:
        sys.stdout.write(f"{'ok' if each.ok else 'REFUSED':8} {each.name:12} {each.detail}\n")
    for left in verification.skipped:
        sys.stdout.write(f"{'skipped':8} {left.name:12} {left.reason}\n")
    if statement is not None:
        above = "".join(f"warning {code}: {IMAGE_WARNINGS[code]}\n" for code in warnings)
        told = statement.variants or statement.unsmoothed
        variants = "" if told is None else f"\nvariants: {told.text}"
        if statement.parameters is not None:
            variants += f"\nnoise on the window: {statement.parameters.text}"
        variants += "" if statement.prediction_set is None else f"\nprediction set: {statement.prediction_set.text}"
        scope = f"scope {statement.scope}: {statement.scope_text}"
        sys.stdout.write(f"\n{above}{_claim(statement)}{variants}\n{scope}\n{_CAVEAT}\n")
    sys.stdout.write(f"{'valid' if verification.valid else 'NOT VALID'}\n")


def _claim(statement: Statement) -> str:
    match statement.claim:
        case StatedCertificate(label=label, radius=radius):
            space = "model input" if statement.classifier.noisy_image is None else "rendered image, before its resize"
            return f"{label}, radius {radius} (L2 over the {space}, pixels in [0, 1])"
        case abstention:
            return f"ABSTAINED ({abstention.reason})"

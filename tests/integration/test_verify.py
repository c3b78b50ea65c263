"""Real documents of the embedded model are verified over HTTP and on this machine, where they are also drawn again."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.processor import processor_name
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.labels import merkle_root, parse_labels, run_lengths
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import check_image
from certrad.models.prompts.store import PromptStore
from certrad.models.replay.near_ties import NearTies
from certrad.models.replay.rebuild import Rebuilt, rebuild
from certrad.models.replay.replay import check_fresh_noise, check_labels, check_selection
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import Stream
from certrad.models.types import (
    AutoSigma,
    CertifyRequest,
    FixedSigma,
    GatedAdaptation,
    SamplingParams,
    ZeroShotAdaptation,
)
from certrad.models.types.applied_window import SentWindow
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.models.types.window import FixedWindow
from certrad.workers.cli.main import main
from certrad.workers.contract.keyring import Keyring, PublicKey, Revocation
from certrad.workers.contract.names import EPOCHS
from certrad.workers.engine.runtime import build
from certrad.workers.intake.decode import decode_limited
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.certificates import CASES, EPOCH_SECRET, ISSUER, genuine
from tests.support.commands import arguments
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, waiting
from tests.support.images import encoded

OWN = CASES[6]
"""Certified, of two classes at a fixed n."""
DEMO = shipped_backbones()["demo"]
FORGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
FEW_SHOT, BANK = TASK.default_prompt, TASK.default_bank
LEARNED = replace(TEMPLATE, prompt=str(FEW_SHOT), template="{}", adapter=TASK.default_adapter)
PARAMS = SamplingParams(n0=20, n=100, alpha=1e-6)  # `--fresh` refuses a true claim w.p. < 1e-11
PLAIN = CertifyRequest(classifier=TEMPLATE, params=PARAMS)
REQUESTS = {
    "learned prompt": CertifyRequest(classifier=LEARNED, params=PARAMS),
    "adapted template": CertifyRequest(
        classifier=replace(TEMPLATE, adaptation=ZeroShotAdaptation(samples=20)), params=PARAMS
    ),
    "adapted prompt": CertifyRequest(
        classifier=replace(LEARNED, adaptation=ZeroShotAdaptation(samples=20)), params=PARAMS
    ),
    "gated bank": CertifyRequest(
        classifier=replace(LEARNED, prompt=str(BANK), adaptation=GatedAdaptation()), params=PARAMS
    ),
    "target radius": CertifyRequest(classifier=TEMPLATE, params=replace(PARAMS, n=640, target_radius=0.05)),
    "automatic sigma": CertifyRequest(
        classifier=LEARNED,
        sigma=AutoSigma(TASK.sigma_routing) if TASK.sigma_routing else FixedSigma(),
        params=PARAMS,
    ),
}


# -- POST /verify ---------------------------------------------------------------------------------------------------


@pytest.fixture
def api(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[TestClient]:
    """The API of an installation whose keys are the test's."""
    settings = ApiSettings(redis_url=redis_server.url, data_dir=tmp_path, allowed_hosts="testserver")
    Keyring(redis).publish_key(PublicKey(public_key=public_key(ISSUER), first_used=1.0))
    Keyring(redis).publish_epoch(sha256(EPOCH_SECRET).hexdigest(), first_used=1.0)
    with TestClient(create_app(settings)) as client:
        yield client


def test_own_certificate_is_valid_and_its_issuer_known(api: TestClient) -> None:
    answer = api.post("/verify", content=genuine(OWN))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["valid"], body["issuer"]) == (True, "known")
    assert {check["name"]: check["ok"] for check in body["checks"]} == dict.fromkeys(
        [
            "canonical",
            "signature",
            "issuer",
            "schema",
            "settings",
            "scope",
            "words",
            "labels",
            "merkle_root",
            "samples",
            "alpha_split",
            "class",
            "bounds",
            "radius",
            "image_units",
        ],
        True,
    )
    assert [left["name"] for left in body["skipped"]] == ["noise_key"]  # its secret is not revealed yet
    assert "not revealed" in body["skipped"][0]["reason"]


def test_certificate_of_another_issuer_is_refused_and_says_so(api: TestClient) -> None:
    foreign = canonical(sign(json.loads(genuine(OWN)), FORGER))
    body = api.post("/verify", content=foreign).json()
    assert (body["valid"], body["issuer"]) == (False, "unknown")
    assert [check["name"] for check in body["checks"] if not check["ok"]] == ["issuer"]


def test_changed_certificate_is_answered_with_its_reasons(api: TestClient) -> None:
    document = json.loads(genuine(OWN))
    document["claims"][0]["radius"] = "2.0"
    body = api.post("/verify", content=canonical(document)).json()
    reasons = {check["name"]: check["detail"] for check in body["checks"] if not check["ok"]}
    assert not body["valid"]
    assert reasons.keys() >= {"signature", "radius"}
    assert all(reasons.values())


def test_noise_key_is_checked_once_its_secret_was_revealed(api: TestClient, redis: Redis) -> None:
    document = json.loads(genuine(OWN))
    Keyring(redis).reveal_epoch(document["noise"]["epoch_sha256"], EPOCH_SECRET)
    document["noise"]["key"] = "ab" * 32
    body = api.post("/verify", content=canonical(sign(document, ISSUER))).json()
    assert [check["name"] for check in body["checks"] if not check["ok"]] == ["noise_key"]
    assert body["skipped"] == []


def test_certificate_with_noise_of_an_unknown_secret_is_refused(api: TestClient, redis: Redis) -> None:
    redis.delete(EPOCHS)
    body = api.post("/verify", content=genuine(OWN)).json()
    assert [check["name"] for check in body["checks"] if not check["ok"]] == ["noise_key"]


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b"{}", b"[]", b'{"schema":"certrad.certificate/1"}', bytes(9 << 20)]
)
def test_what_is_no_certificate_is_a_problem(content: bytes, api: TestClient) -> None:
    answer = api.post("/verify", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_a_certificate")


# -- certrad verify -------------------------------------------------------------------------------------------------


Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(
    settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Verify:
    """`certrad verify`: the exit code and what it prints, by default as JSON."""
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(settings.data_dir))
    file, key, picture = tmp_path / "document.json", tmp_path / "key", tmp_path / "picture"

    def run(content: bytes, *, image: bytes | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
        file.write_bytes(content)
        key.write_text(public_key(ISSUER))
        picture.write_bytes(image or b"")
        given = {"key": key, "json": True, "image": picture if image else None, **options}
        code = main(arguments("verify", file, **given))
        out = capsys.readouterr().out
        return code, json.loads(out or "{}") if given["json"] else {"text": out}

    return run


@pytest.fixture(scope="module")
def picture() -> bytes:
    """A ramp, which noise moves between classes, in a picture larger than the model input."""
    ramp = np.linspace(0, 255, 96)
    return encoded((np.add.outer(ramp, ramp) / 2).astype(np.uint8), "PNG")


@pytest.fixture
def certified(settings: WorkerSettings, redis: Redis, picture: bytes) -> Callable[[CertifyRequest], bytes]:
    """The signed document of a request, by intake's decoder and an engine."""

    def certify(request: CertifyRequest) -> bytes:
        pixels, facts = decode_limited(picture, request, DEMO, settings)
        record = waiting(redis, "job", request, pixels.tobytes(), facts)
        return canonical(sign(attempt(build(settings, redis), record)[0], ISSUER))

    return certify


def names(report: dict[str, Any], *, ok: bool) -> set[str]:
    return {check["name"] for check in report["checks"] if check["ok"] is ok}


@pytest.mark.parametrize("kind", REQUESTS)
def test_real_document_is_replayed_and_confirmed(
    kind: str, certified: Callable[[CertifyRequest], bytes], verify: Verify, picture: bytes
) -> None:
    code, report = verify(certified(REQUESTS[kind]), image=picture, replay=40, fresh=True)
    assert (code, report["valid"], names(report, ok=False)) == (0, True, set())
    assert names(report, ok=True) >= {"image", "classifier", "selection", "replay", "fresh"}
    details = {check["name"]: check["detail"] for check in report["checks"]}
    assert details["replay"].startswith("40 of 40 random samples of")
    assert "at most" in details["replay"]
    assert details["classifier"] == "weights, prompt and text features have the stated digests"


def test_image_alone_is_compared_without_sampling(
    certified: Callable[[CertifyRequest], bytes], verify: Verify, picture: bytes
) -> None:
    content = certified(PLAIN)
    code, report = verify(content, image=picture)
    assert (code, names(report, ok=True) & {"image", "classifier", "replay"}) == (0, {"image"})
    assert {left["name"] for left in report["skipped"]} == {"noise_key", "replay", "fresh"}
    code, report = verify(content, image=encoded(np.zeros((96, 96), np.uint8), "PNG"))
    assert (code, report["valid"], names(report, ok=False)) == (1, False, {"image"})


def relabelled(content: bytes, labels: dict[int, int], key: Ed25519PrivateKey = ISSUER) -> bytes:
    """The document with some labels changed, by index, counted and hashed as if that were so."""
    document = json.loads(content)
    changed = [labels.get(i, label) for i, label in enumerate(parse_labels(document["estimation"]["labels"]))]
    document["estimation"] |= {
        "per_class": [str(changed.count(label)) for label in range(6)],
        "labels": run_lengths(changed),
        "merkle_root": merkle_root(changed),
    }
    return canonical(sign(document, key))


def test_forged_labels_are_found_by_drawing_them_again(
    certified: Callable[[CertifyRequest], bytes], verify: Verify, picture: bytes
) -> None:
    """Even where the issuer itself forged them: 60 of 100 miss every third one with probability 1e-14."""
    content = certified(REQUESTS["learned prompt"])
    stated = parse_labels(json.loads(content)["estimation"]["labels"])
    forged = relabelled(content, {i: (stated[i] + 1) % 6 for i in range(0, len(stated), 3)})
    statement = read(parse(forged))
    decoded, _ = decode_limited(picture, REQUESTS["learned prompt"], DEMO, WorkerSettings())
    rebuilt = rebuild(
        statement, decoded, shipped_backbones(), Path(), PromptStore(own=Path()), AdapterStore(own=Path())
    )
    for tolerant in (False, True):
        with pytest.raises(
            ValueError, match=r"of 60 random samples of 100 have their label; the labels of \d+ are wrong"
        ):
            check_labels(statement, rebuilt, 60, Random(0), tolerant=tolerant)
    assert check_labels(read(parse(content)), rebuilt, 1000, Random(0), tolerant=False).startswith(
        "100 of 100 random samples"
    )


@pytest.fixture
def tied(
    certified: Callable[[CertifyRequest], bytes], picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> tuple[bytes, Rebuilt, NDArray[np.float64], Callable[[float, float], None]]:
    """A document, its classifier, the logits of all its samples, and what sets the margin and share of near-ties."""
    content = certified(PLAIN)
    decoded, _ = decode_limited(picture, PLAIN, DEMO, WorkerSettings())
    rebuilt = rebuild(
        read(parse(content)), decoded, shipped_backbones(), Path(), PromptStore(own=Path()), AdapterStore(own=Path())
    )
    sampler, size = rebuilt.sampler.with_sigma(0.25), rebuilt.sampler.batch_size
    with torch.inference_mode():
        batches = [sampler.batch(Stream.ESTIMATE, start) for start in range(0, 100, size)]
        logits = torch.cat([rebuilt.classifier(0.25).logits(batch) for batch in batches])[:100].double().numpy()

    def set_near_ties(margin: float, share: float) -> None:
        monkeypatch.setattr(NearTies, "of", staticmethod(lambda *_: NearTies(margin=margin, share=share)))

    return content, rebuilt, logits, set_near_ties


def test_a_label_may_differ_on_another_processor_where_its_logits_are_a_near_tie_and_nowhere_else(
    tied: tuple[bytes, Rebuilt, NDArray[np.float64], Callable[[float, float], None]],
) -> None:
    content, rebuilt, logits, set_near_ties = tied
    order = logits.argsort(axis=1)
    gaps = np.take_along_axis(logits, order, axis=1)[:, -1] - np.take_along_axis(logits, order, axis=1)[:, -2]
    nearest, *_, widest = gaps.argsort()
    set_near_ties(float(gaps[nearest]) * 1.001 + 1e-4, 0.02)

    near = read(parse(relabelled(content, {int(nearest): int(order[nearest, -2])})))
    found = check_labels(near, rebuilt, 100, Random(0), tolerant=True)
    assert found.startswith("99 of 100 random samples of 100 have their label, 1 differ in a near-tie")
    assert "at most 1 are forged" in found
    with pytest.raises(ValueError, match="the labels of 1 are wrong"):
        check_labels(near, rebuilt, 100, Random(0), tolerant=False)

    wide = read(parse(relabelled(content, {int(widest): int(order[widest, -2])})))
    with pytest.raises(ValueError, match="the labels of 1 are wrong, and their logits are no near-tie"):
        check_labels(wide, rebuilt, 100, Random(0), tolerant=True)


def test_more_near_ties_than_processors_differ_in_are_refused(
    tied: tuple[bytes, Rebuilt, NDArray[np.float64], Callable[[float, float], None]],
) -> None:
    content, rebuilt, logits, set_near_ties = tied
    runner_up = logits.argsort(axis=1)[:, -2]
    many = read(parse(relabelled(content, {i: int(runner_up[i]) for i in range(0, 100, 5)})))
    set_near_ties(1e3, 0.02)
    with pytest.raises(ValueError, match="20 differ in near-ties, more than processors do"):
        check_labels(many, rebuilt, 100, Random(0), tolerant=True)


def test_labels_may_not_differ_on_the_processor_and_with_the_text_that_are_stated(
    certified: Callable[[CertifyRequest], bytes], picture: bytes
) -> None:
    decoded, _ = decode_limited(picture, PLAIN, DEMO, WorkerSettings())
    statement = read(parse(certified(PLAIN)))
    rebuilt = rebuild(
        statement, decoded, shipped_backbones(), Path(), PromptStore(own=Path()), AdapterStore(own=Path())
    )
    own = statement.classifier.processor
    assert own == processor_name(torch.device("cpu"))
    assert not rebuilt.may_differ(own)
    assert rebuilt.may_differ(f"{own} of another kind")
    assert rebuilt.may_differ(None)
    assert replace(rebuilt, same_text=False).may_differ(own)


def test_exaggerated_claim_is_contradicted_by_samples_of_another_key(
    certified: Callable[[CertifyRequest], bytes], picture: bytes
) -> None:
    """The template is far from certain about this image: 100 samples tell both claims from what is true."""
    document = json.loads(certified(PLAIN))
    decoded, _ = decode_limited(picture, PLAIN, DEMO, WorkerSettings())
    rebuilt = rebuild(
        read(parse(canonical(document))),
        decoded,
        shipped_backbones(),
        Path(),
        PromptStore(own=Path()),
        AdapterStore(own=Path()),
    )
    assert "do not contradict" in check_fresh_noise(read(parse(canonical(document))), rebuilt, bytes(range(32)))
    for exaggerated in ({"p_a_lower": "0.999"}, {"p_b_upper": "0.001"}):
        statement = read(parse(canonical(replaced(document, **exaggerated))))
        with pytest.raises(ValueError, match="another key shows p_A <="):
            check_fresh_noise(statement, rebuilt, bytes(range(32)))


def test_forged_selection_is_found_by_drawing_it_again(
    certified: Callable[[CertifyRequest], bytes], picture: bytes
) -> None:
    document = json.loads(certified(PLAIN))
    decoded, _ = decode_limited(picture, PLAIN, DEMO, WorkerSettings())
    rebuilt = rebuild(
        read(parse(canonical(document))),
        decoded,
        shipped_backbones(),
        Path(),
        PromptStore(own=Path()),
        AdapterStore(own=Path()),
    )
    document["selection"]["per_class"] = [
        *document["selection"]["per_class"][1:],
        document["selection"]["per_class"][0],
    ]
    for tolerant in (False, True):
        with pytest.raises(ValueError, match="the selection samples give"):
            check_selection(read(parse(canonical(document))), rebuilt, tolerant=tolerant)


@pytest.mark.parametrize("fact", ["pixels_sha256", "input_sha256", "scale", "window"])
def test_image_that_differs_in_one_fact_is_another(
    fact: str, certified: Callable[[CertifyRequest], bytes], picture: bytes
) -> None:
    statement = read(parse(certified(REQUESTS["learned prompt"])))
    _, facts = decode_limited(picture, REQUESTS["learned prompt"], DEMO, WorkerSettings())
    assert check_image(statement, facts)
    others: dict[str, Any] = {"scale": replace(facts.scale, rows=7), "window": SentWindow(centre=1.0, width=2.0)}
    other = others.get(fact, "ab" * 32)
    with pytest.raises(ValueError, match=r"is not|are not|does not"):
        check_image(statement, replace(facts, **{fact: other}))


def replaced(document: dict[str, Any], **claim: str) -> dict[str, Any]:
    first, *others = document["claims"]
    return {**document, "claims": [{**first, **claim}, *others]}


def test_an_image_is_shown_with_the_window_of_its_document(
    certified: Callable[[CertifyRequest], bytes], verify: Verify, picture: bytes
) -> None:
    """The window lies above all grey levels, so that the model saw black."""
    request = replace(PLAIN, window=FixedWindow(centre=1000.0, width=2.0))
    code, report = verify(certified(request), image=picture)
    (found,) = [each for each in report["checks"] if each["name"] == "image"]
    assert (code, found["ok"]) == (0, True)
    assert found["detail"].endswith("; warning low_contrast")


def test_what_to_know_about_the_image_is_told_above_the_claim(
    certified: Callable[[CertifyRequest], bytes], verify: Verify, picture: bytes
) -> None:
    request = replace(PLAIN, window=FixedWindow(centre=1000.0, width=2.0))
    _, report = verify(certified(request), image=picture, json=False)
    warning, claim, scope, *_ = report["text"].partition("\n\n")[2].splitlines()
    assert warning == f"warning low_contrast: {IMAGE_WARNINGS['low_contrast']}"
    assert "radius" in claim or "ABSTAINED" in claim
    assert scope.startswith("scope ")


def test_another_image_is_refused(certified: Callable[[CertifyRequest], bytes], verify: Verify) -> None:
    other = encoded(np.zeros((96, 96), dtype=np.uint8), "PNG")
    code, report = verify(certified(REQUESTS["learned prompt"]), image=other, replay=10)
    assert (code, names(report, ok=False)) == (1, {"image"})


def test_classifier_with_another_digest_is_refused(
    certified: Callable[[CertifyRequest], bytes], picture: bytes
) -> None:
    document = json.loads(certified(REQUESTS["adapted prompt"]))
    decoded, _ = decode_limited(picture, REQUESTS["adapted prompt"], DEMO, WorkerSettings())
    for part, field, what in (
        (0, "backbone", "weights"),
        (0, "card", "card of the backbone"),
        (2, "prompt", "prompt checkpoint"),
        (2, "text", "text"),
        (3, "context", "context"),
    ):
        other = deepcopy(document)
        other["classifier"]["parts"][part][f"{field}_sha256"] = "ab" * 32
        with pytest.raises(ValueError, match=f"{what}: the document states .*, this machine has"):
            rebuild(
                read(parse(canonical(other))),
                decoded,
                shipped_backbones(),
                Path(),
                PromptStore(own=Path()),
                AdapterStore(own=Path()),
            )


def test_command_says_in_words_what_was_checked_and_what_it_means(
    verify: Verify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certificate.json"
    file.write_bytes(genuine(OWN))
    assert main(arguments("verify", file)) == 0
    shown = capsys.readouterr().out
    for words in (
        "skipped  issuer       no public keys were given",
        "skipped  image        no `--image` was given",
        "skipped  replay       no `--replay` was given",
        "class 0, radius",
        "scope input_independent: Holds for",
        "says nothing about whether",
    ):
        assert words in shown
    assert shown.endswith("valid\n")


def test_exit_codes_are_0_valid_1_not_valid_2_bad_usage(verify: Verify, tmp_path: Path) -> None:
    assert verify(genuine(OWN))[0] == 0
    assert verify(canonical(sign(json.loads(genuine(OWN)), FORGER)))[0] == 1
    assert verify(b"no certificate")[0] == 1
    assert verify(genuine(OWN), replay=5)[0] == 2  # without the image
    assert verify(genuine(OWN), key=tmp_path / "nowhere")[0] == 2
    assert verify(genuine(OWN), key=tmp_path / "document.json")[0] == 2  # no key in it


def test_saved_answer_of_the_service_is_a_key_file(api: TestClient, verify: Verify, tmp_path: Path) -> None:
    saved = tmp_path / "certrad-keys"
    saved.write_bytes(api.get("/.well-known/certrad-keys").content)
    assert verify(genuine(OWN), key=saved)[1]["issuer"] == "known"
    assert verify(canonical(sign(json.loads(genuine(OWN)), FORGER)), key=saved)[1]["issuer"] == "unknown"


def test_certificate_of_a_revoked_key_is_refused_until_signed_anew(
    api: TestClient, verify: Verify, redis: Redis, tmp_path: Path
) -> None:
    Keyring(redis).publish_key(PublicKey(public_key=public_key(FORGER), first_used=2.0))
    digest = sha256(bytes.fromhex(public_key(ISSUER))).hexdigest()
    Keyring(redis).publish_revocation(Revocation(sha256=digest, revoked_at=3.0, reason="it leaked"))
    anew, saved = canonical(sign(json.loads(genuine(OWN)), FORGER)), tmp_path / "certrad-keys"
    saved.write_bytes(api.get("/.well-known/certrad-keys").content)
    for content, expected in ((genuine(OWN), (False, "revoked")), (anew, (True, "known"))):
        answered, printed = api.post("/verify", content=content).json(), verify(content, key=saved)[1]
        for body in (answered, printed):
            assert (body["valid"], body["issuer"]) == expected
            assert [check["name"] for check in body["checks"] if not check["ok"]] == ([] if expected[0] else ["issuer"])

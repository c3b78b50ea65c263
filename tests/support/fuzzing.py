"""Requests made from the OpenAPI document, valid and not, against a real service; and uploads with bytes changed."""

import contextlib
import json
import random
import time
from collections.abc import Mapping
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings

CHECKS: Final = [content_type_conformance, response_schema_conformance, status_code_conformance]
EXCUSED: Final = frozenset(
    {"queue_full", "job_store_full", "too_many_connections", "deadline_unattainable", "backbone_unavailable"}
)
"""Codes of a sound service that refuses with 503: too much was asked, or what is not there; other 5xx are faults."""
_CALL_SECONDS: Final = 60.0
_EXAMPLES: Final = 100_000


@schemathesis.serializer("application/dicom", "multipart/related")
def _as_it_is(_: object, value: object) -> bytes:
    """Writes a body of a kind that schemathesis does not know."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def fuzz(url: str, headers: Mapping[str, str], *, seconds: float, seed: int) -> tuple[int, list[str]]:
    """Sends requests to every operation, as long for each, and says how many, and each kind of fault once."""
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(create_app(ApiSettings()).openapi())))
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    faults: dict[str, str] = {}
    sent = 0
    for operation in operations:
        sent += _fuzz_one(operation, url, headers, time.monotonic() + seconds / len(operations), seed, faults)
    return sent, list(faults.values())


def _fuzz_one(
    operation: Any, url: str, headers: Mapping[str, str], end: float, seed: int, faults: dict[str, str]
) -> int:
    sent = 0

    @seeded(seed)
    @hypothesis_settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        nonlocal sent
        if time.monotonic() > end:
            raise _EnoughError
        answer = case.call(base_url=url, headers=dict(headers), timeout=_CALL_SECONDS)
        sent += 1
        try:
            case.validate_response(answer, checks=[not_a_server_error, *CHECKS] if _is_fault(answer) else CHECKS)
        except (Exception, BaseExceptionGroup) as error:  # of whatever kind: it is told in the end
            kind = f"{operation.method.upper()} {operation.path}: {answer.status_code}"
            faults.setdefault(kind, f"{kind}: {error}")

    with contextlib.suppress(_EnoughError):
        send()
    return sent


class _EnoughError(BaseException):
    """The time of an operation is over."""


def _is_fault(answer: Any) -> bool:
    if answer.status_code < 500:
        return False
    try:
        return answer.json().get("code") not in EXCUSED
    except (ValueError, AttributeError):
        return True


def mutated(data: bytes, choice: random.Random) -> bytes:
    """The bytes of a file with some of them changed, cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(choice.randint(1, 8)):
        at = choice.randrange(max(1, len(changed)))
        match choice.randrange(5):
            case 0:
                changed[at : at + 1] = choice.randbytes(1)
            case 1:
                changed[at : at + choice.randint(1, 64)] = b""
            case 2:
                changed[at:at] = changed[at : at + choice.randint(1, 64)]
            case 3:
                changed[at : at + 4] = choice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            case _ if choice.random() < 0.2:
                del changed[at:]
    return bytes(changed)

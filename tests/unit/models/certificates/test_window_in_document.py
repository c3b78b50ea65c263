"""The window in a document: it is read back, it says what to ask for, and it limits the radius on the image."""

import json
from typing import Any

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.certificates.facts import Facts
from certrad.models.certificates.schemas.schema import read
from certrad.models.certificates.signature import sign
from certrad.models.certificates.verify import verify
from certrad.models.types.applied_window import AppliedWindow, PercentileRange, requested_window
from tests.support.certificates import ISSUER, SCALE, WINDOWS, answered, scale_of
from tests.unit.models.certificates.test_verify import FIXED, refused

PERCENTILE = PercentileRange(low=0.0, high=100.0)


def facts_with(window: AppliedWindow, **parts: Any) -> Facts:
    scale = parts.get("scale", scale_of(window))
    return answered(FIXED.request, FIXED.probabilities, pixels_sha256="ab" * 32, window=window, scale=scale)


def signed(written: dict[str, Any]) -> bytes:
    return canonical(sign(written, ISSUER))


@pytest.mark.parametrize("window", WINDOWS)
def test_a_document_and_a_result_tell_the_window(window: AppliedWindow) -> None:
    facts = facts_with(window)
    content = signed(document(facts))
    assert refused(verify(content)) == {}
    statement = read(json.loads(content))
    assert statement.subject.window == certification_result(facts, warnings=[], timing={}).window == window
    assert statement.request.window == requested_window(window)


def test_an_unknown_kind_of_window_is_refused() -> None:
    written = document(facts_with(WINDOWS[0]))
    changed = {**written, "subject": {**written["subject"], "window": {"kind": "gamma/1"}}}
    assert list(refused(verify(signed(changed)))) == ["schema"]


def test_a_document_without_its_window_is_refused() -> None:
    written = document(facts_with(WINDOWS[0]))
    subject = {name: value for name, value in written["subject"].items() if name != "window"}
    assert list(refused(verify(signed({**written, "subject": subject})))) == ["schema"]


def test_a_radius_on_an_image_that_chose_its_window_is_refused() -> None:
    assert refused(verify(signed(document(facts_with(PERCENTILE))))) == {}
    assert list(refused(verify(signed(document(facts_with(PERCENTILE, scale=SCALE)))))) == ["image_units"]

"""Documents that are stored for years: those of an earlier schema still verify, and today's keep their bytes."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document
from certrad.models.certificates.signature import sign
from certrad.models.certificates.verify import verify
from certrad.models.types.noise_space import NoiseSpace
from tests.support.certificates import (
    BOXED,
    CASES,
    EIGHT_BITS,
    ISSUER,
    PARAMETER_SIGMA,
    VARIANTS,
    WINDOWS,
    answered,
    scale_of,
    unrounded,
)
from tests.support.prediction_sets import STORED_SET, genuine_set, installed

COUNTS = {2: 14, 3: 32}
"""Schema -> stored documents; of schema 3, three have an adapter, three noise on the image, two then variants.

The six behind them are from after windows were rounded to a lattice; three of them have boxes of windows, one of these
without noise, and one about an image of 8 bits. Two then have noise on the window, one has a prediction set, and the
last has an extra class.
"""
STORED = Path(__file__).parents[3] / "data"


@cache
def _stored(schema: int) -> tuple[dict[str, Any], ...]:
    lines = (STORED / f"documents_of_schema_{schema}.jsonl").read_text("utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def made_again(stored: dict[str, Any], index: int) -> str:
    """The document that today's code makes of the facts of a stored one."""
    if "set" in stored:
        return genuine_set(STORED_SET, installed(STORED_SET)).decode()
    space: NoiseSpace = stored.get("noise_space", "model_input")
    case = replace(CASES[stored["case"]], adapter=stored.get("adapter"), noise_space=space)
    if "failing" in stored:
        variants = BOXED if stored.get("boxed") else VARIANTS
        if stored.get("unsmoothed"):
            variants = replace(variants, n=1, radius=0.0, base="unsmoothed")
        case = replace(case, variants=variants, failing=stored["failing"])
    if "under_window_noise" in stored:
        case = replace(case, parameter_sigma=PARAMETER_SIGMA, window_probabilities=tuple(stored["under_window_noise"]))
    if stored.get("unlike"):
        case = replace(case, unlike=True)
    window = WINDOWS[stored.get("window", index) % len(WINDOWS)]
    window = window if "window" in stored else unrounded(window)
    facts = answered(
        case.request,
        case.probabilities,
        pixels_sha256=stored["pixels_sha256"],
        scale=EIGHT_BITS if stored.get("eight_bits") else scale_of(window),
        window=window,
        failing=case.failing,
        window_probabilities=case.window_probabilities,
    )
    return canonical(sign(document(facts), ISSUER)).decode()


@pytest.mark.parametrize("index", range(COUNTS[3]))
def test_same_facts_make_the_stored_bytes(index: int) -> None:
    stored = _stored(3)[index]
    assert made_again(stored, index) == stored["document"]


@pytest.mark.parametrize(("schema", "index"), [(schema, index) for schema in COUNTS for index in range(COUNTS[schema])])
def test_stored_document_still_verifies(schema: int, index: int) -> None:
    stored = _stored(schema)[index]["document"]
    assert json.loads(stored)["schema"] == f"certrad.certificate/{schema}"
    assert [check for check in verify(stored.encode()).checks if not check.ok] == []


@pytest.mark.parametrize("schema", [2, 3])
def test_every_stored_document_is_tested(schema: int) -> None:
    assert len(_stored(schema)) == COUNTS[schema]

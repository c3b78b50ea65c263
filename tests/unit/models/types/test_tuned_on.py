"""The record of the images that a prompt was tuned on needs its secret to be read, and forgets none."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.tuned_on import EpochDigests, TunedOn

SECRET, OTHER_SECRET = bytes(range(32)), bytes(32)
FIRST, SECOND, THIRD = (hashlib.sha256(bytes([number])).hexdigest() for number in range(3))


def keyed(*inputs: str, secret: bytes = SECRET) -> EpochDigests:
    return EpochDigests.of(secret, inputs)


def test_a_digest_is_the_hmac_that_the_documentation_names() -> None:
    wanted = hmac.new(SECRET, b"certrad tuned-on" + bytes.fromhex(FIRST), hashlib.sha256).hexdigest()
    assert keyed(FIRST) == EpochDigests(epoch_sha256=hashlib.sha256(SECRET).hexdigest(), digests=(wanted,))


def test_an_image_is_found_with_the_secret_and_another_is_not() -> None:
    images = keyed(FIRST, SECOND)
    assert [images.includes(SECRET, digest) for digest in (FIRST, SECOND, THIRD)] == [True, True, False]


def test_another_secret_is_refused_and_does_not_answer_no() -> None:
    with pytest.raises(ValueError, match="epoch secret must have SHA-256"):
        keyed(FIRST).includes(OTHER_SECRET, FIRST)


def test_two_secrets_give_one_image_digests_that_nobody_can_match() -> None:
    assert set(keyed(FIRST).digests).isdisjoint(keyed(FIRST, secret=OTHER_SECRET).digests)


def test_the_order_and_repetition_of_images_leave_no_trace() -> None:
    assert keyed(FIRST, SECOND, THIRD) == keyed(THIRD, FIRST, SECOND, FIRST)


def test_a_prompt_keeps_the_images_of_the_one_it_began_from() -> None:
    start = TunedOn(keyed=(keyed(FIRST), keyed(FIRST, secret=OTHER_SECRET)), public=(THIRD,))
    record = TunedOn(keyed=(keyed(SECOND),)).with_start(start)
    assert set(record.keyed) == {keyed(FIRST, SECOND), keyed(FIRST, secret=OTHER_SECRET)}
    assert (record.public, record.complete) == ((THIRD,), True)


@pytest.mark.parametrize("start", [None, TunedOn(complete=False)])
def test_a_record_that_began_without_one_is_not_complete(start: TunedOn | None) -> None:
    record = TunedOn(keyed=(keyed(SECOND),)).with_start(start)
    assert (record.keyed, record.complete) == ((keyed(SECOND),), False)


def test_a_record_is_read_back_from_json() -> None:
    record = TunedOn(keyed=(keyed(FIRST, SECOND),), public=(THIRD,), complete=False)
    assert decode_card(TunedOn, encode_card(record)) == record


@pytest.mark.parametrize(
    "fields",
    [
        {"public": ["ab"]},
        {"public": [FIRST.upper()]},
        {"public": sorted([FIRST, SECOND], reverse=True)},
        {"public": [FIRST, FIRST]},
        {"keyed": [{"epoch_sha256": "ab", "digests": []}]},
        {"keyed": [{"epoch_sha256": FIRST, "digests": []}] * 2},
    ],
    ids=["short", "upper_case", "unsorted", "twice", "no_epoch", "epoch_twice"],
)
def test_a_malformed_record_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        decode_card(TunedOn, json.dumps(fields))

"""The search for tokens of a patient finds them however they are packed: else tests that find none say nothing."""

import base64
import io
import json
import zlib
from collections.abc import Callable
from typing import Final

import pytest
from redis import Redis

from tests.support.canaries import Canary, canary, content_of

FILE: Final[Canary] = canary()
TOKEN: Final = next(iter(FILE.tokens))
PACKED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": lambda text: b"x" + text,
    "base64": lambda text: json.dumps({"payload": base64.b64encode(b"..." + text).decode()}).encode(),
    "base64 without padding": lambda text: b"eyJ." + base64.urlsafe_b64encode(b"????" + text).rstrip(b"=") + b".x",
    "zlib": lambda text: b"\x00x" + zlib.compress(b"a" * 50 + text) + b"\x00",
    "zlib in base64": lambda text: base64.b64encode(zlib.compress(text * 9)),
}


@pytest.mark.parametrize("packed", PACKED)
def test_a_token_is_found_however_it_is_packed(packed: str) -> None:
    assert FILE.found_in(PACKED[packed](TOKEN)) == {FILE.tokens[TOKEN]}


def test_what_holds_no_token_has_none_found() -> None:
    noise = io.BytesIO(bytes(range(256)) * 200).getvalue()
    assert FILE.found_in(noise + base64.b64encode(noise) + zlib.compress(noise)) == set()


@pytest.mark.integration
def test_a_token_is_found_in_the_packed_field_of_a_hash(redis: Redis) -> None:
    redis.hset("rq:job:1", mapping={"data": zlib.compress(b"certify " + TOKEN), "status": "queued"})
    assert FILE.found_in(content_of(redis, b"rq:job:1")) == {FILE.tokens[TOKEN]}

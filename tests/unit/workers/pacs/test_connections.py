"""The token of a destination is read at each request, and a code tells if it cannot be."""

import re
from pathlib import Path

import httpx
import pytest

from certrad.workers.pacs.connections import TokenFile
from certrad.workers.pacs.failures import FAILURES, ExchangeError
from tests.support.processes import ROOT

SOURCES = sorted((ROOT / "workers" / "pacs").glob("*.py"))


def sent(token: TokenFile) -> str:
    """The header that a server gets."""
    echo = httpx.MockTransport(lambda request: httpx.Response(200, text=request.headers["Authorization"]))
    with httpx.Client(transport=echo, auth=token) as client:
        return client.get("http://pacs.test").text


def test_token_that_is_written_anew_is_used_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = TokenFile(path)
    path.write_text("first\n")
    assert sent(token) == "Bearer first"
    path.write_text("second\n")
    assert sent(token) == "Bearer second"


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"two\nlines"])
def test_file_without_a_token_is_told_by_a_code_that_is_retried(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExchangeError, match=r"^no_credentials$") as raised:
        sent(TokenFile(path))
    assert raised.value.retryable


def test_every_code_that_the_connector_raises_has_a_meaning_and_a_remedy() -> None:
    raised = set()
    for path in SOURCES:
        raised |= set(re.findall(r'ExchangeError\("(\w+)"\)', path.read_text()))
        raised |= set(re.findall(r' code = "(\w+)"', path.read_text()))
    assert "not_certrad" in raised
    assert raised - FAILURES.keys() == set()

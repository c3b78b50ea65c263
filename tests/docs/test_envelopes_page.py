"""The Python of the page about envelopes: the outside tools verify, and refuse what was changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from certrad.models.certificates.signature import public_key
from certrad.models.types.public_key import jwk_set, thumbprint
from certrad.workers.issue import seal
from tests.support.certificates import CASES, ISSUER, genuine
from tests.support.documentation import DOCS, blocks

DOCUMENT = genuine(CASES[6])
SECURESYSTEMSLIB, JOSERFC = blocks(DOCS / "envelopes.md", "python")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Runs a block of the page in a folder with the files that its commands fetch, and gives what it prints."""
    envelopes, holder = seal(DOCUMENT, ISSUER), public_key(ISSUER)
    (tmp_path / "certificate.dsse").write_bytes(envelopes["dsse"])
    (tmp_path / "certificate.jws").write_bytes(envelopes["jws"])
    (tmp_path / "jwks.json").write_text(json.dumps(jwk_set([holder])))
    keys = {"keys": [{"public_key": holder, "thumbprint": thumbprint(holder)}]}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    monkeypatch.chdir(tmp_path)

    def execute(block: str) -> str:
        exec(compile(block, "envelopes.md", "exec"), {"__name__": "page"})
        return capsys.readouterr().out

    return execute


def test_securesystemslib_of_the_page_prints_the_subject(run: Callable[[str], str]) -> None:
    assert run(SECURESYSTEMSLIB) == f"pixels {json.loads(DOCUMENT)['subject']['pixels_sha256']}\n"


def test_joserfc_of_the_page_prints_the_schema(run: Callable[[str], str]) -> None:
    assert run(JOSERFC) == "schema certrad.certificate/3\n"


@pytest.mark.parametrize(("block", "file"), [(SECURESYSTEMSLIB, "keys.json"), (JOSERFC, "jwks.json")])
def test_both_refuse_a_certificate_of_another_key(block: str, file: str, run: Callable[[str], str]) -> None:
    stranger = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    text = Path(file).read_text()
    holder = public_key(ISSUER)
    own, other = jwk_set([holder])["keys"][0]["x"], jwk_set([stranger])["keys"][0]["x"]
    Path(file).write_text(text.replace(holder, stranger).replace(own, other))
    with pytest.raises(Exception, match=r"do not match threshold|bad_signature"):
        run(block)

"""The client of DICOMweb: it takes what the standard says, says exactly what is wrong, and goes nowhere else."""

import ssl

import httpx
import pytest

from certrad.workers.pacs.connections import root_of
from certrad.workers.pacs.dicomweb import DicomWeb
from certrad.workers.pacs.failures import FAILURES, ExchangeError
from certrad.workers.pacs.multipart import instance_uid, one_part, only_part
from certrad.workers.pacs.series import choose, read_series
from certrad.workers.settings import ConnectorSettings
from tests.support.fake_pacs import ROOT_URL, FakePacs, attributes, dicom_file


def client_of(answer: httpx.Response | Exception, max_bytes: int = 1 << 20) -> DicomWeb:
    """A client of a PACS that always gives this answer."""

    def give(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return DicomWeb(httpx.Client(transport=httpx.MockTransport(give)), ROOT_URL, max_bytes=max_bytes)


def code_of(client: DicomWeb) -> str:
    """The code with which a search fails."""
    with pytest.raises(ExchangeError) as caught:
        client.ask()
    return caught.value.code


def tls_error() -> httpx.ConnectError:
    """An error of TLS as httpx tells it."""
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    return error


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), "name_unknown"),
        (httpx.ConnectError("[Errno 111] Connection refused"), "refused"),
        (httpx.ConnectTimeout("timed out"), "timeout"),
        (httpx.ReadTimeout("timed out"), "timeout"),
        (tls_error(), "tls"),
        (httpx.RemoteProtocolError("peer closed connection"), "disconnected"),
        (httpx.Response(301, headers={"Location": "http://elsewhere.test/"}), "redirected"),
        (httpx.Response(400), "not_acceptable"),
        (httpx.Response(401), "unauthorized"),
        (httpx.Response(403), "forbidden"),
        (httpx.Response(404), "not_found"),
        (httpx.Response(418), "unexpected_status"),
        (httpx.Response(500), "server_error"),
        (httpx.Response(503), "busy"),
        (httpx.Response(200, text="<html>a page</html>"), "not_dicomweb"),
        (httpx.Response(200, json={"an": "object"}), "not_dicomweb"),
        (httpx.Response(200, content=b"[" * 100_000), "not_dicomweb"),
    ],
)
def test_failure_has_a_code_with_a_remedy(answer: httpx.Response | Exception, code: str) -> None:
    assert code_of(client_of(answer)) == code
    assert FAILURES[code].what_to_do.endswith(".")


def test_answer_that_is_too_long_is_given_up() -> None:
    assert code_of(client_of(httpx.Response(200, content=b"[" + b" " * 2000), max_bytes=1000)) == "too_large"


def test_empty_answer_means_that_nothing_is_found() -> None:
    assert client_of(httpx.Response(204)).metadata("1.2", "1.3") == []


def test_instance_comes_back_byte_for_byte() -> None:
    assert FakePacs().client().instance("1.2", "1.3", "1.5.1") == dicom_file("1.5.1")


def test_other_instance_than_asked_for_is_refused() -> None:
    answer = httpx.Response(200, content=dicom_file("1.6"), headers={"Content-Type": "application/dicom"})
    with pytest.raises(ExchangeError, match="not_returned"):
        client_of(answer).instance("1.2", "1.3", "1.5.1")


def test_identifier_that_is_none_enters_no_path() -> None:
    pacs = FakePacs()
    with pytest.raises(ExchangeError, match="not_dicomweb"):
        pacs.client().metadata("1.2/../../system", "1.3")
    assert pacs.paths == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(200, json={}), "not_stored"),
        (httpx.Response(202, json={"00081199": {"Value": [{"00081155": {"Value": ["1.6"]}}]}}), "not_stored"),
        (httpx.Response(409, json={}), "conflict"),
        (httpx.Response(409), "conflict"),
        (httpx.Response(200), "not_dicomweb"),
    ],
)
def test_instance_that_is_not_listed_is_not_stored(answer: httpx.Response, code: str) -> None:
    with pytest.raises(ExchangeError, match=code):
        client_of(answer).store(dicom_file("1.5"), "1.5")


def test_instance_that_the_pacs_has_already_is_stored() -> None:
    failed = {"00081198": {"Value": [{"00081155": {"Value": ["1.5"]}, "00081197": {"Value": [0x0111]}}]}}
    pacs = client_of(httpx.Response(409, json=failed))
    assert pacs.store(dicom_file("1.5"), "1.5") is None  # type: ignore[func-returns-value]


def test_part_with_its_own_delimiter_inside_survives() -> None:
    content = dicom_file("1.5", b"\r\n--not the boundary\r\n")
    content_type, body = one_part(content)
    assert only_part(content_type, body) == content


@pytest.mark.parametrize("content", [b"", dicom_file("1.5")[:140], b"\0" * 128 + b"DICM" + b"\x08\0" * 20])
def test_file_without_an_identifier_is_refused(content: bytes) -> None:
    with pytest.raises(ExchangeError, match="not_dicomweb"):
        instance_uid(content)


def test_instances_are_in_the_order_of_their_numbers() -> None:
    metadata = [attributes("1.3", 10), attributes("1.1", 2), attributes("1.2", 9)]
    assert read_series(metadata, lambda _: False).instances == ["1.1", "1.2", "1.3"]


@pytest.mark.parametrize(
    ("how", "most", "handled", "chosen"),
    [
        ("first", 1, [], ["a"]),
        ("first", 2, [], ["a", "b"]),
        ("middle", 1, [], ["c"]),
        ("middle", 3, [], ["b", "c", "d"]),
        ("middle", 9, [], ["a", "b", "c", "d", "e"]),
        ("all", 2, [], ["a", "b"]),
        ("all", 9, ["a", "c"], ["b", "d", "e"]),
        ("all", 2, ["a", "c"], []),
        ("middle", 1, ["b"], []),
    ],
)
def test_choice_of_instances(how: str, most: int, handled: list[str], chosen: list[str]) -> None:
    assert choose(["a", "b", "c", "d", "e"], handled, how, most) == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["", "ftp://pacs/", "http://me:secret@pacs/", "http://pacs/?x=1", "pacs:8042"])
def test_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="CERTRAD_PACS_URL") as caught:
        root_of(ConnectorSettings(pacs_url=url))
    assert "secret" not in str(caught.value)

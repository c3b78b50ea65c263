"""What can go wrong between the connector and a PACS or the service, each with a code and what to do about it."""

import ssl
from dataclasses import dataclass
from typing import Final

import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that can go wrong.

    Attributes:
        meaning: What happened, as a sentence.
        what_to_do: What the operator can do, as a sentence.
        retryable: Whether the same request may succeed later, because nobody answered, the other side was not ready, or
            an operator can change a setting. It is then tried again without a limit.
    """

    meaning: str
    what_to_do: str
    retryable: bool = False


FAILURES: Final[dict[str, Failure]] = {
    "name_unknown": Failure(
        meaning="The host name of the address is not known.",
        what_to_do="Correct the host name, or the name server of this machine.",
        retryable=True,
    ),
    "refused": Failure(
        meaning="Nothing listens at the address, or a firewall refuses the connection.",
        what_to_do="Start the other side, or correct the port.",
        retryable=True,
    ),
    "timeout": Failure(
        meaning="The other side did not answer in time.",
        what_to_do="Look for a firewall that drops packets, or raise CERTRAD_PACS_TIMEOUT.",
        retryable=True,
    ),
    "tls": Failure(
        meaning="The certificate of the server is not trusted, or the server does not speak TLS.",
        what_to_do="Name the PEM file of its authority in CERTRAD_PACS_CA, or write http instead of https.",
        retryable=True,
    ),
    "disconnected": Failure(
        meaning="The connection broke before the answer was complete.",
        what_to_do="Look into the log of the other side; the connector tries again.",
        retryable=True,
    ),
    "unauthorized": Failure(
        meaning="The server wants other credentials (401).",
        what_to_do="Set CERTRAD_PACS_TOKEN, or CERTRAD_PACS_USER and CERTRAD_PACS_PASSWORD.",
        retryable=True,
    ),
    "forbidden": Failure(
        meaning="The server knows the credentials and does not allow this (403).",
        what_to_do="Allow the account to search, retrieve and store; behind Orthanc, also look at RemoteAccessAllowed.",
    ),
    "busy": Failure(
        meaning="The server is not ready (429, 502, 503 or 504).",
        what_to_do="Wait; the connector tries again.",
        retryable=True,
    ),
    "not_found": Failure(
        meaning="The server has nothing at this address (404).",
        what_to_do="Correct the DICOMweb root; Orthanc's is http://HOST:8042/dicom-web, and needs its DICOMweb plugin.",
    ),
    "not_acceptable": Failure(
        meaning="The server does not offer the wanted form of answer (400 or 406).",
        what_to_do="See whether the address is a DICOMweb root, and which media types the PACS documents.",
    ),
    "redirected": Failure(
        meaning="The server sent the connector to another address, which it never follows.",
        what_to_do="Write the address in its final form, with the right scheme and without a slash too many.",
    ),
    "server_error": Failure(
        meaning="The server reports a fault of its own (500).",
        what_to_do="Look into the log of the PACS.",
    ),
    "unexpected_status": Failure(
        meaning="The server answered with a status that DICOMweb does not foresee here.",
        what_to_do="See whether the address is that of a DICOMweb root.",
    ),
    "not_dicomweb": Failure(
        meaning="The answer is not what DICOMweb says.",
        what_to_do="See whether the address is a DICOMweb root, and not a page of the PACS.",
    ),
    "too_large": Failure(
        meaning="The answer is longer than the connector takes.",
        what_to_do="Raise CERTRAD_PACS_MAX_BYTES, and CERTRAD_MAX_BODY_BYTES of the service with it.",
    ),
    "conflict": Failure(
        meaning="The server refused the instance (409).",
        what_to_do="Look into the log of the PACS: it may not take this kind of object, or this patient.",
    ),
    "not_stored": Failure(
        meaning="The server answered, but does not list the instance among those that it stored.",
        what_to_do="Look into the log of the PACS: it may not take this kind of object, or this patient.",
    ),
    "not_returned": Failure(
        meaning="The server stored the instance and returned another one, or none.",
        what_to_do="Look whether the PACS changes or filters what it stores.",
    ),
    "received_file_lost": Failure(
        meaning="The file of a pushed image was deleted by somebody else before it was certified.",
        what_to_do="Push the image again, and leave the folder of received images alone.",
    ),
    "changes_went_back": Failure(
        meaning="Orthanc's list of changes ended earlier than before, as after a restore; the connector goes on at its "
        "end.",
        what_to_do="Ask for the studies that arrived meanwhile with `certrad certify --study UID`. Shown once.",
    ),
    "unknown_destination": Failure(
        meaning="The rules no longer name this destination.",
        what_to_do="Add the destination to the rules again, or drop the delivery.",
        retryable=True,
    ),
    "no_credentials": Failure(
        meaning="The file of the token cannot be read, or holds no token.",
        what_to_do="Write the token into `token_file` of the destination, and let the user of the connector read it.",
        retryable=True,
    ),
    "not_orthanc": Failure(
        meaning="The answer is not what Orthanc's own interface says.",
        what_to_do="Correct CERTRAD_ORTHANC_URL, which is Orthanc's address without `/dicom-web`, or unset it.",
    ),
    "not_certrad": Failure(
        meaning="The answer is not one of this service.",
        what_to_do="Correct CERTRAD_URL, or let the proxy in front of the service pass its answers on unchanged.",
    ),
}
"""The codes of the connector, which stand in its logs, in `certrad deliveries` and in `certrad pacs check`."""


class ExchangeError(Exception):
    """An exchange with a PACS or the service failed; the message is a code, of `FAILURES` or of the service."""

    def __init__(self, code: str, *, retryable: bool | None = None) -> None:
        super().__init__(code)
        self.code = code
        failure = FAILURES.get(code)
        self.retryable = retryable if retryable is not None else failure is not None and failure.retryable


def of_transport(error: httpx.HTTPError) -> ExchangeError:
    """Returns what an error of the transport means; nothing of its message, which may quote an address."""
    if isinstance(error, httpx.TimeoutException):
        return ExchangeError("timeout")
    causes = _causes(error)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return ExchangeError("tls")
    if isinstance(error, httpx.ConnectError):
        words = " ".join(map(str, causes)).lower()
        unknown = ("name or service not known", "name resolution", "nodename nor servname", "no address associated")
        return ExchangeError("name_unknown" if any(word in words for word in unknown) else "refused")
    return ExchangeError("disconnected")


def of_status(status: int) -> ExchangeError | None:
    """Returns what an HTTP status means; None for success."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return ExchangeError("redirected")
    return ExchangeError(_CODE_OF_STATUS.get(status, "server_error" if status >= 500 else "unexpected_status"))


_CODE_OF_STATUS: Final = {
    400: "not_acceptable",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    406: "not_acceptable",
    409: "conflict",
    429: "busy",
    501: "unexpected_status",
    502: "busy",
    503: "busy",
    504: "busy",
}


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < 10:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found

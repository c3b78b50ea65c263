"""The HTTP clients of the connector, each with the credentials of its own side and of no other."""

import ssl
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx

from certrad.workers.contract.rules import DEFAULT_DESTINATION, Destination, Rules
from certrad.workers.pacs.dicomweb import DicomWeb
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.settings import ConnectorSettings

_SERVICE_SECONDS: Final = 60.0


class TokenFile(httpx.Auth):
    """Adds the bearer token of a file to each request, so that a token that is written anew is used at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Returns the token.

        Raises:
            ExchangeError: no_credentials.
        """
        try:
            token = self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token.isprintable() or not token:
            raise ExchangeError("no_credentials")
        return token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yields a request with the token."""
        request.headers["Authorization"] = f"Bearer {self.read()}"
        yield request


_Auth = tuple[str, str] | TokenFile | None


class Connections:
    """Makes clients, which close with a stack of contexts."""

    def __init__(self, settings: ConnectorSettings, closing: ExitStack) -> None:
        self._settings = settings
        self._closing = closing

    def pacs(self) -> DicomWeb:
        """Returns the client of the configured PACS.

        Raises:
            ValueError: CERTRAD_PACS_URL is missing or no address, or the file of authorities cannot be used.
        """
        return self._dicomweb(root_of(self._settings), self._headers(), self._basic())

    def orthanc(self) -> httpx.Client:
        """Returns a client of Orthanc's own interface, with the credentials of the PACS.

        Raises:
            ValueError: CERTRAD_ORTHANC_URL is no address.
        """
        _require_address("CERTRAD_ORTHANC_URL", self._settings.orthanc_url or "")
        return self._client(self._headers(), self._basic())

    def service(self) -> httpx.Client:
        """Returns a client of the service, with the connector's API key if it has one."""
        key = self._settings.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        client = httpx.Client(timeout=_SERVICE_SECONDS, trust_env=False, headers=headers)
        return self._closing.enter_context(client)

    def destinations(self, rules: Rules, pacs: DicomWeb) -> dict[str, DicomWeb]:
        """Returns the clients of all destinations, by name.

        Args:
            rules: The rules, which name them.
            pacs: The client of the configured PACS.

        Raises:
            ValueError: The file of authorities cannot be used.
        """
        named = {name: self._destination(destination) for name, destination in rules.destinations.items()}
        return {DEFAULT_DESTINATION: pacs, **named}

    def _destination(self, destination: Destination) -> DicomWeb:
        token = None if destination.token_file is None else TokenFile(Path(destination.token_file))
        return self._dicomweb(destination.url, {}, token)

    def _dicomweb(self, root: str, headers: Mapping[str, str], auth: _Auth) -> DicomWeb:
        return DicomWeb(self._client(headers, auth), root, max_bytes=self._settings.pacs_max_bytes)

    def _client(self, headers: Mapping[str, str], auth: _Auth) -> httpx.Client:
        verify: ssl.SSLContext | bool = True
        if (authorities := self._settings.pacs_ca) is not None:
            try:
                verify = ssl.create_default_context(cafile=str(authorities))
            except (OSError, ssl.SSLError):
                raise ValueError("CERTRAD_PACS_CA must be a PEM file of certificates that can be read") from None
        client = httpx.Client(
            headers=dict(headers),
            auth=auth,
            verify=verify,
            timeout=self._settings.pacs_timeout,
            trust_env=False,  # else HTTP_PROXY would lead images and reports through the proxy of the machine
            follow_redirects=False,  # else a PACS could send it, with its credentials, to any address
        )
        return self._closing.enter_context(client)

    def _headers(self) -> dict[str, str]:
        token = self._settings.pacs_token
        return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}

    def _basic(self) -> tuple[str, str] | None:
        settings = self._settings
        if settings.pacs_token is not None or settings.pacs_user is None:
            return None
        return settings.pacs_user, "" if settings.pacs_password is None else settings.pacs_password.get_secret_value()


def root_of(settings: ConnectorSettings) -> str:
    """Returns the DICOMweb root of the PACS.

    Raises:
        ValueError: CERTRAD_PACS_URL is missing or no address.
    """
    if settings.pacs_url is None:
        raise ValueError("CERTRAD_PACS_URL must name the DICOMweb root of the PACS")
    _require_address("CERTRAD_PACS_URL", settings.pacs_url)
    return settings.pacs_url


def _require_address(name: str, value: str) -> None:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError(f"{name} must be an http or https address without a password or a query")

"""A client of the service's own interface, as the connector needs it."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from certrad.workers.pacs.failures import ExchangeError, of_transport

_ADDRESSES: Final = {"sr": ("certificate", "application/dicom"), "sc": ("secondary-capture", "application/dicom")}
_OF_ACCESS: Final = frozenset({"unauthenticated", "scope_missing"})  # an operator can give the connector another key
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class Service:
    """Speaks to one installation; every refusal is an ExchangeError with the service's own code."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        """Takes over a client.

        Args:
            http: The client.
            url: The address of the service.
        """
        self._http = http
        self._url = url.rstrip("/")

    def submit(self, content: bytes, fields: Mapping[str, str], *, key: str) -> str:
        """Submits an image; the same key and request return the same job.

        Args:
            content: The DICOM file.
            fields: The fields of POST /certify.
            key: The Idempotency-Key.

        Returns:
            The id of the job.

        Raises:
            ExchangeError: The service refused, or it does not answer.
        """
        headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": key}
        answer = self._request("POST", "/certify", content=content, params=dict(fields), headers=headers)
        return str(self._object(answer)["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Returns a job.

        Raises:
            ExchangeError: As above; job_not_found, if it is gone.
        """
        return self._object(self._request("GET", f"/jobs/{job_id}"))

    def output(self, job_id: str, output: str) -> bytes:
        """Returns an output of a job that has ended.

        Args:
            job_id: The job.
            output: `sr` or `sc`.

        Raises:
            ExchangeError: As above.
        """
        path, media_type = _ADDRESSES[output]
        return self._request("GET", f"/jobs/{job_id}/{path}", headers={"Accept": media_type}).content

    def ask(self) -> None:
        """Asks whether the service is ready.

        Raises:
            ExchangeError: It is not.
        """
        self._request("GET", "/health/ready")

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # httpx has the types
        try:
            response = self._http.request(method, f"{self._url}{path}", **options)
        except httpx.HTTPError as error:
            raise of_transport(error) from None
        if response.is_success:
            return response
        try:
            code = str(response.json()["code"])
        except (ValueError, KeyError, TypeError):
            code = "not_certrad"
        raise ExchangeError(code, retryable=response.status_code in _PASSING or code in _OF_ACCESS)

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or "id" not in body:
            raise ExchangeError("not_certrad")
        return body

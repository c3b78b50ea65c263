"""The headers with which spans go to a collector, such as its credential."""

import re
from typing import Final
from urllib.parse import unquote

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]+")


def read_headers(text: str) -> dict[str, str]:
    """Returns name -> value of each header.

    OpenTelemetry's own reader logs what it cannot read, and that would be a secret.

    Args:
        text: `name=value` pairs, separated by commas, with values in percent encoding: the form of
            `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        ValueError: A pair is none; the message holds no part of the text.
    """
    headers: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        name, _, encoded = pair.partition("=")
        value = unquote(encoded.strip())
        if not _NAME.fullmatch(name.strip()) or not _VALUE.fullmatch(value):
            raise ValueError(f"must be name=value pairs separated by commas; number {number} is none")
        headers[name.strip().lower()] = value
    return headers

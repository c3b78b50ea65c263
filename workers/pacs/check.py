"""Tests the connection to the PACS, step by step, as the connector will use it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from certrad.workers.contract.rules_file import RulesError, read_rules
from certrad.workers.pacs.changes import WENT_BACK
from certrad.workers.pacs.connections import Connections, TokenFile
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.failures import FAILURES, ExchangeError, of_status, of_transport
from certrad.workers.pacs.synthetic_instance import INSTANCE, SERIES, STUDY, synthetic_instance
from certrad.workers.settings import ConnectorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the test.

    Attributes:
        name: What was tried.
        code: The code of the failure; None if it went well.
        meaning: What happened, as a sentence.
        what_to_do: What the operator can do.
    """

    name: str
    code: str | None = None
    meaning: str = ""
    what_to_do: str = ""


def check(settings: ConnectorSettings) -> Iterator[Step]:
    """Yields the steps as they end; what cannot work after a failure is left out.

    It stores one instance of a patient who does not exist, the same one each time, and leaves it in the PACS.

    Args:
        settings: The settings of the connector.
    """
    with ExitStack() as closing:
        connections = Connections(settings, closing)
        try:
            rules = read_rules(settings.rules)
            pacs = connections.pacs()
            connections.destinations(rules, pacs)
            orthanc = None if settings.orthanc_url is None else connections.orthanc()
        except RulesError as error:
            yield Step(name="rules", code="invalid_rules", meaning=str(error), what_to_do="Correct CERTRAD_RULES.")
            return
        except ValueError as error:
            yield Step(name="settings", code="invalid_settings", meaning=str(error), what_to_do="Correct the setting.")
            return
        yield Step(name=f"rules: {len(rules.rules)} read")
        for name, destination in rules.destinations.items():
            if destination.token_file is not None:
                yield _step(f"read the token of the destination {name!r}", TokenFile(Path(destination.token_file)).read)
        searched = _step("search (QIDO-RS)", pacs.ask)
        yield searched
        if searched.code is None:
            stored = _step("store a synthetic instance (STOW-RS)", lambda: pacs.store(synthetic_instance(), INSTANCE))
            yield stored
            if stored.code is None:
                yield _step("see it in its series (metadata)", lambda: _require(pacs.metadata(STUDY, SERIES)))
                yield _step("retrieve it (WADO-RS)", lambda: _require(pacs.instance(STUDY, SERIES, INSTANCE)))
        if orthanc is not None:
            yield _step(
                "read the list of changes (Orthanc)",
                lambda: _require_status(orthanc, f"{(settings.orthanc_url or '').rstrip('/')}/changes?last"),
            )
            if _went_back(settings):
                yield _failed("the list of changes since the last check", "changes_went_back")
        service = connections.service()
        yield _step(
            "reach the service", lambda: _require_status(service, f"{settings.url.rstrip('/')}/health/ready"), "service"
        )


def _step(name: str, action: Callable[[], object], side: str = "PACS") -> Step:
    try:
        action()
    except ExchangeError as error:
        failure = FAILURES.get(error.code)
        if failure is None:
            return Step(name=name, code=error.code, meaning="The answer is not the expected one.")
        if side == "service":
            return Step(
                name=name,
                code=error.code,
                meaning=failure.meaning,
                what_to_do="Start the service with `certrad up`, and name its address in CERTRAD_URL.",
            )
        return _failed(name, error.code)
    return Step(name=name)


def _went_back(settings: ConnectorSettings) -> bool:
    """Returns whether the connector found that the list of changes went back, and forgets it."""
    if not (settings.pacs_dir / "connector.sqlite3").exists():
        return False
    try:
        with closing(Database(settings.pacs_dir)) as database:
            return database.forget_fact(WENT_BACK)
    except (OSError, sqlite3.Error):
        return False


def _failed(name: str, code: str) -> Step:
    failure = FAILURES[code]
    return Step(name=name, code=code, meaning=failure.meaning, what_to_do=failure.what_to_do)


def _require(found: object) -> None:
    if not found:
        raise ExchangeError("not_returned")


def _require_status(http: httpx.Client, url: str) -> None:
    try:
        response = http.get(url)
    except httpx.HTTPError as error:
        raise of_transport(error) from None
    if (wrong := of_status(response.status_code)) is not None:
        raise wrong

"""One attempt to deliver goes, over real TLS, to the one address that was resolved and to nowhere else."""

import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from certrad.workers.callbacks.message import message, secret_of
from certrad.workers.callbacks.note import Note
from certrad.workers.callbacks.sending import Answer, Sending
from certrad.workers.contract.callbacks import CallbackHosts
from tests.support.receiver import FORMER_SECRET, NAME, SECRET, Authority, Receiver, make_authority, receiver

JOB = "0f8fad5bd9cb469fa16570867728950e"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority") / "files")


@pytest.fixture
def other(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority) as running:
        yield running


class Resolver:
    """Resolves every name to the addresses that a test gives, one list for each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


def note(address: str, **changes: object) -> Note:
    fields: dict[str, object] = {
        "job": JOB,
        "address": address,
        "tenant": "local",
        "status": "succeeded",
        "ended_at": 1_760_000_000.25,
        "began_at": 1_760_000_000.25,
        "attempts": 0,
        "reason": "",
    }
    return Note(**{**fields, **changes})  # type: ignore[arg-type]  # as Note has them


def hosts(*entries: str) -> CallbackHosts:
    return CallbackHosts.read(", ".join(entries))


def send(
    authority: Authority,
    address: str,
    resolver: Resolver,
    listed: CallbackHosts,
    *,
    secrets: tuple[str, ...] = (SECRET,),
    seconds: float = 10.0,
    now: float | None = None,
    **changes: object,
) -> Answer:
    """Makes one attempt to deliver a message to an address."""
    at = time.time() if now is None else now
    signed = message(note(address, **changes), secrets, now=at)
    sending = Sending(hosts=listed, tls=authority.trust, seconds=seconds, resolver=resolver)
    return sending.send(address, signed, now=at)


@pytest.fixture
def deliver(authority: Authority, other: Receiver) -> Callable[..., Answer]:
    """Returns what delivers a message to the running receiver, whose loopback address the list names."""

    def attempt(path: str = "/ended?of=certrad", **options: object) -> Answer:
        listed = hosts(f"{NAME}:{other.port}", "127.0.0.1")
        resolver = Resolver(["127.0.0.1"])
        return send(authority, f"https://{NAME}:{other.port}{path}", resolver, listed, **options)  # type: ignore[arg-type]  # as send has them

    return attempt


def test_a_receiver_gets_id_and_status_and_checks_the_signature(
    deliver: Callable[..., Answer], other: Receiver
) -> None:
    assert deliver() == Answer(delivered=True)
    (request,) = other.received
    assert Webhook(SECRET).verify(request.body, request.headers) == {
        "type": "job.ended",
        "timestamp": "2025-10-09T08:53:20.250+00:00",
        "data": {"id": JOB, "status": "succeeded", "links": {"self": f"/jobs/{JOB}"}},
    }
    assert request.path == "/ended?of=certrad"
    assert request.headers["host"] == f"{NAME}:{other.port}"
    assert request.headers["webhook-id"] == f"msg_{JOB}"
    assert request.headers["content-type"] == "application/json"


def test_during_a_rotation_either_secret_checks_it(deliver: Callable[..., Answer], other: Receiver) -> None:
    deliver(secrets=(SECRET, FORMER_SECRET))
    (request,) = other.received
    for secret in (SECRET, FORMER_SECRET):
        assert Webhook(secret).verify(request.body, request.headers)["type"] == "job.ended"


def test_each_tenant_has_a_secret_of_its_own(deliver: Callable[..., Answer], other: Receiver) -> None:
    deliver(tenant="radiology")
    (request,) = other.received
    assert Webhook(secret_of("radiology", SECRET)).verify(request.body, request.headers)
    for secret in (SECRET, secret_of("pathology", SECRET)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(request.body, request.headers)


def test_the_name_is_resolved_once_and_the_connection_made_to_that_address(
    authority: Authority, other: Receiver
) -> None:
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])  # a name that leads elsewhere once it was checked
    listed = hosts(f"{NAME}:{other.port}", "127.0.0.1")
    assert send(authority, f"https://{NAME}:{other.port}/", resolver, listed).delivered
    assert resolver.asked == [(NAME, other.port)]
    assert other.connections == 1


def test_the_next_address_of_the_same_answer_is_tried_when_one_takes_no_connection(
    authority: Authority, other: Receiver
) -> None:
    resolver = Resolver(["127.0.0.9", "127.0.0.1"])  # nothing listens on the first
    listed = hosts(f"{NAME}:{other.port}", "127.0.0.1", "127.0.0.9")
    assert send(authority, f"https://{NAME}:{other.port}/", resolver, listed).delivered
    assert len(resolver.asked) == 1


def test_a_name_that_leads_to_this_machine_is_not_called(authority: Authority, other: Receiver) -> None:
    resolver = Resolver(["127.0.0.1"])
    answer = send(authority, f"https://{NAME}:{other.port}/", resolver, hosts(f"{NAME}:{other.port}"))
    assert (answer.delivered, answer.retryable, answer.reason) == (False, False, "closed_address")
    assert other.connections == 0


def test_a_host_that_is_no_longer_on_the_list_is_not_called(authority: Authority, other: Receiver) -> None:
    resolver = Resolver(["127.0.0.1"])
    answer = send(authority, f"https://{NAME}:{other.port}/", resolver, hosts(NAME, "127.0.0.1"))
    assert (answer.retryable, answer.reason) == (False, "host_not_listed")
    assert resolver.asked == []
    assert other.connections == 0


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    wrong = make_authority(tmp_path / "wrong", name="other.test")
    with receiver(wrong) as running:
        resolver, listed = Resolver(["127.0.0.1"]), hosts(f"{NAME}:{running.port}", "127.0.0.1")
        answer = send(wrong, f"https://{NAME}:{running.port}/", resolver, listed)
        assert (answer.delivered, answer.retryable, answer.reason) == (False, True, "tls")
        assert running.received == []


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, authority: Authority, other: Receiver) -> None:
    stranger = make_authority(tmp_path / "stranger")
    resolver, listed = Resolver(["127.0.0.1"]), hosts(f"{NAME}:{other.port}", "127.0.0.1")
    answer = send(stranger, f"https://{NAME}:{other.port}/", resolver, listed)
    assert answer.reason == "tls"
    assert other.received == []


def test_a_host_that_is_an_ip_address_needs_a_certificate_for_it(tmp_path: Path) -> None:
    made = make_authority(tmp_path / "literal", name="127.0.0.1")
    with receiver(made) as running:
        address = f"https://127.0.0.1:{running.port}/"
        assert send(made, address, Resolver(["127.0.0.1"]), hosts(f"127.0.0.1:{running.port}")).delivered


def test_a_host_that_the_list_names_with_http_is_called_without_tls(authority: Authority) -> None:
    with receiver(None) as running:
        listed = hosts(f"http://{NAME}:{running.port}", "127.0.0.1")
        assert send(authority, f"http://{NAME}:{running.port}/", Resolver(["127.0.0.1"]), listed).delivered
        assert running.received[0].headers["host"] == f"{NAME}:{running.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    status: int, authority: Authority, deliver: Callable[..., Answer], other: Receiver
) -> None:
    with receiver(authority) as elsewhere:
        other.status, other.headers = status, {"Location": f"https://127.0.0.1:{elsewhere.port}/"}
        answer = deliver()
        assert (answer.delivered, answer.retryable, answer.reason) == (False, False, f"http_{status}")
        assert elsewhere.connections == 0
    assert len(other.received) == 1


def test_a_proxy_of_the_environment_is_not_asked(
    deliver: Callable[..., Answer], other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(None) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        assert deliver().delivered
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, False) for status in (400, 401, 403, 404, 410, 413, 422)),
    ],
)
def test_the_status_says_whether_it_is_worth_another_attempt(
    status: int, retryable: bool, deliver: Callable[..., Answer], other: Receiver
) -> None:
    other.status = status
    assert deliver() == Answer(retryable=retryable, reason=f"http_{status}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 09 Oct 2025 08:55:20 GMT", 120.0),
        ("999999", 86_400.0),
        ("Thu, 09 Oct 2025 08:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_honoured_up_to_a_day(
    header: str, seconds: float, deliver: Callable[..., Answer], other: Receiver
) -> None:
    other.status, other.headers = 503, {"Retry-After": header}
    assert deliver(now=1_760_000_000.0).retry_after == seconds


def test_a_body_without_an_end_is_not_read(deliver: Callable[..., Answer], other: Receiver) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        while not other.closing.is_set():
            sent += handler.wfile.write(bytes(65_536))

    other.body = endless
    assert deliver() == Answer(delivered=True)
    assert sent < 64 << 20


def test_an_answer_that_drips_ends_with_the_time_of_the_attempt(
    deliver: Callable[..., Answer], other: Receiver
) -> None:
    def drip() -> None:
        other.closing.wait(30)

    other.on_request = drip
    answer = deliver(seconds=0.5)
    assert (answer.delivered, answer.retryable, answer.answered, answer.reason) == (False, True, False, "too_slow")


def test_nobody_listening_is_worth_another_attempt(authority: Authority) -> None:
    with receiver(authority) as gone:
        port = gone.port
    answer = send(authority, f"https://{NAME}:{port}/", Resolver(["127.0.0.1"]), hosts(f"{NAME}:{port}", "127.0.0.1"))
    assert answer == Answer(retryable=True, answered=False, reason="not_reached")


def test_a_name_that_nobody_knows_is_worth_another_attempt(authority: Authority) -> None:
    def unknown(_: str, __: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    sending = Sending(hosts=hosts(NAME), tls=authority.trust, seconds=5.0, resolver=unknown)
    address = f"https://{NAME}/"
    answer = sending.send(address, message(note(address), (SECRET,), now=1.0), now=1.0)
    assert answer == Answer(retryable=True, answered=False, reason="not_resolved")

"""`certrad callbacks run`: the process that sends callbacks."""

import signal
import ssl
import sys
import threading
from argparse import Namespace
from typing import TYPE_CHECKING

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, REDIS_AWAY, fail

if TYPE_CHECKING:
    from certrad.workers.settings import CallbackSettings


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_data_dir(parser)


def run(options: Namespace) -> int:
    """Sends callbacks until SIGTERM or SIGINT.

    Returns:
        The exit code.
    """
    from redis.exceptions import ConnectionError, TimeoutError

    from certrad.workers.callbacks.plan import Plan
    from certrad.workers.callbacks.sending import Sending
    from certrad.workers.callbacks.service import Callbacks
    from certrad.workers.callbacks.store import CallbackStore
    from certrad.workers.connection import connect
    from certrad.workers.contract import logs
    from certrad.workers.contract.audit import open_trail, recorded_run
    from certrad.workers.contract.waiting import tell_if_redis_is_away
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import CallbackSettings

    logs.configure("callbacks")
    settings = settings_of(CallbackSettings, options.data_dir)
    try:
        secrets = secrets_of(settings)
        tls = tls_of(settings)
    except ValueError as error:
        return fail(str(error), BAD_USAGE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: stop.set())
    tell_if_redis_is_away(settings)
    redis = connect(settings, is_stopping=stop.is_set)
    trail = open_trail(settings, redis)
    plan = Plan(
        attempts=settings.callback_attempts,
        seconds=settings.callback_days * 86_400,
        first_wait=settings.callback_retry_seconds,
        longest_wait=settings.callback_retry_max_seconds,
    )
    sending = Sending(hosts=settings.allowed_callbacks, tls=tls, seconds=settings.callback_timeout)
    try:
        with recorded_run(trail, "callbacks"):
            Callbacks(CallbackStore(redis), sending, plan, trail, secrets).run(stop.wait)
    except (ConnectionError, TimeoutError) as error:
        sys.stderr.write(f"certrad: callbacks end without Redis ({type(error).__name__})\n")
        return DONE if stop.is_set() else REDIS_AWAY
    return DONE


def secrets_of(settings: "CallbackSettings") -> list[str]:
    """Returns the secrets that sign, the current one first.

    Args:
        settings: The settings.

    Raises:
        ValueError: Callbacks are off, there is no secret, or one is none.
    """
    from certrad.workers.callbacks.message import read_secret

    if not settings.allowed_callbacks:
        raise ValueError("CERTRAD_CALLBACK_HOSTS must name the hosts that callbacks may go to")
    if settings.callback_secret is None:
        raise ValueError(
            "CERTRAD_CALLBACK_SECRET or CERTRAD_CALLBACK_SECRET_FILE must be set, for callbacks are signed"
        )
    given = {
        "CERTRAD_CALLBACK_SECRET": settings.callback_secret,
        "CERTRAD_CALLBACK_FORMER_SECRET": settings.callback_former_secret,
    }
    secrets = {name: secret.get_secret_value() for name, secret in given.items() if secret is not None}
    for name, secret in secrets.items():
        try:
            read_secret(secret)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return list(secrets.values())


def tls_of(settings: "CallbackSettings") -> ssl.SSLContext:
    """Returns how certificates of receivers are checked.

    Args:
        settings: The settings.

    Raises:
        ValueError: The file of authorities cannot be used.
    """
    authorities = settings.callback_ca
    try:
        return ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    except (OSError, ssl.SSLError):
        raise ValueError("CERTRAD_CALLBACK_CA must be a PEM file of certificates that can be read") from None

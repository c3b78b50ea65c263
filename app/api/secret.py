"""The secret of the senders that push something into the service: a trigger, or images."""

import hmac
from typing import Annotated, Final

from fastapi import Header, Request
from starlette.datastructures import Headers

from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.origin import SAFE_METHODS
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected

CODES: Final = ("triggers_disabled", "wrong_trigger_secret")
_SCHEME: Final = "bearer"
_HEADER: Final = "certrad-trigger-secret"

Secret = Annotated[
    str | None,
    Header(
        description="the secret that the API was started with; `Authorization: Bearer SECRET` is taken in its place, "
        "and so is an API key with the scope `submit`"
    ),
]


def bearer(headers: Headers) -> str | None:
    """Returns the bearer token of a request; None if it brings none.

    Args:
        headers: The headers of the request.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


def brings_secret(headers: Headers, settings: ApiSettings) -> bool:
    """Returns whether a request brings the secret, in a header of its own or as a bearer token.

    Args:
        headers: The headers of the request.
        settings: The settings, with the secret.
    """
    if settings.trigger_secret is None:
        return False
    given = headers.get(_HEADER) or bearer(headers) or ""
    return hmac.compare_digest(given.encode(), settings.trigger_secret.get_secret_value().encode())


def require_secret(
    request: Request, services: ServicesDep, caller: CallerDep, certrad_trigger_secret: Secret = None
) -> None:
    """Lets a request pass that brings the secret, or a key of the tenant that the PACS belongs to.

    Raises:
        Rejected: triggers_disabled, wrong_trigger_secret; for a key of another tenant scope_missing, or
            trigger_not_found.
    """
    settings = services.settings
    if caller.key_id is not None:
        if caller.tenant == settings.trigger_tenant:
            return
        if request.method in SAFE_METHODS:
            raise Rejected("trigger_not_found", "")
        raise Rejected("scope_missing", "the PACS of this service belongs to another tenant")
    if settings.trigger_secret is None:
        raise Rejected("triggers_disabled", "")
    if not brings_secret(request.headers, settings):
        raise Rejected("wrong_trigger_secret", "")

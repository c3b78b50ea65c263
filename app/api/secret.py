"""The secret that whoever pushes something into the service must bring: a trigger, or images."""

import hmac
from typing import Annotated, Final

from fastapi import Header, Request

from certrad.app.api.dependencies import ServicesDep
from certrad.models.errors import Rejected

CODES: Final = ("triggers_disabled", "wrong_trigger_secret")
_SCHEME: Final = "bearer"

Secret = Annotated[
    str | None,
    Header(
        description="the secret that the API was started with; `Authorization: Bearer SECRET` is taken in its place"
    ),
]


def require_secret(request: Request, services: ServicesDep, certrad_trigger_secret: Secret = None) -> None:
    """Lets a request pass that brings the secret, in a header of its own or as a bearer token.

    Raises:
        Rejected: triggers_disabled, wrong_trigger_secret.
    """
    secret = services.settings.trigger_secret
    if secret is None:
        raise Rejected("triggers_disabled", "")
    expected = secret.get_secret_value().encode()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = certrad_trigger_secret or (token.strip() if scheme.lower() == _SCHEME else "")
    if not hmac.compare_digest(given.encode(), expected):
        raise Rejected("wrong_trigger_secret", "")

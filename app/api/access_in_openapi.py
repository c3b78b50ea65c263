"""What the OpenAPI document says about access: the schemes, and for each operation what it needs and may answer."""

from typing import Any, Final

from certrad.app.api.problems import problem_responses
from certrad.app.api.scopes import BY_SECRET, NEEDED, PUBLIC
from certrad.app.api.sessions import COOKIE

_SCHEMES: Final = {
    "key": {"type": "http", "scheme": "bearer", "description": "an API key of `certrad access add`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "the cookie of POST /session; a request that may change something must have an `Origin` too",
    },
    "trigger_secret": {"type": "apiKey", "in": "header", "name": "Certrad-Trigger-Secret"},
}
_CODES: Final = ("unauthenticated", "scope_missing", "rate_limited", "access_unavailable")


def describe_access(schema: dict[str, Any]) -> None:
    """Adds the security schemes and, to each operation that needs a key, its scopes and the refusals.

    Args:
        schema: The OpenAPI document, which is changed.
    """
    schema["components"]["securitySchemes"] = _SCHEMES
    for path in schema["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            if name in PUBLIC:
                continue
            ways = ["key", "session", *(["trigger_secret"] if name in BY_SECRET else [])]
            operation["security"] = [{}, *({way: []} for way in ways)]  # a service on loopback asks for nothing
            operation["x-certrad-scopes"] = sorted(NEEDED.get(name, ()))
            for status, response in problem_responses(*_CODES, common=False).items():
                known = operation["responses"].setdefault(str(status), response)
                if known is not response:
                    _merge(known, response)


def _merge(known: dict[str, Any], more: dict[str, Any]) -> None:
    for media_type, content in more["content"].items():
        there = known.setdefault("content", {}).setdefault(media_type, content)
        if there is not content:
            there.setdefault("examples", {}).update(content["examples"])
    known["description"] = "; ".join(filter(None, (known.get("description"), more["description"])))

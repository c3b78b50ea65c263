"""How every process reaches Redis: address, ACL user, password and authorities, as redis-py takes them."""

from typing import Any

from certrad.workers.contract.settings import SharedSettings


def redis_options(settings: SharedSettings) -> dict[str, Any]:
    """Returns the arguments of `from_url` of a client or a pool of redis-py, blocking or not.

    With `rediss://` the certificate of the server is verified, and its name.

    Args:
        settings: The settings of this process.
    """
    options: dict[str, Any] = {"url": settings.redis_url}
    if settings.redis_user is not None:
        options["username"] = settings.redis_user
    if settings.redis_password is not None:
        options["password"] = settings.redis_password.get_secret_value()
    if settings.redis_ca is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca)
    return options

"""A connection needs a key unless it reaches loopback."""

import pytest

from certrad.app.api.exposure import is_closed
from certrad.app.settings import ApiSettings


@pytest.mark.parametrize(
    ("server", "closed"),
    [
        (("127.0.0.1", 8000), False),
        (("::1", 8000), False),
        (("10.0.0.1", 8000), True),
        (("0.0.0.0", 8000), True),  # an address to compare
        (("/run/certrad.sock", None), True),
        (None, True),
    ],
)
def test_only_what_reaches_loopback_needs_no_key(server: tuple[str, int | None] | None, *, closed: bool) -> None:
    assert is_closed(ApiSettings(), {"type": "http", "server": server}) is closed

"""How long a soak lasts."""

import os

import pytest


@pytest.fixture(scope="session")
def soak_seconds() -> float:
    """Seconds of trouble: `CERTRAD_SOAK_SECONDS`, a quarter of an hour where it is unset."""
    return float(os.environ.get("CERTRAD_SOAK_SECONDS", "900"))

"""`bench scale`: simulated engines share one certificate through the service's own claims and commits."""

from pathlib import Path

import pytest

from certrad.bench.measure.scale import Row, as_markdown
from certrad.bench.measure.scale_simulation import simulate
from certrad.workers.local.redis_server import EmbeddedRedis


@pytest.mark.usefixtures("redis")  # empty: a helper leaves where a job waits
def test_simulated_engines_share_a_certificate_at_some_requests_for_each_batch(redis_server: EmbeddedRedis) -> None:
    socket = Path(redis_server.socket_path)
    made = simulate(socket, engines=3, n=5_000, batch_size=100, seconds=0.02)
    assert made.engines == 3
    assert made.took_part >= 2
    assert made.seconds >= 50 * 0.02 / 3
    assert 2 * 50 <= made.commands < 12 * 50
    assert made.redis_seconds > 0


def test_a_row_says_whether_it_was_simulated() -> None:
    row = Row(kind="simulated", engines=64, seconds=2.0, efficiency=0.5, samples_per_second=1000.0)
    assert as_markdown("title", [row]).endswith("| simulated | 64 | 2.00 | 0.50 | 1,000 |  |  |  |")

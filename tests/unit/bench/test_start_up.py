"""`python -m certrad.bench start-up` and `install` give the figures of a first use."""

from pathlib import Path

from certrad.bench.measure.install_cost import Fetched, fetched
from certrad.bench.measure.start_up import start

LOG = """
2026-01-01T00:00:00,000   Downloading torch-2.7.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)
2026-01-01T00:00:00,100   Link requires a different Python (3.11.7 not in: '<3.9'): https://host/torch-1.0.whl
2026-01-01T00:00:01,000   Downloading https://host/torch-2.7.0-cp311-cp311-manylinux_2_28_x86_64.whl (865.2 MB)
2026-01-01T00:00:09,000   Using cached rq-3.0-py3-none-any.whl (100 kB)
2026-01-01T00:00:09,100   Using cached tiny-1.0-py3-none-any.whl (999 bytes)
2026-01-01T00:00:09,150 Processing {folder}/local-1.0-py3-none-any.whl
2026-01-01T00:00:09,160 Processing {folder}
2026-01-01T00:00:09,200 Installing collected packages: tiny, rq, torch
"""


def test_packages_are_added_up_from_the_log_of_pip(tmp_path: Path) -> None:
    (tmp_path / "local-1.0-py3-none-any.whl").write_bytes(bytes(5))
    assert fetched(LOG.format(folder=tmp_path)) == Fetched(downloaded=29e3 + 865.2e6, at_hand=100e3 + 999 + 5)


def test_a_process_of_the_api_is_timed_until_it_answers() -> None:
    one = start()
    assert 0.1 < one.processor < 60
    assert one.wall > 0.1

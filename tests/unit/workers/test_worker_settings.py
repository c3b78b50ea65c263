"""Settings of workers are checked when the process starts, not when its first job runs."""

import pytest
from pydantic import ValidationError

from certrad.workers.settings import WorkerSettings


@pytest.mark.parametrize(
    ("block_size", "commit_size"),
    [(64, 64), (64, 16), (48, 16), (None, 64), (None, 32), (None, 1), (48, None), (None, None)],
)
def test_a_commit_size_that_divides_the_batch_is_accepted(block_size: int | None, commit_size: int | None) -> None:
    settings = WorkerSettings(block_size=block_size, commit_size=commit_size)
    assert (settings.block_size, settings.commit_size) == (block_size, commit_size)


@pytest.mark.parametrize(("block_size", "commit_size"), [(64, 48), (64, 128), (48, 64), (3, 2)])
def test_a_commit_size_that_does_not_divide_the_batch_stops_the_process(block_size: int, commit_size: int) -> None:
    with pytest.raises(ValidationError, match=f"commit_size must divide block_size = {block_size}, got {commit_size}"):
        WorkerSettings(block_size=block_size, commit_size=commit_size)


@pytest.mark.parametrize("commit_size", [3, 48, 128, 256])
def test_a_commit_size_alone_must_divide_the_batch_of_any_device(commit_size: int) -> None:
    with pytest.raises(ValidationError, match=f"commit_size must divide block_size = 64, got {commit_size}"):
        WorkerSettings(commit_size=commit_size)


def test_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_BLOCK_SIZE", "64")
    monkeypatch.setenv("CERTRAD_COMMIT_SIZE", "48")
    with pytest.raises(ValidationError, match="commit_size must divide block_size"):
        WorkerSettings()

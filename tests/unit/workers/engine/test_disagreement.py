"""The operator sees that engines disagree; a block that was only computed twice is no alarm."""

import io
import json

import pytest

from certrad.workers.contract import logs
from certrad.workers.engine.disagreement import report_redone


@pytest.mark.parametrize(
    ("same", "level", "event"), [(True, "info", "block redone"), (False, "error", "engines disagree on a block")]
)
def test_a_block_that_was_computed_twice_is_a_line_about_its_job(same: bool, level: str, event: str) -> None:
    logs.configure("engine", stream := io.StringIO())
    report_redone("job")(same)
    (line,) = [json.loads(each) for each in stream.getvalue().splitlines()]
    assert (line["level"], line["event"], line["job_id"]) == (level, event, "job")

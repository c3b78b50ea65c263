"""The measurement of a job's memory counts every key of that job and none of another, and shows each."""

from redis import Redis

from certrad.bench.measure.job_bytes import JobBytes, as_markdown, bytes_by_key


def test_every_key_of_the_job_is_counted_and_none_of_another(redis: Redis) -> None:
    redis.set("certrad:job:mine", b"x" * 1_000)
    redis.rpush("rq:results:mine-finish", b"y" * 2_000)
    redis.set("certrad:job:others", b"z" * 3_000)
    sizes = bytes_by_key(redis, "mine")
    assert sizes.keys() == {"certrad:job:mine", "rq:results:mine-finish"}
    assert 1_000 < sizes["certrad:job:mine"] < 2_000 < sizes["rq:results:mine-finish"] < 3_000


def test_the_table_shows_every_moment_and_key() -> None:
    text = as_markdown(JobBytes(running=134_728, ended=36_464, kept=4_216, by_key={"certrad:job:ID": 4_216}))
    assert "| while it runs, at most | 134,728 |" in text
    assert "| once its events are gone | 4,216 |" in text
    assert "| `certrad:job:ID` | 4,216 |" in text

"""Data of a former release are migrated, those of an unknown one refused before anything is changed."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final, cast

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.exceptions import ResponseError

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.cli.main import main
from certrad.workers.contract import data_version
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.data_version import (
    DATA_VERSION,
    MIGRATIONS,
    DataVersionError,
    open_directory,
    open_store,
    require_directory,
)
from certrad.workers.contract.exit_codes import OTHER_DATA
from certrad.workers.contract.names import ACTIVE, JOBS, VERSION, record_key
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.processes import ROOT, Processes, environment, wait_for
from tests.support.stored import stored_values

pytestmark = pytest.mark.integration

FORMER: Final = Path(__file__).parents[1] / "data" / "records_of_0_1.jsonl"
NEWER: Final = ["version", "99", "release", "7.5.0"]


@pytest.fixture
def former_jobs(redis: Redis) -> dict[str, str]:
    """The status of each job of a store as release 0.1 left it: records without tenants, and no version."""
    found = {}
    for number, line in enumerate(FORMER.read_text("utf-8").splitlines()):
        fields: dict[str, str] = json.loads(line)["fields"]
        redis.hset(record_key(f"job-{number}"), items=[part for pair in fields.items() for part in pair])
        redis.zadd(JOBS, {f"job-{number}": number + 1.5})
        if fields["status"] in ("queued", "running"):
            redis.zadd(ACTIVE, {f"job-{number}": number + 1.5})
        found[f"job-{number}"] = fields["status"]
    return found


def members(redis: Redis, key: str) -> list[tuple[str, float]]:
    listed = cast("list[tuple[bytes, float]]", redis.zrange(key, 0, -1, withscores=True))
    return [(member.decode(), score) for member, score in listed]


def snapshot(redis: Redis) -> dict[bytes, object]:
    return stored_values(redis)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_page_of_jobs_migrates_nothing(redis: Redis, former_jobs: dict[str, str]) -> None:
    before = snapshot(redis)
    page = Records(redis, ttl=600).listing.page(tenant=LOCAL_TENANT, before=1e12, limit=len(former_jobs))
    assert page.records == ()
    assert snapshot(redis) == before


def test_jobs_of_0_1_stand_in_the_lists_of_the_local_tenant(redis: Redis, former_jobs: dict[str, str]) -> None:
    open_store(redis)
    assert members(redis, f"{JOBS}:of:{LOCAL_TENANT}") == members(redis, JOBS)
    assert members(redis, f"{ACTIVE}:of:{LOCAL_TENANT}") == members(redis, ACTIVE)
    assert set(former_jobs.values()) > {"queued", "succeeded"}


def test_records_of_0_1_are_read_after_the_migration(redis: Redis, former_jobs: dict[str, str]) -> None:
    open_store(redis)
    records = Records(redis, ttl=60)
    read = {job_id: record.status for job_id in former_jobs if (record := records.read(job_id)) is not None}
    assert read == former_jobs


def test_job_of_another_tenant_and_a_listed_job_without_record_stay_out(redis: Redis) -> None:
    redis.hset(record_key("theirs"), mapping={"status": "queued", "tenant": "clinic-b"})
    redis.zadd(JOBS, {"theirs": 1.0, "expired": 2.0})
    open_store(redis)
    assert members(redis, f"{JOBS}:of:{LOCAL_TENANT}") == []


def test_migration_marks_version_and_release(redis: Redis, former_jobs: dict[str, str]) -> None:
    open_store(redis)
    assert redis.hget(VERSION, "version") == str(DATA_VERSION).encode()
    assert redis.hget(VERSION, "release")


def test_store_of_this_version_is_left_as_it_is(redis: Redis, former_jobs: dict[str, str]) -> None:
    open_store(redis)
    redis.delete(f"{JOBS}:of:{LOCAL_TENANT}")
    before = snapshot(redis)
    open_store(redis)
    assert snapshot(redis) == before


def test_migration_that_a_full_memory_stopped_runs_again(redis: Redis, former_jobs: dict[str, str]) -> None:
    redis.zadd(f"{JOBS}:of:{LOCAL_TENANT}", {"job-0": 1.5})  # half of it, without the mark
    open_store(redis)
    assert members(redis, f"{JOBS}:of:{LOCAL_TENANT}") == members(redis, JOBS)


def test_migration_that_failed_on_its_way_leaves_no_mark(redis: Redis, former_jobs: dict[str, str]) -> None:
    redis.set(f"{JOBS}:of:{LOCAL_TENANT}", "no list")
    with pytest.raises(ResponseError):
        open_store(redis)
    assert not redis.exists(VERSION)


@pytest.mark.parametrize("found", [{"version": "99"}, {"version": "nonsense"}, {"version": "0"}, {"version": "2.5"}])
def test_store_of_an_unknown_version_is_refused_untouched(redis: Redis, found: dict[str, str]) -> None:
    redis.hset(VERSION, items=[part for pair in found.items() for part in pair])
    before = snapshot(redis)
    with pytest.raises(DataVersionError, match="nothing was changed"):
        open_store(redis)
    assert snapshot(redis) == before


def test_refusal_names_the_release_to_install(redis: Redis) -> None:
    redis.hset(VERSION, items=NEWER)
    with pytest.raises(DataVersionError, match=r"install release 7\.5\.0 or a later one"):
        open_store(redis)


def test_new_data_directory_is_marked(tmp_path: Path) -> None:
    open_directory(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "version.json").read_bytes())["version"] == DATA_VERSION


def test_data_directory_of_0_1_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "signing").mkdir()
    (tmp_path / "signing" / "key").write_bytes(b"of 0.1")
    open_directory(tmp_path)
    assert files(tmp_path)["signing/key"] == b"of 0.1"
    assert "version.json" in files(tmp_path)


@pytest.mark.parametrize("content", [json.dumps({"version": 99}), '{"version": 1', "[]", '{"version": "2"}'])
def test_data_directory_of_an_unknown_version_is_refused_untouched(tmp_path: Path, content: str) -> None:
    (tmp_path / "version.json").write_text(content)
    with pytest.raises(DataVersionError, match="nothing was changed"):
        open_directory(tmp_path)
    assert files(tmp_path) == {"version.json": content.encode()}


def test_each_migration_of_a_directory_runs_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def step(number: int, _: Path) -> None:
        ran.append(number)

    steps = {number: data_version.Migration(meaning="", directory=partial(step, number)) for number in (2, 3)}
    monkeypatch.setattr(data_version, "MIGRATIONS", steps)
    monkeypatch.setattr(data_version, "DATA_VERSION", 3)
    open_directory(tmp_path)
    open_directory(tmp_path)
    assert ran == [2, 3]


def test_migration_of_a_directory_that_died_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_: Path) -> None:
        raise RuntimeError("killed")

    step = data_version.Migration(meaning="", directory=dies)
    monkeypatch.setattr(data_version, "MIGRATIONS", {**MIGRATIONS, 3: step})
    monkeypatch.setattr(data_version, "DATA_VERSION", 3)
    with pytest.raises(RuntimeError, match="killed"):
        open_directory(tmp_path)
    assert json.loads((tmp_path / "version.json").read_bytes())["version"] == 2


def test_looking_at_a_directory_makes_nothing(tmp_path: Path) -> None:
    require_directory(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_every_version_has_its_migration() -> None:
    assert list(MIGRATIONS) == list(range(2, DATA_VERSION + 1))


@pytest.fixture
def environ(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.mark.parametrize(
    "command", [["worker", "intake"], ["worker", "engine"], ["keys", "list"], ["pacs", "run"], ["deliveries"], ["up"]]
)
def test_every_command_refuses_a_directory_of_an_unknown_version(
    environ: WorkerSettings, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    environ.data_dir.mkdir()
    (environ.data_dir / "version.json").write_text(json.dumps({"version": 99, "release": "7.5.0"}))
    assert main(command) == OTHER_DATA
    assert "install release 7.5.0" in capsys.readouterr().err
    assert list(files(environ.data_dir)) == ["version.json"]


def test_worker_refuses_a_store_of_an_unknown_version(
    environ: WorkerSettings, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.hset(VERSION, items=NEWER)
    assert main(["worker", "archive"]) == OTHER_DATA
    assert "Redis is of data version 99" in capsys.readouterr().err
    assert redis.smembers("rq:workers") == set()


def run_api(settings: WorkerSettings, port: int = 0) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "certrad.app.cli.main", "api", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, **environment(settings)},
        capture_output=True,
        timeout=240,
        check=False,
    )


def test_api_refuses_a_store_of_an_unknown_version(settings: WorkerSettings, redis: Redis) -> None:
    redis.hset(VERSION, items=NEWER)
    before = snapshot(redis)
    ended = run_api(settings)
    assert (ended.returncode, b"install release 7.5.0" in ended.stderr) == (OTHER_DATA, True)
    assert snapshot(redis) == before


def test_api_that_started_without_redis_asks_when_it_is_there(api_settings: ApiSettings, tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    app = create_app(api_settings.model_copy(update={"redis_url": server.url}))
    with TestClient(app) as client:
        assert client.get("/health/live").status_code == 200
        with server, Redis.from_url(server.url) as redis:
            wait_for(lambda: redis.exists(VERSION), what="the mark of the version")


def test_embedded_redis_of_an_unknown_version_stops_up(tmp_path: Path, processes: Processes) -> None:
    data_dir = tmp_path / "data"
    with EmbeddedRedis(data_dir / "redis") as server, Redis.from_url(server.url) as client:
        client.hset(VERSION, items=NEWER)
        client.save()
    started = processes.start(
        ["-m", "certrad.workers.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)], name="up"
    )
    assert wait_for(lambda: {"code": code} if (code := started.poll()) is not None else None)["code"] == OTHER_DATA
    assert "install release 7.5.0" in processes.errors("up").read_text()

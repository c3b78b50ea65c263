"""The local stack as a test sees it: one process tree, one URL, one data directory."""

import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from redis import Redis

from certrad.workers.contract.names import ENDED, ledger_key
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.keys import bearing, make_key
from tests.support.processes import Processes, children, wait_for

START_SECONDS = 240.0
JOB_SECONDS = 480.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStack:
    """A stack that has said it is ready, and the headers of whoever calls it."""

    process: subprocess.Popen[bytes]
    url: str
    data_dir: Path
    output: Path
    headers: Mapping[str, str] = field(default_factory=dict)

    def child(self, *words: str) -> psutil.Process | None:
        """A process of the stack whose command line holds all the words."""
        for child in children(self.process.pid):
            with suppress(psutil.NoSuchProcess):  # a zombie too
                if all(word in " ".join(child.cmdline()) for word in words):
                    return child
        return None

    def another_child(self, former: psutil.Process, *words: str) -> bool:
        """Returns whether a process with these words is there and is not the former one."""
        child = self.child(*words)
        return child is not None and child.pid != former.pid

    def as_tenant(self, tenant: str) -> "RunningStack":
        """The same stack, which must be closed, called with a new key of a tenant."""
        return replace(self, headers=bearing(make_key(self.data_dir / "access", tenant)))

    def redis(self) -> Redis:
        """A client of the stack's Redis."""
        return Redis.from_url(EmbeddedRedis(self.data_dir / "redis").url)

    def engines(self) -> set[str]:
        """The names of the engines that are alive, as the API tells them."""
        answer = httpx.get(f"{self.url}/health/workers", timeout=30)
        return {card["name"] for card in answer.json()["engines"]} if answer.status_code == 200 else set()

    def submit(self, image: bytes, **fields: object) -> str:
        """Sends an image and returns the id of its job."""
        data = {name: str(value) for name, value in fields.items()}
        answer = httpx.post(f"{self.url}/certify", files={"image": image}, data=data, headers=self.headers, timeout=30)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def tune(self, archive: bytes, **fields: object) -> str:
        """Sends labelled images and returns the id of the job that tunes a prompt on them."""
        data = {name: str(value) for name, value in fields.items()}
        files = {"images": archive}
        answer = httpx.post(f"{self.url}/prompts", files=files, data=data, headers=self.headers, timeout=30)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API shows it."""
        body: dict[str, Any] = httpx.get(f"{self.url}/jobs/{job_id}", headers=self.headers, timeout=30).json()
        return body

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended; a problem, as the API answers with while Redis is away, is no end."""
        return wait_for(
            lambda: job if (job := self.job(job_id))["status"] in ENDED else None,
            timeout=JOB_SECONDS,
            what="the end of the job",
        )

    def document(self, job_id: str) -> dict[str, Any]:
        """The certificate document of a job that has succeeded."""
        job = self.ended(job_id)
        assert job["status"] == "succeeded", job["error"]
        address = f"{self.url}/jobs/{job_id}/certificate"
        body: dict[str, Any] = httpx.get(address, headers=self.headers, timeout=30).json()
        return body

    def await_blocks(self, job_id: str, blocks: int = 2) -> None:
        """Returns when the ledger of a job holds some blocks, and the job is not near its end."""
        with self.redis() as redis:
            wait_for(lambda: redis.hlen(ledger_key(job_id)) > blocks, timeout=JOB_SECONDS, what="the first blocks")


def launch(processes: Processes, data_dir: Path, *options: str, **settings: object) -> subprocess.Popen[bytes]:
    """Starts `up` on a free port, with intervals of a second; `settings` are named as in WorkerSettings."""
    command = ["-m", "certrad.workers.cli.main", "up", "--port", "0", "--data-dir", str(data_dir), *options]
    chosen = {"heartbeat_seconds": 1, "maintenance_seconds": 1, **settings}
    env = {f"CERTRAD_{name.upper()}": str(value) for name, value in chosen.items()}
    return processes.start(command, name=data_dir.name, env=env)


def start_stack(processes: Processes, data_dir: Path, *options: str, **settings: object) -> RunningStack:
    """Starts `up` and waits until it says that it is ready."""
    process = launch(processes, data_dir, *options, **settings)
    name = data_dir.name

    def ready_line() -> re.Match[str] | None:
        assert process.poll() is None, processes.errors(name).read_text()
        return re.fullmatch(r"certrad ready on (http://127\.0\.0\.1:\d+)\n", processes.output(name).read_text())

    found = wait_for(ready_line, timeout=START_SECONDS, what="the line that says the stack is ready")
    return RunningStack(process=process, url=found[1], data_dir=data_dir, output=processes.output(name))

"""Debian's Redis with the configuration, the access list and the certificates of `docker/redis`, on loopback."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from certrad.workers.contract.redis_access import redis_options
from certrad.workers.contract.settings import SharedSettings
from tests.support.processes import ROOT, wait_for

FILES = {"redis_ca": "ca.crt", "redis_certificate": "redis.crt", "redis_key": "redis.key", "redis_users": "users.acl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedRedis:
    """A Redis that takes TLS and the users of the access list only."""

    port: int
    secrets: Path

    def environment(self, user: str) -> dict[str, str]:
        """The settings under which a process connects as a user."""
        password = self.secrets / f"{user}.password"
        password.chmod(0o400)  # outside /run/secrets, nobody else may read it
        return {
            "CERTRAD_REDIS_URL": f"rediss://localhost:{self.port}/0",
            "CERTRAD_REDIS_USER": user,
            "CERTRAD_REDIS_PASSWORD_FILE": str(password),
            "CERTRAD_REDIS_CA": str(self.secrets / "ca.crt"),
        }

    def client(self, user: str, **changed: Any) -> Redis:
        """A client as a user."""
        options = {
            "redis_url": f"rediss://localhost:{self.port}/0",
            "redis_user": user,
            "redis_password": "any" if user == "probe" else self.secrets.joinpath(f"{user}.password").read_text(),
            "redis_ca": self.secrets / "ca.crt",
        }
        return Redis.from_url(**redis_options(SharedSettings(**{**options, **changed})), protocol=2)


@contextmanager
def guarded_redis(directory: Path) -> Iterator[GuardedRedis]:
    """Makes the secrets as an operator does and starts the server with the shipped configuration."""
    server = shutil.which("redis-server")
    assert server is not None, "make debian installs redis-server"
    secrets = directory / "secrets"
    subprocess.run([ROOT / "docker" / "redis" / "make_secrets.sh", secrets], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = (
        ROOT.joinpath("docker", "redis", "valkey.conf").read_text("utf-8").replace("tls-port 6379", f"tls-port {port}")
    )
    for mounted, name in FILES.items():
        lines = lines.replace(f"/run/secrets/{mounted}\n", f"{secrets / name}\n")
    assert "/run/secrets" not in lines
    configuration = directory / "valkey.conf"
    configuration.write_text(f"{lines}bind 127.0.0.1 -127.0.0.2\ndir {directory}\n", "utf-8")
    with directory.joinpath("server.log").open("wb") as log:
        process = subprocess.Popen([server, configuration], stdout=log, stderr=log)
    try:
        redis = GuardedRedis(port=port, secrets=secrets)

        def answers() -> bool:
            assert process.poll() is None, directory.joinpath("server.log").read_text()
            with suppress(RedisError), redis.client("probe") as client:
                return bool(client.ping())
            return False

        wait_for(answers, timeout=30.0, what="an answer of Redis")
        yield redis
    finally:
        process.kill()
        process.wait()

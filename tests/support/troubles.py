"""What goes wrong in a soak: processes killed, Redis stopped or full, the disk full; each ends by itself."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from redis.exceptions import RedisError

from tests.support.processes import children, kill_9
from tests.support.stack import RunningStack

VICTIMS: Final[dict[str, tuple[str, ...]]] = {
    "kill Redis": ("redis.sock",),
    "kill API": ("certrad.app.http.server",),
    "kill intake": ("worker", "intake"),
    "kill archive worker": ("worker", "archive"),
    "kill engine's parent": ("worker engine",),
    "kill engine's child": ("certrad.workers.engine.process",),
}
_SECONDS: Final = (2.0, 6.0)  # below the 15 s after which the stack ends a Redis that does not answer
_DISK_BYTES: Final = 256 << 20
_CHUNK: Final = b"\0" * (1 << 20)


def kill_one(stack: RunningStack, choice: random.Random, name: str) -> bool:
    """Kills one process of a kind; no if there is none now."""
    victims = [child for child in children(stack.process.pid) if _has(child, VICTIMS[name])]
    if not victims:
        return False
    with suppress(ProcessLookupError):
        kill_9(choice.choice(victims).pid)
        return True
    return False


def stop_redis(stack: RunningStack, choice: random.Random, _: str) -> bool:
    """Stops Redis for some seconds, so that it answers nobody and no connection breaks."""
    victims = [child for child in children(stack.process.pid) if _has(child, VICTIMS["kill Redis"])]
    with suppress(psutil.Error, IndexError):
        victims[0].send_signal(signal.SIGSTOP)
        time.sleep(choice.uniform(*_SECONDS))
        victims[0].send_signal(signal.SIGCONT)
        return True
    return False


def fill_redis(stack: RunningStack, choice: random.Random, _: str) -> bool:
    """Takes Redis' memory away for some seconds."""
    with suppress(RedisError), stack.redis() as redis:
        before = redis.config_get("maxmemory")["maxmemory"]
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        time.sleep(choice.uniform(*_SECONDS))
        redis.config_set("maxmemory", before)
        return True
    return False


def fill_disk(stack: RunningStack, choice: random.Random, _: str) -> bool:
    """Fills the disk of the data directory for some seconds."""
    ballast = stack.data_dir / "ballast"
    try:
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(_CHUNK)
                file.flush()
        time.sleep(choice.uniform(*_SECONDS))
    finally:
        ballast.unlink(missing_ok=True)
    return True


Trouble = Callable[[RunningStack, random.Random, str], bool]


def troubles(*, with_disk: bool) -> dict[str, Trouble]:
    """Every trouble by its name."""
    found: dict[str, Trouble] = dict.fromkeys(VICTIMS, kill_one)
    found |= {"stop Redis": stop_redis, "fill Redis": fill_redis}
    return {**found, "fill disk": fill_disk} if with_disk else found


def mount_small_disk(folder: Path) -> bool:
    """Mounts a disk of 256 MiB at a folder; no where this process may not."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=700", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    """Takes the disk of `mount_small_disk` away."""
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _has(process: psutil.Process, words: tuple[str, ...]) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return all(word in line for word in words)

"""The commands that run or prepare processes, and those that compute: `python -m certrad.workers.cli.main COMMAND`."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import ConnectionError

from certrad.models.errors import Rejected
from certrad.models.types import PromptCard
from certrad.workers import logs
from certrad.workers.connection import connect
from certrad.workers.contract.catalogue import Catalogue, shipped_backbones, shipped_tasks, to_json
from certrad.workers.contract.names import GPU_QUEUE
from certrad.workers.engine.worker import ResidentWorker
from certrad.workers.environment import ONE_THREAD, SPINNING
from certrad.workers.keys import admin as keys
from certrad.workers.local.redis_server import EmbeddedRedis, EmbeddedRedisError
from certrad.workers.local.stack import Stack, require_loopback
from certrad.workers.local.supervisor import StackError
from certrad.workers.options import argument_parser
from certrad.workers.queue.worker import IntakeWorker, worker_name
from certrad.workers.settings import StackSettings, WorkerSettings

_FAILURE: Final = 1
_BAD_USAGE: Final = 2
_MODULES: Final = {
    **{name: f"certrad.workers.cli.{name}" for name in ("attack", "audit", "evaluate", "verify")},
    "words": "certrad.workers.cli.nearest_words",
}
"""Commands with a `run` in a module of their own, imported only for them; but for `verify` it imports torch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 for a failure, 2 for bad usage."""
    options = argument_parser().parse_args(arguments)
    os.environ |= {**SPINNING, **os.environ}  # read when torch is loaded
    if options.command in _MODULES:
        command = importlib.import_module(_MODULES[options.command])
        return int(command.run(options))
    match options.command:
        case "up":
            return _up(options.host, options.port, options.data_dir, options.engines)
        case "worker":
            return _worker(options.queue)
        case "fetch":
            return _fetch(options.name)
        case "calibrate-prompt" | "tune-bank":
            return _make_prompt(options)
        case "keys":
            return _keys(options)
        case _:
            return _import_prompt(options)


def _up(host: str, port: int, data_dir: Path | None, engines: int) -> int:
    try:
        require_loopback(host)
    except StackError as error:
        return _fail(str(error), _BAD_USAGE)
    settings = _stack_settings(data_dir)
    (settings.data_dir / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.data_dir / "logs" / "stack.log").open("a") as log:
        logs.configure("stack", log)
        try:
            Stack(settings, host=host, port=port, engines=engines).run(on_ready=_announce, on_death=_report_death)
        except (StackError, EmbeddedRedisError) as error:
            return _fail(str(error), _FAILURE)
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(f"certrad ready on {url}\n")
    sys.stdout.flush()


def _report_death(name: str, code: int) -> None:
    sys.stderr.write(f"certrad: {name} ended with exit code {code} and is started again; see its log\n")


def _worker(queue_name: str) -> int:
    """Runs one worker until it is told to stop; one that ends unasked has failed."""
    logs.configure(queue_name)
    settings = WorkerSettings()
    name, redis = worker_name(queue_name), connect(settings.redis_url)
    worker: ResidentWorker | IntakeWorker
    if queue_name == GPU_QUEUE:
        worker = ResidentWorker(queue_name, name=name, redis=redis, settings=settings)
    else:
        os.environ |= ONE_THREAD
        importlib.import_module("certrad.workers.intake.tasks")  # once, before every fork
        worker = IntakeWorker(queue_name, name=name, redis=redis, settings=settings)
    worker.work()
    return 0 if worker.stop_was_asked else _FAILURE


def _fetch(name: str) -> int:
    """Downloads the weights of a backbone and prints its card with the pinned digest."""
    card = shipped_backbones().get(name)
    if card is None:
        return _fail(f"NAME must be one of {', '.join(sorted(shipped_backbones()))}, got {name!r}", _BAD_USAGE)
    from certrad.workers.cli.fetch import fetch  # torch; no other command here needs it

    try:
        fetched = fetch(card, WorkerSettings().backbones_dir)
    except Rejected as rejected:
        return _fail(str(rejected), _FAILURE)
    sys.stdout.write(json.dumps(asdict(fetched)) + "\n")
    return 0


def _import_prompt(options: argparse.Namespace) -> int:
    """Stores a foreign prompt checkpoint, publishes it if the service runs, and prints its card."""
    card, task = shipped_backbones().get(options.backbone), shipped_tasks().get(options.task)
    if card is None or task is None:
        known = f"{', '.join(sorted(shipped_backbones()))} and {', '.join(sorted(shipped_tasks()))}"
        return _fail(f"backbone and task must be of {known}", _BAD_USAGE)
    from certrad.models.backbones.base import load_backbone, weights_directory  # torch
    from certrad.workers.engine.prompt_store import import_checkpoint

    settings = StackSettings()
    try:
        backbone = load_backbone(card, weights_directory(card, settings.backbones_dir))
        prompt = import_checkpoint(
            options.file,
            name=options.name,
            backbone=backbone,
            task=task,
            directory=settings.prompts_dir,
            position=options.position,
        )
    except (Rejected, ValueError) as error:
        return _fail(str(error), _FAILURE)
    return _publish_prompt(settings, prompt)


def _make_prompt(options: argparse.Namespace) -> int:
    """Makes a prompt of a site's images, stores it, publishes it if the service runs, and prints its card."""
    from certrad.workers.cli import calibrate as calibrate_command
    from certrad.workers.cli import tune_bank as bank_command  # torch

    make = bank_command.tuned if options.command == "tune-bank" else calibrate_command.calibrated
    settings = StackSettings()
    try:
        prompt = make(options, settings)
    except Rejected as rejected:
        return _fail(str(rejected), _FAILURE)
    except (ValueError, OSError) as error:
        return _fail(str(error), _BAD_USAGE)
    return _publish_prompt(settings, prompt)


def _publish_prompt(settings: StackSettings, prompt: PromptCard) -> int:
    from certrad.workers.engine.prompt_store import publish  # torch

    try:
        with Redis.from_url(_redis_url(settings)) as redis:
            publish(redis, settings.prompts_dir, prompt)
            Catalogue(redis).reinstate_prompt(prompt.id)
    except ConnectionError:
        sys.stderr.write("certrad: no service runs here; the prompt is known once an engine starts\n")
    sys.stdout.write(json.dumps(to_json(prompt)) + "\n")
    return 0


def _keys(options: argparse.Namespace) -> int:
    """Shows the keys of a data directory, or changes one and tells the service of it if it runs."""
    settings = _stack_settings(options.data_dir)
    try:
        match options.action:
            case "list":
                answer = keys.listed(settings)
            case "rotate-signing":
                answer = keys.rotate_signing(settings)
            case "revoke-signing":
                answer = keys.revoke_signing(settings, options.key, options.reason)
            case "rotate-epoch":
                answer = keys.rotate_epoch(settings)
            case _:
                answer = keys.reveal_epoch(settings, options.sha256)
    except (OSError, ValueError) as error:
        return _fail(str(error), _FAILURE)
    if options.action != "list":
        _publish_keys(settings)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _publish_keys(settings: StackSettings) -> None:
    try:
        with Redis.from_url(_redis_url(settings)) as redis:
            keys.publish(settings, redis)
    except ConnectionError:
        sys.stderr.write("certrad: no service runs here; it publishes its keys once it starts\n")


def _stack_settings(data_dir: Path | None) -> StackSettings:
    return StackSettings() if data_dir is None else StackSettings(data_dir=data_dir)


def _redis_url(settings: StackSettings) -> str:
    """The Redis that was named, else the one that `up` runs on the same data directory."""
    if "redis_url" in settings.model_fields_set:
        return settings.redis_url
    return EmbeddedRedis(settings.data_dir.resolve() / "redis").url


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"certrad: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

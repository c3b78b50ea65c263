"""The commands that compute: parsed here, run by `python -m certrad.workers.cli.main`, which the process becomes."""

import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

commands = typer.Typer()
prompts = typer.Typer(help="Learned prompts.", no_args_is_help=True)
commands.add_typer(prompts, name="prompts")
keys = typer.Typer(help="Signing keys and epoch secrets, on the machine that holds them.", no_args_is_help=True)
commands.add_typer(keys, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
DataDir = Annotated[Path | None, typer.Option(help="everything the service keeps")]


class DataSplit(StrEnum):
    """The splits of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class EvaluatedAdaptation(StrEnum):
    """How `evaluate` adapts a prompt."""

    NONE = "none"
    ZERO_SHOT = "zero_shot"
    GATED = "gated"


class Queue(StrEnum):
    """The queues a worker may serve."""

    ENGINE = "engine"
    INTAKE = "intake"
    GPU = "gpu"  # what the release before this one called `engine`


@commands.command()
def up(
    host: Annotated[str, typer.Option(help="a loopback address")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one")] = 8000,
    data_dir: DataDir = None,
    engines: Annotated[int, typer.Option(min=1, max=64, help="engine processes")] = 1,
) -> None:
    """Run the whole service on this machine until SIGTERM."""
    _become("up", "--host", host, "--port", str(port), "--engines", str(engines), *_data_dir(data_dir))


@commands.command()
def worker(queue: Annotated[Queue, typer.Argument(help="queue to serve")]) -> None:
    """Run one worker alone, against CERTRAD_REDIS_URL."""
    _become("worker", queue.value)


@commands.command()
def fetch(name: Annotated[str, typer.Argument(help="a backbone of GET /backbones")]) -> None:
    """Download the weights of a backbone and pin their digest."""
    _become("fetch", name)


@prompts.command("import")
def import_prompt(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="checkpoint of CoOp, PromptSmooth or AdvPT")
    ],
    backbone: Annotated[str, typer.Option(help="backbone it was tuned for")],
    task: Annotated[str, typer.Option(help="task it was tuned for")],
    name: Annotated[str, typer.Option(help="name of the prompt")],
    position: Annotated[str | None, typer.Option(help="of the class name: end (the default), middle or front")] = None,
) -> None:
    """Import a published prompt checkpoint, without executing anything in it."""
    given = {"backbone": backbone, "task": task, "name": name, "position": position}
    _become("import-prompt", *_options(given), "--", str(file))


@prompts.command("calibrate")
def calibrate_prompt(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of images, never certified later")],
    name: Annotated[str, typer.Option(help="name of the new prompt")],
    task: Annotated[str | None, typer.Option(help="task whose classes are told apart")] = None,
    prompt: Annotated[str | None, typer.Option(help="prompt to start from, or template; default: the task's")] = None,
    sigmas: Annotated[str | None, typer.Option(help="noise levels, separated by commas")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="images to adapt to: the first by name")] = None,
    seed: Annotated[int | None, typer.Option(help="of all noise")] = None,
) -> None:
    """Adapt a prompt to unlabelled images of a site, scanner or stain; certificates keep their full scope."""
    given = {"images": images, "name": name, "task": task, "prompt": prompt, "sigmas": sigmas, "limit": limit}
    _become("calibrate-prompt", *_options({**given, "seed": seed}))


@prompts.command("bank")
def tune_bank(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of one folder for each class")],
    name: Annotated[str, typer.Option(help="name of the new bank")],
    task: Annotated[str | None, typer.Option(help="task whose classes the folders hold")] = None,
    template: Annotated[str | None, typer.Option(help="its words before {} are one start; default: the task's")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="images of each class to learn from; default 16")] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="noisy copies of each at every level")] = None,
    seed: Annotated[int | None, typer.Option(help="of the choice of images and of all noise")] = None,
) -> None:
    """Tune a bank of prompts for adaptation=gated: several prompts, weighed on every noisy sample."""
    given = {"images": images, "name": name, "task": task, "template": template, "shots": shots, "copies": copies}
    _become("tune-bank", *_options({**given, "seed": seed}))


@commands.command()
def attack(
    paths: Annotated[list[Path], typer.Argument(exists=True, metavar="FILE|DIR", help="files, or one folder")],
    task: Annotated[str | None, typer.Option(help="task whose classes are told apart")] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone; default: the task's own")] = None,
    prompt: Annotated[str | None, typer.Option(help="learned prompt, or template; default: the task's own")] = None,
    attack: Annotated[str | None, typer.Option(help="pgd10, pgd40 or autoattack; default: pgd40")] = None,
    epsilon: Annotated[str | None, typer.Option(help="such as 16/255; default: as the attack was published")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="of autoattack; fewer make it a reduced one")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="of autoattack's square; likewise")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="images to attack: the first by name, of each class")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the attacked images, as PNG")] = None,
    seed: Annotated[int | None, typer.Option(help="of all draws")] = None,
    as_json: AsJson = False,
) -> None:
    """Attack images, without and with knowledge of the prompt. A folder for each class gives accuracies.

    Exit code: 0 done, 1 failure, 2 bad usage.
    """
    given = {
        "task": task,
        "backbone": backbone,
        "prompt": prompt,
        "attack": attack,
        "epsilon": epsilon,
        "iterations": iterations,
        "queries": queries,
        "limit": limit,
        "out": out,
        "seed": seed,
    }
    _become("attack", *_options(given), *_json(as_json), "--", *map(str, paths))


@prompts.command("words")
def prompt_words(
    prompt_id: Annotated[str, typer.Argument(metavar="ID", help="id of GET /prompts")],
    top: Annotated[int, typer.Option(min=1, max=100, help="words for each vector")] = 5,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the words nearest to the context vectors of a prompt, and to random vectors."""
    _become("words", "--top", str(top), *_data_dir(data_dir), *_json(as_json), "--", prompt_id)


@commands.command()
def audit(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of images")],
    task: Annotated[str | None, typer.Option(help="task whose classes are told apart")] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone; default: the task's own")] = None,
    prompt: Annotated[str | None, typer.Option(help="learned prompt; default: the task's own")] = None,
    sigma: Annotated[float | None, typer.Option(help="noise standard deviation, pixels in [0, 1]")] = None,
    n: Annotated[int | None, typer.Option("--n", help="samples of each certificate")] = None,
    modes: Annotated[str | None, typer.Option(help="prompt/adaptation, separated by commas; default: all")] = None,
    targets: Annotated[
        int | None, typer.Option(min=1, help="classes each image is attacked towards; default: the most probable one")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="images to audit: the first by name")] = None,
    journal: Annotated[Path | None, typer.Option(help="file from which an interrupted run goes on")] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=64, help="processes of one thread each")] = None,
    seed: Annotated[int | None, typer.Option(help="of all noise")] = None,
    as_json: AsJson = False,
) -> None:
    """Attack what the service certifies. Exit code: 0 no guarantee is contradicted, 1 one is, 2 bad usage."""
    given = {
        "images": images,
        "task": task,
        "backbone": backbone,
        "prompt": prompt,
        "sigma": sigma,
        "n": n,
        "modes": modes,
        "targets": targets,
        "limit": limit,
        "journal": journal,
        "processes": processes,
        "seed": seed,
    }
    _become("audit", *_options(given), *_json(as_json))


@commands.command()
def evaluate(
    task: Annotated[str, typer.Option(help="data set: kathercolon, imagenet, ..., or folders for your own images")],
    data: Annotated[Path, typer.Option(exists=True, help="its folder or zip, or the folder that holds it")],
    split: Annotated[DataSplit, typer.Option(help="of the data set")] = DataSplit.TEST,
    images: Annotated[int, typer.Option(min=1, help="of the split, of each class in turn")] = 500,
    prompt: Annotated[str | None, typer.Option(help="id of a learned prompt, or template; default: the task's")] = None,
    template: Annotated[str | None, typer.Option(help="text with one {} for the class name")] = None,
    adaptation: Annotated[EvaluatedAdaptation, typer.Option(help="of the prompt")] = EvaluatedAdaptation.NONE,
    sigma: Annotated[float | None, typer.Option(help="noise standard deviation, pixels in [0, 1]")] = None,
    alpha: Annotated[float | None, typer.Option(help="failure probability of one certificate")] = None,
    n0: Annotated[int | None, typer.Option("--n0", help="samples that choose the class")] = None,
    n: Annotated[int | None, typer.Option("--n", help="samples that bound its probability")] = None,
    backbone: Annotated[str | None, typer.Option(help="id of a backbone; default: the papers'")] = None,
    seed: Annotated[int | None, typer.Option(help="of the choice of images and of all noise")] = None,
    out: Annotated[Path | None, typer.Option(help="table, with which an interrupted run goes on")] = None,
    as_json: AsJson = False,
) -> None:
    """Certify labelled images of a data set and print certified accuracy. Exit code: 0, 1 failure, 2 bad usage."""
    given = {
        "task": task,
        "data": data,
        "split": split.value,
        "images": images,
        "prompt": prompt,
        "template": template,
        "adaptation": adaptation.value,
        "sigma": sigma,
        "alpha": alpha,
        "n0": n0,
        "n": n,
        "backbone": backbone,
        "seed": seed,
        "out": out,
    }
    _become("evaluate", *_options(given), *_json(as_json))


@commands.command()
def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="certificate document")],
    key: Annotated[
        Path | None, typer.Option(help="/.well-known/certrad-keys of the issuer, saved, or one key in hexadecimal")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="the image it is about: to compare, and for --replay and --fresh")
    ] = None,
    frame: Annotated[int | None, typer.Option(help="frame of a multi-frame image, from 1")] = None,
    region: Annotated[str | None, typer.Option(help="x,y,w,h in pixels")] = None,
    replay: Annotated[int | None, typer.Option(min=1, help="random samples to draw again here")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="draw as many samples of other noise here")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a certificate by itself, or by drawing its samples again. Exit code: 0 valid, 1 not valid, 2 bad usage."""
    given = {"key": key, "image": image, "frame": frame, "region": region, "replay": replay}
    _become("verify", *_options(given), *(["--fresh"] if fresh else []), *_json(as_json), "--", str(file))


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """Show the public keys and the epochs by their digests, as JSON."""
    _become("keys", *_data_dir(data_dir), "list")


@keys.command("rotate-signing")
def rotate_signing(data_dir: DataDir = None) -> None:
    """Sign with a new key from now on; what the old one signed stays valid."""
    _become("keys", *_data_dir(data_dir), "rotate-signing")


@keys.command("revoke-signing")
def revoke_signing(
    key: Annotated[str, typer.Argument(metavar="SHA256", help="of the public key, or the key in hexadecimal")],
    reason: Annotated[str, typer.Option(help="for everyone to read")],
    data_dir: DataDir = None,
) -> None:
    """Declare all that a retired signing key signed to be worth nothing, as when the key has leaked; for ever."""
    _become("keys", *_data_dir(data_dir), "revoke-signing", key, f"--reason={reason}")


@keys.command("rotate-epoch")
def rotate_epoch(data_dir: DataDir = None) -> None:
    """Draw the noise of new jobs with a new secret from now on; running jobs keep theirs."""
    _become("keys", *_data_dir(data_dir), "rotate-epoch")


@keys.command("reveal-epoch")
def reveal_epoch(
    sha256: Annotated[str, typer.Argument(help="of a retired secret, as certificates name it")],
    data_dir: DataDir = None,
) -> None:
    """Make a retired epoch secret public, so that anyone can compute the noise keys drawn from it."""
    _become("keys", *_data_dir(data_dir), "reveal-epoch", sha256)


def _options(given: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def _json(asked: bool) -> list[str]:
    return ["--json"] if asked else []


def _data_dir(chosen: Path | None) -> list[str]:
    return ["--data-dir", str(chosen)] if chosen else []


def _become(*arguments: str) -> NoReturn:
    """Replaces this process by the command that computes."""
    os.execv(sys.executable, [sys.executable, "-m", "certrad.workers.cli.main", *arguments])  # noqa: S606  # our own module

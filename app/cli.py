"""The command line: parses, speaks HTTP, and hands what computes to `python -m workers.cli`."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from app import console, demo, submission, tuning
from app.client import Client, ProblemError
from app.local import LocalStackError, private_stack
from app.submission import CERTIFIED, FAILURE

app = typer.Typer(
    name="certrad",
    help="Classes of medical images with a certified L2 radius, or an abstention. Research use; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
prompts = typer.Typer(help="Learned prompts.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")
keys = typer.Typer(help="Signing keys and epoch secrets, on the machine that holds them.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Url = Annotated[str, typer.Option(envvar="CERTRAD_URL", help="address of the service")]
DataDir = Annotated[Path | None, typer.Option(help="everything the service keeps")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
_DEFAULT_URL: Final = "http://127.0.0.1:8000"


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

    GPU = "gpu"
    INTAKE = "intake"


# -- processes ------------------------------------------------------------------------------------------------------


@app.command()
def up(
    host: Annotated[str, typer.Option(help="a loopback address")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one")] = 8000,
    data_dir: DataDir = None,
    engines: Annotated[int, typer.Option(min=1, max=64, help="engine processes")] = 1,
) -> None:
    """Run the whole service on this machine until SIGTERM."""
    _become("up", "--host", host, "--port", str(port), "--engines", str(engines), *_data_dir(data_dir))


@app.command()
def api(
    host: Annotated[str, typer.Option(help="address to listen on; there is no access control yet")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8000,
) -> None:
    """Run the HTTP API alone, against CERTRAD_REDIS_URL."""
    import uvicorn  # only the extra `api` installs it

    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


@app.command()
def worker(queue: Annotated[Queue, typer.Argument(help="queue to serve")]) -> None:
    """Run one worker alone, against CERTRAD_REDIS_URL."""
    _become("worker", queue.value)


@app.command()
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
) -> None:
    """Import a published prompt checkpoint, without executing anything in it."""
    _become("import-prompt", str(file), "--backbone", backbone, "--task", task, "--name", name)


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
    options = {**given, "seed": seed}
    _become("calibrate-prompt", *(f"--{option}={value}" for option, value in options.items() if value is not None))


@app.command()
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
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    _become("attack", *options, *(["--json"] if as_json else []), "--", *map(str, paths))


@prompts.command("words")
def prompt_words(
    prompt_id: Annotated[str, typer.Argument(metavar="ID", help="id of GET /prompts")],
    top: Annotated[int, typer.Option(min=1, max=100, help="words for each vector")] = 5,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the words nearest to the context vectors of a prompt, and to random vectors."""
    _become("words", "--top", str(top), *_data_dir(data_dir), *(["--json"] if as_json else []), "--", prompt_id)


@app.command()
def audit(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of images")],
    task: Annotated[str | None, typer.Option(help="task whose classes are told apart")] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone; default: the task's own")] = None,
    prompt: Annotated[str | None, typer.Option(help="learned prompt; default: the task's own")] = None,
    sigma: Annotated[float | None, typer.Option(help="noise standard deviation, pixels in [0, 1]")] = None,
    n: Annotated[int | None, typer.Option("--n", help="samples of each certificate")] = None,
    modes: Annotated[str | None, typer.Option(help="prompt/adaptation, separated by commas; default: all")] = None,
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
        "limit": limit,
        "journal": journal,
        "processes": processes,
        "seed": seed,
    }
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    _become("audit", *options, *(["--json"] if as_json else []))


@app.command()
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
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    _become("evaluate", *options, *(["--json"] if as_json else []))


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="certificate document")],
    key: Annotated[
        Path | None, typer.Option(help="/.well-known/certrad-keys of the issuer, saved, or one key in hexadecimal")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="the image it is about, for --replay and --fresh")] = None,
    frame: Annotated[int | None, typer.Option(help="frame of a multi-frame image, from 1")] = None,
    region: Annotated[str | None, typer.Option(help="x,y,w,h in pixels")] = None,
    replay: Annotated[int | None, typer.Option(min=1, help="random samples to draw again here")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="draw as many samples of other noise here")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a certificate by itself, or by drawing its samples again. Exit code: 0 valid, 1 not valid, 2 bad usage."""
    named = {"key": key, "image": image, "frame": frame, "region": region, "replay": replay}
    options = [f"--{name}={value}" for name, value in named.items() if value is not None]
    flags = [name for name, given in (("--fresh", fresh), ("--json", as_json)) if given]
    _become("verify", *options, *flags, "--", str(file))


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """Show the public keys and the epochs by their digests, as JSON."""
    _become("keys", *_data_dir(data_dir), "list")


@keys.command("rotate-signing")
def rotate_signing(data_dir: DataDir = None) -> None:
    """Sign with a new key from now on; what the old one signed stays valid."""
    _become("keys", *_data_dir(data_dir), "rotate-signing")


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


# -- requests -------------------------------------------------------------------------------------------------------


@app.command()
def certify(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="PNG, JPEG, TIFF or DICOM")],
    url: Url = _DEFAULT_URL,
    local: Annotated[bool, typer.Option("--local", help="start a private service for this command")] = False,
    as_json: AsJson = False,
    task: Annotated[str | None, typer.Option(help="id of GET /tasks")] = None,
    classes: Annotated[str | None, typer.Option(help="JSON list of class names, instead of --task")] = None,
    template: Annotated[str | None, typer.Option(help="text with one {} for the class name, with --classes")] = None,
    backbone: Annotated[str | None, typer.Option(help="id of GET /backbones")] = None,
    prompt: Annotated[str | None, typer.Option(help="id of GET /prompts, or template")] = None,
    adaptation: Annotated[str | None, typer.Option(help="none, or zero_shot: tune the prompt on this image")] = None,
    adapt_steps: Annotated[int | None, typer.Option(help="optimizer steps, with zero_shot")] = None,
    adapt_samples: Annotated[int | None, typer.Option(help="noisy copies averaged, with zero_shot")] = None,
    adapt_lr: Annotated[float | None, typer.Option(help="learning rate, with zero_shot")] = None,
    context: Annotated[str | None, typer.Option(help="words or tokens, with zero_shot")] = None,
    sigma: Annotated[str | None, typer.Option(help="noise standard deviation, pixels in [0, 1], or auto")] = None,
    alpha: Annotated[float | None, typer.Option(help="failure probability of the certificate")] = None,
    n0: Annotated[int | None, typer.Option("--n0", help="samples that choose the class")] = None,
    n: Annotated[int | None, typer.Option("--n", help="samples that bound its probability")] = None,
    bound: Annotated[str | None, typer.Option(help="two_class or cohen")] = None,
    target_radius: Annotated[float | None, typer.Option(help="stop once this radius is shown, or cannot be")] = None,
    frame: Annotated[int | None, typer.Option(help="frame of a multi-frame image, from 1")] = None,
    region: Annotated[str | None, typer.Option(help="x,y,w,h in pixels")] = None,
    priority: Annotated[str | None, typer.Option(help="normal or urgent")] = None,
) -> None:
    """Certify images. Exit code: 0 certified, 3 abstained, 2 bad usage, 1 failure; of several files the worst."""
    given = {
        "task": task,
        "classes": classes,
        "template": template,
        "backbone": backbone,
        "prompt": prompt,
        "adaptation": adaptation,
        "adapt_steps": adapt_steps,
        "adapt_samples": adapt_samples,
        "adapt_lr": adapt_lr,
        "context": context,
        "sigma": sigma,
        "alpha": alpha,
        "n0": n0,
        "n": n,
        "bound": bound,
        "target_radius": target_radius,
        "frame": frame,
        "region": region,
        "priority": priority,
    }
    fields = {name: str(value) for name, value in given.items() if value is not None}
    with _service(url, local=local) as client:
        code = submission.certify(client, files, fields, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def tune(
    images: Annotated[Path, typer.Argument(exists=True, help="folder or zip of a folder per class; CSV: path,label")],
    url: Url = _DEFAULT_URL,
    local: Annotated[bool, typer.Option("--local", help="start a private service, whose data directory stays")] = False,
    as_json: AsJson = False,
    default_for: Annotated[str | None, typer.Option(help="task whose default the prompt becomes")] = None,
    name: Annotated[str | None, typer.Option(help="name of the prompt; default: task and method")] = None,
    method: Annotated[str | None, typer.Option(help="few_shot, coop or advpt")] = None,
    backbone: Annotated[str | None, typer.Option(help="id of GET /backbones")] = None,
    task: Annotated[str | None, typer.Option(help="id of GET /tasks, whose classes the folders hold")] = None,
    classes: Annotated[str | None, typer.Option(help="JSON list of class names; default: the folders' own")] = None,
    shots: Annotated[int | None, typer.Option(help="images of each class to tune on")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the images")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images of one step")] = None,
    n_ctx: Annotated[int | None, typer.Option(help="context vectors")] = None,
    class_specific: Annotated[bool | None, typer.Option("--class-specific", help="vectors for each class")] = None,
    position: Annotated[str | None, typer.Option(help="of the class name: end, middle or front")] = None,
    sigmas: Annotated[str | None, typer.Option(help="noise levels of few_shot, separated by commas")] = None,
    seed: Annotated[int | None, typer.Option(help="of everything random")] = None,
) -> None:
    """Tune a prompt on labelled images. Exit code: 0 there is a prompt, 2 bad usage, 1 failure."""
    given = {
        "name": name,
        "method": method,
        "backbone": backbone,
        "task": task,
        "classes": classes,
        "shots": shots,
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "n_ctx": n_ctx,
        "class_specific": "true" if class_specific else None,
        "position": position,
        "sigmas": f"[{sigmas}]" if sigmas else None,
        "seed": seed,
    }
    fields = {field: str(value) for field, value in given.items() if value is not None}
    with _service(url, local=local, keep=True) as client:
        code = tuning.tune(client, images, fields, default_for=default_for, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def jobs(
    url: Url = _DEFAULT_URL,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, help="jobs to show")] = 20,
) -> None:
    """List the newest jobs."""
    with _service(url, local=False) as client:
        found = list(islice(client.jobs(), limit))
    if as_json:
        console.write_json([job.raw for job in found])
        return
    console.print_jobs(console.output(), found)


@app.command("demo")
def run_demo(
    as_json: AsJson = False,
    n: Annotated[int, typer.Option("--n", min=100, max=1_000_000, help="estimation samples")] = 2000,
    keep: Annotated[bool, typer.Option("--keep", help="keep the data directory with the certificates")] = False,
) -> None:
    """Send real DICOM images through a private service and show what it can prove about them."""
    try:
        repeat = demo.commands(n=n)
    except demo.MissingImagesError as error:
        _fail(str(error), FAILURE)
    with _stack(keep=keep) as client:
        rows = demo.run(client, n=n)
        words = demo.notes(client, n=n)
    if as_json:
        console.write_json(demo.report(rows, words, repeat))
    else:
        demo.print_report(console.output(), rows, words, repeat)
    raise typer.Exit(CERTIFIED if all(row.job.status == "succeeded" for row in rows) else FAILURE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; ends the process with its exit code."""
    app(args=arguments)


# -- how ------------------------------------------------------------------------------------------------------------


@contextmanager
def _service(url: str, *, local: bool, keep: bool = False) -> Iterator[Client]:
    """The service a request goes to; a refusal ends the command. keep: the data directory of a private one stays."""
    if local:
        with _stack(keep=keep) as client:
            yield client
        return
    try:
        with Client(url) as client:
            yield client
    except ProblemError as problem:
        _fail(str(problem), FAILURE)


@contextmanager
def _stack(*, keep: bool) -> Iterator[Client]:
    """A private service, stopped in the end; its data directory goes too unless it is kept."""
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))  # else it would leave the service running
    directory = Path(tempfile.mkdtemp(prefix="certrad-"))
    try:
        with ExitStack() as running:
            with console.errors().status("starting a private service"):
                url = running.enter_context(private_stack(directory))
            yield running.enter_context(Client(url))
    except (LocalStackError, ProblemError) as error:
        _fail(str(error), FAILURE)
    finally:
        if keep:
            console.errors().print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _data_dir(chosen: Path | None) -> list[str]:
    return ["--data-dir", str(chosen)] if chosen else []


def _become(*arguments: str) -> NoReturn:
    """Replaces this process by the command that computes."""
    os.execv(sys.executable, [sys.executable, "-m", "workers.cli", *arguments])  # noqa: S606  # our own module


def _fail(message: str, code: int) -> NoReturn:
    console.errors().print(f"certrad: {message}")
    raise typer.Exit(code)


if __name__ == "__main__":
    main()

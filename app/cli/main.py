"""The command line: commands that speak HTTP, and those of `certrad.app.cli.offline`."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from certrad.app.cli import certify as submission
from certrad.app.cli import console, demo
from certrad.app.cli import tune as tuning
from certrad.app.cli.certify import CERTIFIED, FAILURE
from certrad.app.cli.client import Client, ProblemError
from certrad.app.cli.offline import AsJson, commands
from certrad.app.cli.private_service import LocalStackError, private_stack

app = typer.Typer(
    name="certrad",
    help="Classes of medical images with a certified L2 radius, or an abstention. Research use; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(commands)

Url = Annotated[str, typer.Option(envvar="CERTRAD_URL", help="address of the service")]
_DEFAULT_URL: Final = "http://127.0.0.1:8000"


# -- processes ------------------------------------------------------------------------------------------------------


@app.command()
def api(
    host: Annotated[str, typer.Option(help="address to listen on; there is no access control yet")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8000,
) -> None:
    """Run the HTTP API alone, against CERTRAD_REDIS_URL."""
    import uvicorn  # only the extra `api` installs it

    uvicorn.run(
        "certrad.app.main:create_app",
        factory=True,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


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


def _fail(message: str, code: int) -> NoReturn:
    console.errors().print(f"certrad: {message}")
    raise typer.Exit(code)


if __name__ == "__main__":
    main()

"""The options of every command of `python -m certrad.workers.cli.main`."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from certrad.models.types import Region, SmoothingParams
from certrad.models.types.cards import ContextPosition
from certrad.models.types.smoothing import N_MAX
from certrad.workers.contract.names import ENGINE_QUEUE, FORMER_ENGINE_QUEUE, INTAKE_QUEUE


def argument_parser() -> argparse.ArgumentParser:
    """The parser of the command line; `command` of what it parses names the command."""
    parser = argparse.ArgumentParser(
        prog="python -m certrad.workers.cli.main",
        description="The commands that run or prepare processes, and those that compute.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the whole service on this machine until SIGTERM")
    up.add_argument("--host", default="127.0.0.1", help="a loopback address")
    up.add_argument("--port", type=_in_range(0, 65_535), default=8000, help="0 picks a free one")
    up.add_argument("--data-dir", type=Path, help="everything the service keeps; default CERTRAD_DATA_DIR")
    up.add_argument("--engines", type=_in_range(1, 64), default=1, help="engine processes")
    worker = commands.add_parser("worker", help="run one worker until SIGTERM")
    worker.add_argument("queue", choices=[INTAKE_QUEUE, ENGINE_QUEUE, FORMER_ENGINE_QUEUE])
    fetch = commands.add_parser("fetch", help="download the weights of a backbone")
    fetch.add_argument("name", metavar="NAME")
    imported = commands.add_parser("import-prompt", help="import a checkpoint of CoOp, PromptSmooth or AdvPT")
    imported.add_argument("file", type=Path)
    for option, meaning in (("backbone", "it was tuned for"), ("task", "it was tuned for"), ("name", "of the prompt")):
        imported.add_argument(f"--{option}", required=True, help=meaning)
    imported.add_argument("--position", choices=get_args(ContextPosition), default="end", help="of the class name")
    _add_attack(commands.add_parser("attack", help="accuracy of a prompt under attack"))
    _add_calibrate(commands.add_parser("calibrate-prompt", help="adapt a prompt to unlabelled images of a site"))
    _add_bank(commands.add_parser("tune-bank", help="tune a bank of prompts on labelled images"))
    _add_audit(commands.add_parser("audit", help="attack certified images and ask about them again"))
    _add_evaluate(commands.add_parser("evaluate", help="certified accuracy on a data set"))
    _add_verify(commands.add_parser("verify", help="check a certificate"))
    _add_words(commands.add_parser("words", help="words nearest to the vectors of a prompt"))
    _add_keys(commands.add_parser("keys", help="signing keys and epoch secrets of this data directory"))
    return parser


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of images that are never certified")
    parser.add_argument("--name", required=True, help="of the new prompt")
    parser.add_argument("--task", default="mednist")
    parser.add_argument("--prompt", help="id of the prompt to start from, or template; default: the task's own")
    parser.add_argument("--sigmas", default="0.25,0.5", help="noise levels it is adapted at")
    parser.add_argument("--limit", type=_in_range(1, 100_000), default=512, help="images: the first by name")
    parser.add_argument("--seed", type=int, default=0, help="of all noise")


def _add_bank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of one folder of images for each class")
    parser.add_argument("--name", required=True, help="of the new bank")
    parser.add_argument("--task", default="mednist")
    parser.add_argument("--template", help="its words before the class name are one start; default: the task's own")
    parser.add_argument("--shots", type=_in_range(1, 10_000), default=16, help="images of each class to learn from")
    parser.add_argument("--copies", type=_in_range(1, 10_000), default=128, help="noisy copies of a shot at each level")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and of all noise")


def _add_attack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", help="files, or one folder")
    parser.add_argument("--task", default="mednist")
    parser.add_argument("--backbone", help="default: the task's own")
    parser.add_argument("--prompt", help="id of a learned prompt, or template; default: the task's own")
    parser.add_argument("--attack", default="pgd40", help="pgd10, pgd40 or autoattack")
    parser.add_argument("--epsilon", help="written such as 16/255; default: as published")
    parser.add_argument("--iterations", type=_in_range(1, 10_000), help="of autoattack")
    parser.add_argument("--queries", type=_in_range(1, 1_000_000), help="of autoattack's square")
    parser.add_argument("--limit", type=_in_range(1, 1_000_000), help="the first by name; of each class")
    parser.add_argument("--out", type=Path, help="folder for the attacked images")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--json", action="store_true")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--task", default="mednist")
    parser.add_argument("--backbone", help="default: the task's own")
    parser.add_argument("--prompt", help="learned prompt; default: the task's own")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--modes", help="names, separated by commas; default: all")
    parser.add_argument("--targets", type=_in_range(1, 999), default=1, help="classes each image is attacked towards")
    parser.add_argument("--limit", type=int, help="images to audit: the first by name")
    parser.add_argument("--journal", type=Path, help="file from which an interrupted run goes on")
    parser.add_argument("--processes", type=_in_range(1, 64), default=os.cpu_count() or 1, help="of one thread each")
    parser.add_argument("--seed", type=int, default=0, help="of all noise")
    parser.add_argument("--json", action="store_true")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    defaults = SmoothingParams()
    parser.add_argument("--task", required=True, help="data set")
    parser.add_argument("--data", type=Path, required=True, help="its folder or zip, or the folder that holds it")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--images", type=_in_range(1, N_MAX), default=500, help="of the split, of each class in turn")
    parser.add_argument("--prompt", help="id of a learned prompt, or template; default: the task's own")
    parser.add_argument("--template", help="text with one {}; default: the data set's own")
    parser.add_argument("--adaptation", choices=("none", "zero_shot", "gated"), default="none")
    parser.add_argument("--sigma", type=float, default=defaults.sigma)
    parser.add_argument("--alpha", type=float, default=defaults.alpha)
    parser.add_argument("--n0", type=int, default=defaults.n0)
    parser.add_argument("--n", type=int, default=defaults.n)
    parser.add_argument("--backbone", help="default: the papers'")
    parser.add_argument("--seed", type=_in_range(0, 2**63 - 1), default=0, help="of the choice of images and of noise")
    parser.add_argument("--out", type=Path, help="table of the rows; an interrupted run goes on with it")
    parser.add_argument("--json", action="store_true")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="certificate document")
    parser.add_argument("--key", type=Path, help="the issuer's keys: /.well-known/certrad-keys, or one in hexadecimal")
    parser.add_argument("--image", type=Path, help="the image it is about")
    parser.add_argument("--frame", type=int, help="frame of a multi-frame image, from 1")
    parser.add_argument("--region", type=_region, help="x,y,w,h in pixels")
    parser.add_argument("--replay", type=_in_range(1, N_MAX), default=0, help="random samples to draw again")
    parser.add_argument("--fresh", action="store_true", help="draw as many samples of other noise")
    parser.add_argument("--json", action="store_true")


def _region(text: str) -> Region:
    x, y, w, h = map(int, text.split(","))
    return Region(x=x, y=y, w=w, h=h)


def _add_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="prompt of GET /prompts")
    parser.add_argument("--top", type=_in_range(1, 100), default=5, help="words for each vector")
    parser.add_argument("--data-dir", type=Path, help="everything the service keeps; default CERTRAD_DATA_DIR")
    parser.add_argument("--json", action="store_true")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, help="everything the service keeps; default CERTRAD_DATA_DIR")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="public keys and epochs, by their digests")
    actions.add_parser("rotate-signing", help="sign with a new key from now on")
    revoke = actions.add_parser("revoke-signing", help="declare all that a retired key signed to be worth nothing")
    revoke.add_argument("key", metavar="SHA256", help="of the public key, or the key in hexadecimal")
    revoke.add_argument("--reason", required=True, help="for everyone to read")
    actions.add_parser("rotate-epoch", help="draw the noise of new jobs with a new secret from now on")
    reveal = actions.add_parser("reveal-epoch", help="make a retired secret public")
    reveal.add_argument("sha256", metavar="SHA256", help="of the secret")


def _in_range(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not low <= (value := int(text)) <= high:
            raise argparse.ArgumentTypeError(f"must be in [{low}, {high}], got {value}")
        return value

    return number

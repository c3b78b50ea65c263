"""Entry point of the mercure module: certifies images of MERCURE_IN_DIR, writes reports to MERCURE_OUT_DIR.

Settings come from `process.settings` of task.json: every field of POST /certify, and `url`, `write` and `instances`.
result.json says what became of each image. The exit code is 0 when every chosen image is certified or abstained on,
because mercure takes any other for a failure. Nothing that is printed names a file: mercure's names hold identifiers
of the patient's study.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from certrad.app.cli.certify import FIELDS

INSTANCES: Final = ("middle", "first", "all")
WRITE: Final = ("sr", "sc")
DICOM_KINDS: Final = {"sr": ".sr.dcm", "sc": ".sc.dcm"}
_MAX_TEXT: Final = 1024
CERTIFIED, ABSTAINED, BAD_USAGE = 0, 3, 2


class SettingsError(Exception):
    """The settings of the module are wrong; the message says how."""


def main() -> int:
    """Certifies the images of one task.

    Returns:
        The exit code.
    """
    source, target = Path(os.environ["MERCURE_IN_DIR"]), Path(os.environ["MERCURE_OUT_DIR"])
    try:
        settings = read_settings(source / "task.json")
        chosen = choose(source, settings.get("instances", "middle"))
        options = certify_options(settings)
        write = written_kinds(settings)
    except SettingsError as error:
        sys.stderr.write(f"certrad: {error}\n")
        write_result(target, [{"error": "invalid_settings", "detail": str(error)}])
        return BAD_USAGE
    if not chosen:
        sys.stderr.write("certrad: the task has no DICOM file\n")
        write_result(target, [{"error": "no_image"}])
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return certify(chosen, options, write, target, Path(folder))


def read_settings(task: Path) -> dict[str, Any]:
    """Returns the settings of the module.

    Args:
        task: The task file of mercure; `process` is an object, or a list of steps of which the first one counts.

    Raises:
        SettingsError: The settings are no JSON object, or have an unknown name.
    """
    if not task.exists():
        return {}
    try:
        process = json.loads(task.read_text("utf-8")).get("process") or {}
        step = process[0] if isinstance(process, list) else process
        settings = step.get("settings") or {}
        settings = json.loads(settings) if isinstance(settings, str) else settings
        unknown = sorted(settings.keys() - {*FIELDS, "url", "write", "instances"})
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError):
        raise SettingsError("`process.settings` of task.json must be a JSON object") from None
    if unknown:
        raise SettingsError(
            f"unknown settings: {', '.join(unknown)}; known ones are {', '.join(FIELDS)}, url, write, instances"
        )
    return dict(settings)


def choose(source: Path, instances: object) -> list[Path]:
    """Returns the images to certify: of each series the middle one, the first one or all, in the series' own order.

    Args:
        source: The folder of mercure, whose files are called `series#file.dcm`, each beside its `series#file.tags`.
        instances: Which ones.

    Raises:
        SettingsError: `instances` is none of `INSTANCES`.
    """
    if instances not in INSTANCES:
        raise SettingsError(f"`instances` must be one of {', '.join(INSTANCES)}")
    series: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(source.glob("*.dcm")):
        series[file.name.partition("#")[0]].append(file)
    chosen: list[Path] = []
    for files in series.values():
        ordered = sorted(files, key=_instance_number)
        match instances:
            case "all":
                chosen += ordered
            case "first":
                chosen.append(ordered[0])
            case _:
                chosen.append(ordered[len(ordered) // 2])
    return chosen


def _instance_number(file: Path) -> int:
    """Returns the number of an instance in its series, as mercure read it; 0 without one."""
    try:
        return int(json.loads(file.with_suffix(".tags").read_text("utf-8"))["InstanceNumber"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0


def certify_options(settings: Mapping[str, Any]) -> list[str]:
    """Returns the options of `certrad certify` that the settings stand for.

    Args:
        settings: The settings.

    Raises:
        SettingsError: A value is no text, number or truth value, or cannot be part of a command.
    """
    given = {name: settings[name] for name in (*FIELDS, "url") if settings.get(name) is not None}
    if isinstance(variants := given.get("variants"), list):
        given["variants"] = json.dumps(variants)
    for name, value in given.items():
        if not isinstance(value, str | int | float):
            raise SettingsError(f"`{name}` must be a text or a number")
        if isinstance(value, str) and not (value.isprintable() and len(value) <= _MAX_TEXT):
            raise SettingsError(f"`{name}` must be a text of up to {_MAX_TEXT} printable characters")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    url = texts.pop("url", None) or os.environ.get("CERTRAD_URL")
    options = [f"--{name.replace('_', '-')}={text}" for name, text in texts.items()]
    return [*options, *([f"--url={url}"] if url else ["--local"])]


def written_kinds(settings: Mapping[str, Any]) -> list[str]:
    """Returns the kinds of report to write.

    Raises:
        SettingsError: `write` has another kind than mercure can send on.
    """
    given = settings.get("write") or list(WRITE)
    kinds = given.split(",") if isinstance(given, str) else given
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in DICOM_KINDS for kind in kinds):
        raise SettingsError(f"`write` must be one or more of {', '.join(DICOM_KINDS)}: mercure sends DICOM files on")
    return kinds


def certify(chosen: Sequence[Path], options: Sequence[str], write: Sequence[str], target: Path, folder: Path) -> int:
    """Certifies the images under names that say nothing, and gives the reports the names that mercure expects.

    Args:
        chosen: The images.
        options: Options of `certrad certify`.
        write: Kinds of report.
        target: The folder of mercure.
        folder: A folder for this run.

    Returns:
        The exit code.
    """
    names = {f"{number:05}.dcm": image for number, image in enumerate(chosen, start=1)}
    (folder / "in").mkdir()
    for name, image in names.items():
        (folder / "in" / name).symlink_to(image.resolve())
    command = [sys.executable, "-m", "certrad.app.cli.main", "certify", "--in", str(folder / "in")]
    command += ["--out", str(folder / "out"), "--write", ",".join(write), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # our own command
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        name = Path(line["file"]).name
        for kind in write:
            report = folder / "out" / f"{name}{DICOM_KINDS[kind]}"
            if report.exists():
                deliver(report, target)
    result = [summary(line, names[Path(line["file"]).name]) for line in lines]
    write_result(target, result or [{"error": "no_result", "detail": "the log says why no image was looked at"}])
    return 0 if done.returncode in (CERTIFIED, ABSTAINED) else done.returncode


def deliver(report: Path, target: Path) -> None:
    """Puts a report, which this service wrote, under the name `series#instance.dcm` of mercure."""
    from pydicom import dcmread

    header = dcmread(report, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
    shutil.copyfile(report, target / f"{header.SeriesInstanceUID}#{header.SOPInstanceUID}.dcm")


def summary(line: Mapping[str, Any], image: Path) -> dict[str, Any]:
    """Returns what result.json says about one image.

    Args:
        line: What `certrad certify --json` printed about it.
        image: The file of mercure.
    """
    result, error = line.get("result") or {}, line.get("error") or {}
    said = {
        "file": image.name,
        "outcome": result.get("outcome", "failed"),
        "label": result.get("label"),
        "radius": result.get("radius"),
        "reason": result.get("reason"),
        "certificate_sha256": line.get("certificate_sha256"),
        "error": error.get("code"),
    }
    return {name: value for name, value in said.items() if value is not None}


def write_result(target: Path, images: Sequence[Mapping[str, Any]]) -> None:
    """Writes result.json, which mercure keeps with the task."""
    counts = {
        outcome: sum(image.get("outcome") == outcome for image in images) for outcome in ("certified", "abstained")
    }
    failed = len(images) - sum(counts.values())
    content = {**counts, "failed": failed, "images": list(images)}
    (target / "result.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

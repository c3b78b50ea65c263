"""What the command line parses, and what it hands on."""

import inspect
import os
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.cli import demo
from certrad.app.cli import main as cli


def test_certify_has_an_option_for_every_field() -> None:
    options = set(inspect.signature(cli.certify).parameters) - {"files", "url", "local", "as_json"}
    assert options == set(CertifyForm.model_fields)


def test_tune_has_an_option_for_every_field() -> None:
    options = set(inspect.signature(cli.tune).parameters) - {"images", "url", "local", "as_json", "default_for"}
    assert options == set(TuningForm.model_fields)


@pytest.mark.parametrize(
    ("arguments", "handed_on"),
    [
        (["up"], ["up", "--host", "127.0.0.1", "--port", "8000", "--engines", "1"]),
        (
            ["up", "--host", "::1", "--port", "0", "--engines", "2", "--data-dir", "d"],
            ["up", "--host", "::1", "--port", "0", "--engines", "2", "--data-dir", "d"],
        ),
        (["worker", "engine"], ["worker", "engine"]),
        (["worker", "gpu"], ["worker", "gpu"]),
        (["worker", "intake"], ["worker", "intake"]),
        (["fetch", "plip"], ["fetch", "plip"]),
        (["prompts", "words", "p-1"], ["words", "--top", "5", "--", "p-1"]),
        (
            ["prompts", "words", "p-1", "--top", "2", "--data-dir", "d", "--json"],
            ["words", "--top", "2", "--data-dir", "d", "--json", "--", "p-1"],
        ),
        (["keys", "list"], ["keys", "list"]),
        (["keys", "rotate-signing", "--data-dir", "d"], ["keys", "--data-dir", "d", "rotate-signing"]),
        (
            ["keys", "revoke-signing", "ab", "--reason", "it leaked"],
            ["keys", "revoke-signing", "ab", "--reason=it leaked"],
        ),
        (["keys", "rotate-epoch"], ["keys", "rotate-epoch"]),
        (["keys", "reveal-epoch", "ab"], ["keys", "reveal-epoch", "ab"]),
        (["verify", __file__], ["verify", "--", __file__]),
        (
            [
                "verify",
                __file__,
                "--key",
                "k",
                "--image",
                "i",
                "--region",
                "1,2,3,4",
                "--replay",
                "9",
                "--fresh",
                "--json",
            ],
            ["verify", "--key=k", "--image=i", "--region=1,2,3,4", "--replay=9", "--fresh", "--json", "--", __file__],
        ),
    ],
)
def test_commands_that_compute_become_the_workers_command(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], handed_on: list[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command))
    CliRunner().invoke(cli.app, arguments)
    assert became == [[sys.executable, "-m", "certrad.workers.cli.main", *handed_on]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["certify"],
        ["certify", "/nowhere/image.png"],
        ["certify", "--colour", "red", __file__],
        ["certify", "--n", "many", __file__],
        ["up", "--engines", "0"],
        ["worker", "cpu"],
        ["verify", "/nowhere/certificate.json"],
        ["verify", __file__, "--replay", "0"],
        ["demo", "--n", "1"],
        ["nonsense"],
    ],
)
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_images_of_the_demonstration_are_found_without_pydicom() -> None:
    for specimen in demo.SPECIMENS:
        assert demo.image_path(specimen.file).read_bytes()[128:132] == b"DICM"


def test_missing_images_say_what_to_install() -> None:
    with pytest.raises(demo.MissingImagesError, match="pip install"):
        demo.image_path("nobody.dcm")


def test_command_that_starts_the_service_is_the_one_of_this_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my site" / "bin" / "python"))
    assert shlex.split(demo.commands(n=2000)[0]) == [str(tmp_path / "my site" / "bin" / "certrad"), "up"]


def test_command_below_the_working_directory_is_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert demo.commands(n=2000)[0] == ".venv/bin/certrad up"


def test_curl_command_names_an_existing_file_and_the_same_settings() -> None:
    _, curl = demo.commands(n=2000)
    path = curl.partition("image=@")[2].split()[0]
    assert os.path.isfile(path)
    assert "-F sigma=0.25 -F n=2000" in curl

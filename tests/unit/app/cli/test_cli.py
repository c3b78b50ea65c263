"""The command line has an option for every field, and tells every error of its arguments in a line of its own."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.cli import certify, demo, tune
from certrad.app.cli.main import GROUPS, REQUESTS, dispatch, listing
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import COMPUTING
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE


def options_of(module: object) -> set[str]:
    """The names of the options of a command."""
    parser = Parser("name", "summary")
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return {action.dest for action in parser._actions} - {"help"}


def test_certify_has_an_option_for_every_field() -> None:
    assert set(certify.FIELDS) == set(CertifyForm.model_fields)
    of_command = {"paths", "in", "out", "write", "study", "series", "url", "local", "data_dir", "save", "json"}
    assert options_of(certify) - of_command == set(CertifyForm.model_fields)


def test_tune_has_an_option_for_every_field() -> None:
    assert set(tune.FIELDS) == set(TuningForm.model_fields)
    assert options_of(tune) - {"images", "url", "local", "data_dir", "json", "default_for"} == set(
        TuningForm.model_fields
    )


def test_every_command_is_listed_once() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted([*REQUESTS, *COMPUTING])


@pytest.mark.parametrize("name", COMPUTING)
def test_commands_that_compute_get_their_arguments_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []

    def execv(_: str, command: list[str]) -> None:
        became.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    arguments = ["-x", "a b", "--", "--json", "--help"]
    with pytest.raises(SystemExit):
        dispatch([*name.split(), *arguments])
    assert became == [[sys.executable, "-m", "certrad.workers.cli.main", *name.split(), *arguments]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["certify"], ["`FILE|DIR` is missing"]),
        (
            ["certify", "/nowhere/image.png"],
            ["`FILE|DIR` must be an existing file or folder; got '/nowhere/image.png'"],
        ),
        (
            ["certify", "--colour", "red", __file__],
            ["'--colour' is not an option", "`FILE|DIR` must be an existing file or folder; got 'red'"],
        ),
        (["certify", "--n", "many", __file__], ["`--n` must be a whole number, 10 to 1000000; got 'many'"]),
        (
            ["certify", "--sigma", "nan", "--adaptation", "some", "--frame", "0", "--data-dir", "d"],
            [
                "`--sigma`",
                "`--adaptation` must be one of none, zero_shot, gated",
                "`--frame`",
                "`FILE|DIR`",
                "`--data-dir`",
            ],
        ),
        (["certify", "--window", "-40;3", __file__], ["`--window` must be `file`, `percentile`, `CENTRE,WIDTH`"]),
        (["certify", "--window", "-40,1", __file__], ["`--window` must be a window wider than 1"]),
        (["certify", "--n0", "500", "--n", "100", __file__], ["`--n0` must be at most `--n`; got 500 and 100"]),
        (["demo", "--n", "1"], ["`--n` must be a whole number, 100 to 1000000; got '1'"]),
        (["prompts", "default", "p-1"], ["`--task` is missing"]),
        (["certificate", "--out"], ["`--out` needs a value"]),
        (["nonsense"], ["'nonsense' is not a command"]),
    ],
)
def test_every_error_of_the_arguments_is_told_in_a_line_of_its_own(
    arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(arguments) == BAD_USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said), lines
    for words in said:
        assert any(words in line for line in lines), (words, lines)
    assert all(line.startswith("certrad: ") for line in lines)


def test_a_folder_without_files_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".hidden").write_text("nothing")
    assert dispatch(["certify", str(tmp_path)]) == BAD_USAGE
    assert "a folder with files" in capsys.readouterr().err


def test_a_folder_stands_for_its_visible_files_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".c.png", "more/d.png", ".git/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [str(file.relative_to(tmp_path)) for file in certify.visible_files(tmp_path)]
    assert names == ["a.png", "b.png", "more/d.png"]


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert dispatch(["--version"]) == DONE
    assert capsys.readouterr().out == f"certrad {version('certrad')}\n"


def test_the_help_lists_every_command_and_that_of_prompts_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["--help"]) == DONE
    assert capsys.readouterr().out == listing()
    for name, command in {**REQUESTS, **COMPUTING}.items():
        assert f"  {name:19}{command.summary}\n" in listing()
    assert dispatch(["prompts"]) == BAD_USAGE
    own = capsys.readouterr().out
    assert "prompts restore" in own
    assert "evaluate" not in own


def test_images_of_the_demonstration_are_found_without_pydicom() -> None:
    for specimen in demo.SPECIMENS:
        assert demo.image_path(specimen.file).read_bytes()[128:132] == b"DICM"


def test_missing_images_say_what_to_install() -> None:
    with pytest.raises(demo.MissingImagesError, match="make demo"):
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

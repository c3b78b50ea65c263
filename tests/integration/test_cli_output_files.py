"""`certrad certify --in DIR --out DIR --write ...` makes a folder of reports from a folder of images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from certrad.app.cli import certify_files
from certrad.app.settings import ApiSettings
from certrad.workers.contract import outputs
from certrad.workers.contract.job import RESULT
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.contract.records import Records
from tests.integration.cli_service import Result, Work, certrad, playing_workers
from tests.integration.test_cli_requests import ABSTAINED, CERTIFIED
from tests.support.images import dicom, encoded, noise

pytestmark = pytest.mark.integration

DICOM: Final = dicom(noise(16, 16))
PNG: Final = encoded(noise(16, 16), "png")
NO_REPORT: Final = {"structured_report": "no_structured_report", "secondary_capture": "no_structured_report"}

Run = Callable[..., Result]


def certifying(
    settings: ApiSettings, refused: dict[OutputKind, str] | None = None, result: dict[str, object] = CERTIFIED
) -> Work:
    """Ends a job with reports, as a worker does."""

    def work(records: Records, job_id: str) -> object:
        made = {kind: (refused or {}).get(kind) for kind in OUTPUTS}
        for kind in (kind for kind, code in made.items() if code is None):
            outputs.store(settings.outputs_dir, job_id, kind, f"{kind} of {job_id}".encode())
        return records.succeed(job_id, RESULT.validate_python(result), certificate="0" * 64, outputs=made)

    return work


def failed(records: Records, job_id: str) -> object:
    return records.fail(job_id, "unreadable_image", "the file is truncated")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two images of one name, a text and a hidden file."""
    folder = tmp_path / "scans"
    (folder / "day 2").mkdir(parents=True)
    (folder / "a.dcm").write_bytes(DICOM)
    (folder / "day 2" / "a.dcm").write_bytes(DICOM)
    (folder / "read me.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(PNG)
    return folder


@pytest.fixture
def run(redis: Redis, api_settings: ApiSettings, api_url: str) -> Run:
    """Runs `certify` while the test plays the workers; they certify unless it says otherwise."""

    def _run(*arguments: object, works: tuple[Work, ...] = ()) -> Result:
        with playing_workers(redis, api_settings, *(works or (certifying(api_settings),))):
            return certrad("certify", *map(str, arguments), "--url", api_url)

    return _run


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_outputs_are_named_after_their_images_and_lie_as_they_do(run: Run, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = run("--in", scans, "--out", out, "--write", "sr,sc,fhir")
    assert result.exit_code == 0, result.stderr
    suffixes = ("fhir.json", "sc.dcm", "sr.dcm")
    assert written(out) == [f"{name}.{suffix}" for name in ("a.dcm", "day 2/a.dcm") for suffix in suffixes]
    assert (out / "a.dcm.sr.dcm").read_bytes().startswith(b"structured_report of ")
    assert (out / "a.dcm.sc.dcm").read_bytes().startswith(b"secondary_capture of ")
    assert (out / "a.dcm.fhir.json").read_bytes().startswith(b"fhir of ")


def test_files_that_are_no_images_are_skipped_and_named(run: Run, scans: Path, tmp_path: Path) -> None:
    result = run("--in", scans, "--out", tmp_path / "out", "--write", "job")
    assert result.exit_code == 0
    assert f"{scans / 'read me.txt'} is skipped" in result.stderr
    assert written(tmp_path / "out") == ["a.dcm.job.json", "day 2/a.dcm.job.json"]


def test_a_folder_without_an_image_is_bad_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("--in", tmp_path / "empty", "--out", tmp_path / "out")
    assert (result.exit_code, written(tmp_path / "out") if (tmp_path / "out").exists() else []) == (2, [])


def test_outputs_can_be_written_for_single_files_too(run: Run, scans: Path, tmp_path: Path) -> None:
    one, other = scans / "a.dcm", scans / "day 2" / "a.dcm"
    assert run(one, other, "--out", tmp_path / "out", "--write", "sr").exit_code == 0
    assert written(tmp_path / "out") == ["a.dcm-2.sr.dcm", "a.dcm.sr.dcm"]


@pytest.mark.parametrize(("worst", "code"), [("abstained", 3), ("failed", 1)])
def test_the_exit_code_is_that_of_the_worst_image(
    worst: str, code: int, run: Run, api_settings: ApiSettings, scans: Path, tmp_path: Path
) -> None:
    of_worst = failed if worst == "failed" else certifying(api_settings, result=ABSTAINED)
    works = (of_worst, certifying(api_settings))
    assert run("--in", scans, "--out", tmp_path / "out", "--write", "fhir,job", works=works).exit_code == code


def test_a_failed_image_has_its_job_only(run: Run, scans: Path, tmp_path: Path) -> None:
    result = run(scans / "a.dcm", "--out", tmp_path / "out", "--write", "sr,sc,fhir,json,png,job", works=(failed,))
    assert (result.exit_code, written(tmp_path / "out")) == (1, ["a.dcm.job.json"])
    job = json.loads((tmp_path / "out" / "a.dcm.job.json").read_text())
    assert job["error"]["code"] == "unreadable_image"


def test_a_report_that_was_not_made_is_named_with_its_code(
    run: Run, api_settings: ApiSettings, scans: Path, tmp_path: Path
) -> None:
    work = certifying(api_settings, NO_REPORT)  # type: ignore[arg-type]
    result = run(scans / "a.dcm", "--out", tmp_path / "out", "--write", "sr,fhir", works=(work,))
    assert (result.exit_code, written(tmp_path / "out")) == (1, ["a.dcm.fhir.json"])
    assert "a.dcm.sr.dcm is not written" in result.stderr
    assert "no_structured_report" in result.stderr


def test_an_image_is_never_written_over(run: Run, scans: Path) -> None:
    (scans / "a.dcm.sr.dcm").write_bytes(DICOM)
    result = run(scans / "a.dcm", scans / "a.dcm.sr.dcm", "--out", scans, "--write", "sr")
    assert result.exit_code == 1
    assert f"{scans / 'a.dcm.sr.dcm'} is not written: it is one of the images" in result.stderr
    assert (scans / "a.dcm.sr.dcm").read_bytes() == DICOM


def test_a_folder_larger_than_a_part_is_certified_whole(
    run: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify_files, "_AT_ONCE", 2)
    for number in range(5):
        (scans / f"b{number}.dcm").write_bytes(DICOM)
    result = run("--in", scans, "--out", tmp_path / "out", "--write", "sr", "--json")
    assert (result.exit_code, len(result.stdout.splitlines()), len(written(tmp_path / "out"))) == (0, 7, 7)


def test_what_cannot_be_written_is_named(run: Run, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = run("--in", scans, "--out", tmp_path / "file", "--write", "sr")
    assert result.exit_code == 1
    assert f"{tmp_path / 'file' / 'a.dcm.sr.dcm'} cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "`FILE|DIR` is missing"),
        (("--in", "scans"), "`--in` goes with `--out`"),
        (("scans/a.dcm", "--in", "scans", "--out", "out"), "exclude each other"),
        (("scans/a.dcm", "--write", "sr"), "`--write` goes with `--out`"),
        (("--in", "scans", "--out", "scans"), "must be outside"),
        (("--in", "scans", "--out", "scans/out"), "must be outside"),
        (("scans/a.dcm", "--out", "out", "--write", "sr,hl7"), "must be one or more of sr, sc, fhir, json, job, png"),
        (("--in", "nowhere", "--out", "out"), "must be an existing folder"),
    ],
)
def test_wrong_options_are_refused_before_any_request(
    arguments: tuple[str, ...], problem: str, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans.parent)
    result = certrad("certify", *arguments, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert problem in result.stderr

"""The command line saves what jobs end with, and shows, cancels and changes jobs and prompts that are there."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from certrad.app.cli.client import Client
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_adapters, shipped_prompts, shipped_tasks
from certrad.workers.contract import uploads
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import RESULT
from certrad.workers.contract.records import Records
from tests.integration.cli_service import Result, Work, certrad, playing_workers
from tests.integration.test_cli_requests import ABSTAINED, CERTIFIED, PNG
from tests.support.image_facts import image_facts

pytestmark = pytest.mark.integration

DOCUMENT = b'{"schema":"certrad.certificate/2"}'
DIGEST = hashlib.sha256(DOCUMENT).hexdigest()
SEEN = b"\x89PNG of the model input"
BANK = str(shipped_tasks()["mednist"].default_bank)
PROMPT = str(shipped_tasks()["mednist"].default_prompt)


def certifying(settings: ApiSettings, result: dict[str, Any] = CERTIFIED) -> Work:
    """Ends a job as intake and engine do: with a document, and with what the model saw."""

    def work(records: Records, job_id: str) -> object:
        settings.certificates_dir.mkdir(parents=True, exist_ok=True)
        (settings.certificates_dir / f"{DIGEST}.json").write_bytes(DOCUMENT)
        uploads.store(settings.outputs_dir, job_id, io.BytesIO(SEEN))
        records.enter(job_id, "waiting", image=image_facts())
        return records.succeed(job_id, RESULT.validate_python(result), certificate=DIGEST)

    return work


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of one name in two folders, and a hidden file."""
    for name in ("one/scan.png", "two/scan.png", "one/.DS_Store"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(PNG)
    return tmp_path / "images"


def failed(records: Records, job_id: str) -> object:
    return records.fail(job_id, "unreadable_image", "the file is truncated")


def test_certificates_jobs_and_what_the_model_saw_are_saved(
    redis: Redis, api_settings: ApiSettings, api_url: str, folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "new" / "saved"
    with playing_workers(redis, api_settings, certifying(api_settings), certifying(api_settings, ABSTAINED)):
        result = certrad("certify", str(folder), "--url", api_url, "--save", str(saved))
    assert result.exit_code == 3, result.stderr
    names = [
        f"scan.png{number}.{kind}" for number in ("", "-2") for kind in ("certificate.json", "input.png", "job.json")
    ]
    assert sorted(path.name for path in saved.iterdir()) == sorted(names)
    assert (saved / "scan.png.certificate.json").read_bytes() == DOCUMENT
    assert (saved / "scan.png-2.input.png").read_bytes() == SEEN
    outcomes = [json.loads((saved / f"scan.png{n}.job.json").read_text())["result"]["outcome"] for n in ("", "-2")]
    assert outcomes == ["certified", "abstained"]


def test_what_cannot_be_saved_is_a_failure_that_is_told(
    redis: Redis, api_settings: ApiSettings, api_url: str, folder: Path, tmp_path: Path
) -> None:
    def without_input(records: Records, job_id: str) -> object:
        ended = certifying(api_settings)(records, job_id)
        uploads.delete(api_settings.outputs_dir, job_id)
        return ended

    image = str(folder / "one" / "scan.png")
    with playing_workers(redis, api_settings, without_input):
        result = certrad("certify", image, "--url", api_url, "--save", str(tmp_path / "saved"))
    assert result.exit_code == 1
    assert "output_expired" in result.stderr
    assert (tmp_path / "saved" / "scan.png.certificate.json").read_bytes() == DOCUMENT
    with playing_workers(redis, api_settings, failed):
        result = certrad("certify", image, "--url", api_url, "--save", image)
    assert result.exit_code == 1
    assert f"{image} cannot be written" in result.stderr


def test_job_and_digest_are_told_in_words_and_in_json(
    redis: Redis, api_settings: ApiSettings, api_url: str, folder: Path
) -> None:
    image = str(folder / "one" / "scan.png")
    with playing_workers(redis, api_settings, certifying(api_settings)):
        told = certrad("certify", image, "--url", api_url).stdout
        job = json.loads(certrad("certify", image, "--url", api_url, "--json").stdout)
    assert job["certificate_sha256"] == DIGEST
    listed = {each["id"] for each in json.loads(certrad("jobs", "--url", api_url, "--json").stdout)}
    assert job["id"] in listed
    (line,) = [line for line in told.splitlines() if line.startswith(f"{image}: job ")]
    assert line.endswith(f", certificate {DIGEST}")
    assert line.split()[2].rstrip(",") in listed


def test_certificate_of_a_job_is_printed_or_written_byte_for_byte(
    redis: Redis, api_settings: ApiSettings, api_url: str, folder: Path, tmp_path: Path
) -> None:
    with playing_workers(redis, api_settings, certifying(api_settings)):
        image = str(folder / "one" / "scan.png")
        job_id = json.loads(certrad("certify", image, "--url", api_url, "--json").stdout)["id"]
    assert certrad("certificate", job_id, "--url", api_url).stdout.encode() == DOCUMENT
    assert certrad("certificate", job_id, "--url", api_url, "--out", str(tmp_path / "c.json")).exit_code == 0
    assert certrad("certificate", job_id, "--url", api_url, "--form", "jws").exit_code == 1  # none was stored
    assert certrad("certificate", job_id, "--url", api_url, "--form", "time-stamp").exit_code == 2
    assert (tmp_path / "c.json").read_bytes() == DOCUMENT
    for wrong in (("../keys",), (job_id, "--out", str(tmp_path / "nowhere" / "c.json"))):
        assert certrad("certificate", *wrong, "--url", api_url).exit_code == 1


def test_a_running_job_is_cancelled_and_one_that_has_ended_is_left(
    redis: Redis, api_settings: ApiSettings, api_url: str
) -> None:
    with Client(api_url) as client:
        job_id = client.submit(PNG).id
        assert certrad("cancel", job_id, "--url", api_url).exit_code == 0
        assert client.job(job_id).status == "cancelled"
        again = certrad("cancel", job_id, "--url", api_url)
        assert (again.exit_code, again.stderr) == (1, f"certrad: job {job_id} has ended already: it was cancelled\n")
        assert client.job(job_id).status == "cancelled"
    assert "job_not_found" in certrad("cancel", "nobody", "--url", api_url).stderr


def test_prompts_are_listed_shown_made_a_default_withdrawn_and_restored(redis: Redis, api_url: str) -> None:
    def prompts(*arguments: str) -> Result:
        result = certrad("prompts", *arguments, "--url", api_url)
        assert result.exit_code == 0, result.stderr
        return result

    defaults = {each["card"]["id"]: each["default_for"] for each in json.loads(prompts("list", "--json").stdout)}
    assert (defaults[BANK], defaults[PROMPT]) == (["mednist"], [])
    (line,) = [line for line in prompts("list").stdout.splitlines() if PROMPT in line]
    assert "few_shot" in line
    assert json.loads(prompts("show", PROMPT).stdout)["card"]["id"] == PROMPT
    made = prompts("default", PROMPT, "--task", "mednist").stdout
    assert f"it replaces {BANK}; `certrad prompts default {BANK} --task mednist` goes back" in made
    assert Catalogue(redis).default_prompts("mednist")[0].id == PROMPT
    assert f"certrad prompts restore {PROMPT}" in prompts("withdraw", PROMPT).stdout
    assert PROMPT not in Catalogue(redis).prompts()
    assert "as the default of no task" in prompts("restore", PROMPT).stdout
    assert PROMPT in Catalogue(redis).prompts()
    assert Catalogue(redis).default_prompts("mednist")[0].id == BANK
    prompts("withdraw", BANK)
    assert "as the default of mednist" in prompts("restore", BANK).stdout


def test_adapter_is_withdrawn_and_restored(redis: Redis, api_url: str) -> None:
    adapter = next(iter(shipped_adapters()))
    withdrawn = certrad("adapters", "withdraw", adapter, "--url", api_url)
    assert (withdrawn.exit_code, f"certrad adapters restore {adapter}" in withdrawn.stdout) == (0, True)
    assert adapter not in Catalogue(redis).adapters
    restored = certrad("adapters", "restore", adapter, "--url", api_url)
    assert (restored.exit_code, "is in use again" in restored.stdout) == (0, True)
    assert adapter in Catalogue(redis).adapters
    unknown = certrad("adapters", "withdraw", "nothing", "--url", api_url)
    assert (unknown.exit_code, "adapter_not_found" in unknown.stderr) == (1, True)


def test_list_of_prompts_names_the_adapter(redis: Redis, api_url: str) -> None:
    card, adapter = shipped_prompts()[PROMPT], next(iter(shipped_adapters().values()))
    Catalogue(redis).publish_prompt(replace(card, adapter=adapter.id, adapter_sha256=adapter.sha256))
    (line,) = [line for line in certrad("prompts", "list", "--url", api_url).stdout.splitlines() if PROMPT in line]
    assert adapter.id in line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nobody"), "prompt_not_found"),
        (("default", PROMPT, "--task", "covid"), "prompt_mismatch"),
        (("restore", "../tasks"), "not_found"),
    ],
)
def test_a_refusal_is_a_failure_with_its_code(
    arguments: tuple[str, ...], code: str, redis: Redis, api_url: str
) -> None:
    result = certrad("prompts", *arguments, "--url", api_url)
    assert result.exit_code == 1
    assert f"({code})" in result.stderr

"""`certrad audit` and `python -m certrad.bench audit` print verdicts, and go on from their journal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.adapters.store import AdapterStore
from certrad.models.attacks.smooth_adv import SmoothAdv
from certrad.models.audit.modes import chosen_modes, mode_specs
from certrad.models.audit.runner import AuditSettings, audit, images_sha256, open_journal
from certrad.models.audit.verdict import Verdict, as_markdown
from certrad.models.evaluation.journal import Journal
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import AutoSigma, FixedSigma, SamplingParams
from certrad.workers.cli.main import main
from certrad.workers.offline import audit as offline_audit
from tests.support.commands import arguments
from tests.support.images import encoded, noise

TASK = shipped_tasks()["mednist"]
LEARNED = shipped_prompts()[TASK.default_prompt or ""]
BANK = replace(LEARNED, id="bank-0123456789abcdef", method="bank")
SPECS = mode_specs(TASK, "demo", [LEARNED, BANK], FixedSigma(0.25), SamplingParams(n0=10, n=50), TASK.default_adapter)
NOWHERE = (
    shipped_backbones()["demo"],
    Path("nowhere"),
    PromptStore(own=Path("nowhere")),
    AdapterStore(own=Path("nowhere")),
)


def discs() -> list[NDArray[np.uint8]]:
    """Two images."""
    rows, columns = np.mgrid[:64, :64]
    discs = [200 * ((rows - 32) ** 2 + (columns - 32) ** 2 < side**2) for side in (12, 25)]
    return [np.repeat(disc.astype(np.uint8)[None], 3, axis=0) for disc in discs]


def settings_of(images: list[NDArray[np.uint8]], *names: str) -> AuditSettings:
    return AuditSettings(
        modes=tuple(spec for spec in SPECS if spec.name in names),
        images_sha256=images_sha256(images),
        attack=SmoothAdv(steps=1, draws=2),
    )


def run_audit(images: list[NDArray[np.uint8]], settings: AuditSettings, path: Path) -> list[Verdict]:
    return audit(images, settings, *NOWHERE, journal=open_journal(path, settings), processes=1)


def verdict(**changes: object) -> Verdict:
    fields = {"mode": "few-shot/none", "scope": "input_independent", "planted": False, "sigma": 0.25, "images": 9}
    fields |= {"certified": 8, "attacked": 7, "targets": 1, "contradictions": 0, "p_value": 1.0, "mean_radius": 0.5}
    return Verdict(**(fields | changes))  # type: ignore[arg-type]


def options(directory: Path, **changes: object) -> list[str]:
    fields: dict[str, object] = {"images": directory, "n": 100, "modes": "template/none", "processes": 1}
    return arguments("audit", **(fields | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and a file that is none."""
    directory = tmp_path / "images"
    directory.mkdir()
    for seed in (1, 2):
        (directory / f"Jane Doe {seed}.png").write_bytes(encoded(noise(70, 64, seed=seed), "PNG"))
    (directory / "Jane Doe.txt").write_text("no image")
    return directory


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> list[Verdict]:
    """Replaces the audit by the verdicts that a test puts into this list."""
    verdicts: list[Verdict] = []
    monkeypatch.setattr(offline_audit, "audit", lambda *_, **__: verdicts)
    return verdicts


def test_images_of_nearly_one_grey_are_counted(
    folder: Path, audited: list[Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):  # one image in two files
        (folder / f"grey {number}.png").write_bytes(encoded(np.full((64, 64), 90, dtype=np.uint8), "PNG"))
    main(options(folder))
    assert "low_contrast (1 of 3 images): " in capsys.readouterr().out
    main(options(folder, json=True))
    assert json.loads(capsys.readouterr().out)["low_contrast"] == 1


def test_every_mode_of_the_service_and_one_planted_is_audited() -> None:
    scopes = {spec.name: (spec.classifier.scope, spec.params.target_radius, spec.planted) for spec in SPECS}
    assert scopes == {
        "template/none": ("input_independent", None, False),
        "few-shot/none": ("input_independent", None, False),
        "few-shot/target": ("input_independent", 0.25, False),
        "gated": ("input_independent", None, False),
        "gated/auto": ("input_independent", None, False),
        "template/zero_shot": ("frozen_prompt", None, False),
        "few-shot/zero_shot": ("frozen_prompt", None, False),
        "planted": ("frozen_prompt", None, True),
    }


def test_without_a_learned_prompt_the_template_is_audited() -> None:
    specs = mode_specs(TASK, "demo", [], FixedSigma(), SamplingParams())
    names = [spec.name for spec in specs]
    assert names == ["template/none", "template/target", "template/auto", "template/zero_shot", "planted"]


def test_a_task_without_a_selector_has_no_automatic_sigma() -> None:
    specs = mode_specs(replace(TASK, sigma_routing=None), "demo", [LEARNED, BANK], FixedSigma(), SamplingParams())
    assert not [spec.name for spec in specs if "auto" in spec.name]


def test_automatic_sigma_is_one_mode_beside_those_of_several_sigmas() -> None:
    specs = [
        spec for sigma in (0.25, 0.5) for spec in mode_specs(TASK, "demo", [BANK], FixedSigma(sigma), SamplingParams())
    ]
    assert [spec.sigma.first for spec in chosen_modes(specs, "gated/auto,gated")] == [0.25, 1.0, 0.5]
    with pytest.raises(ValueError, match=r"gated/auto.*got 'nothing'"):
        chosen_modes(specs, "gated,nothing")


def test_automatic_sigma_of_the_shipped_bank_has_a_row_of_its_own(tmp_path: Path) -> None:
    cards = [shipped_prompts()[TASK.default_bank or ""]]
    (spec,) = chosen_modes(
        mode_specs(TASK, "demo", cards, FixedSigma(), SamplingParams(n0=10, n=50), TASK.default_adapter), "gated/auto"
    )
    assert isinstance(spec.sigma, AutoSigma)
    routing = spec.sigma.routing
    few = replace(routing, sigmas=routing.sigmas[:2], weights=((0.0,) * 4,) * 2, biases=(1.0, 0.0))
    settings = replace(settings_of(discs()[:1]), modes=(replace(spec, sigma=AutoSigma(few)),))
    (found,) = run_audit(discs()[:1], settings, tmp_path / "journal")
    assert (found.images, found.sigma, found.broken) == (1, None, False)
    assert as_markdown([found]).splitlines()[2].startswith("| auto | gated/auto | input_independent | 1 |")


def test_interrupted_run_goes_on_to_the_verdicts_of_an_uninterrupted_one(tmp_path: Path) -> None:
    images, whole, torn = discs(), tmp_path / "whole", tmp_path / "torn"
    settings = settings_of(images, "template/none", "few-shot/zero_shot")
    verdicts = run_audit(images, settings, whole)
    header, first, second = whole.read_text().splitlines(keepends=True)
    torn.write_text(header + second + first[:30])
    assert run_audit(images, settings, torn) == verdicts
    assert torn.read_text() == header + second + first
    assert [verdict.images for verdict in verdicts] == [2, 2]
    assert sum(verdict.attacked for verdict in verdicts) > 0  # else there would be little to go on to


def test_journal_of_other_images_is_refused(tmp_path: Path) -> None:
    settings = settings_of(discs(), "template/none")
    open_journal(tmp_path / "journal", settings)
    with pytest.raises(ValueError, match="other settings"):
        open_journal(tmp_path / "journal", replace(settings, images_sha256=images_sha256(discs()[:1])))


def test_journal_without_a_file_keeps_its_lines_in_memory() -> None:
    journal = Journal(None, "header")
    journal.append("line")
    assert journal.lines == ["line"]


def test_table_has_a_row_for_each_mode() -> None:
    planted = verdict(mode="planted", planted=True, contradictions=5, p_value=1e-9, mean_radius=None)
    table = as_markdown([verdict(), planted]).splitlines()
    assert table[2] == "| 0.25 | few-shot/none | input_independent | 9 | 8 | 0.500 | 7 | 1 | 0 | 1 |"
    assert table[3] == "| 0.25 | planted | none: unsound on purpose | 9 | 8 | – | 7 | 1 | 5 | 1e-09 |"


def test_folder_is_audited_with_its_images_and_no_name_is_told(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[NDArray[np.uint8]]] = []

    def recorded(images: list[NDArray[np.uint8]], *_: object, **__: object) -> list[Verdict]:
        seen.append(images)
        return [verdict()]

    monkeypatch.setattr(offline_audit, "audit", recorded)
    assert main(options(folder, json=True)) == 0
    out, err = capfd.readouterr()
    assert [(image.shape, image.dtype) for image in seen[0]] == [((3, 64, 64), np.dtype(np.uint8))] * 2
    assert json.loads(out)["sound"] is True
    assert "1 file left out: unsupported_format" in err
    assert "Jane" not in out + err


def test_a_picture_counts_once_however_many_files_hold_it(
    folder: Path, audited: list[Verdict], capfd: pytest.CaptureFixture[str]
) -> None:
    audited.append(verdict())
    (folder / "a copy.png").write_bytes((folder / "Jane Doe 1.png").read_bytes())
    assert main(options(folder, limit=3)) == 0
    assert "1 file left out: same_image" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ([verdict()], 0),
        ([verdict(p_value=0.0009)], 1),
        ([verdict(p_value=0.0), verdict()], 1),
        ([verdict(scope="frozen_prompt", p_value=0.0), verdict(planted=True, p_value=0.0)], 0),
    ],
)
def test_exit_code_is_1_where_a_claim_that_was_made_is_contradicted(
    folder: Path, audited: list[Verdict], told: list[Verdict], code: int
) -> None:
    audited += told
    assert main(options(folder)) == code


def test_audit_without_power_says_so(folder: Path, audited: list[Verdict], capfd: pytest.CaptureFixture[str]) -> None:
    audited += [verdict(), verdict(mode="planted", planted=True, p_value=0.5)]
    main(options(folder))
    assert "no power" in capfd.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        {"modes": "few-shot/nothing"},
        {"backbone": "nobody"},
        {"task": "nothing"},
        {"prompt": "nothing-0123456789abcdef"},
        {"sigma": 9.0},
        {"images": Path("/nowhere")},
    ],
)
def test_bad_usage_ends_with_2(folder: Path, wrong: dict[str, object]) -> None:
    assert main(options(folder, **wrong)) == 2

"""`python -m certrad.bench peers` with ART: its environment is made, and what it certifies is what others do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from certrad.bench.common.peer_systems import ART, PUBLISHED
from tests.support.processes import ROOT

pytestmark = pytest.mark.system


def test_art_in_its_own_environment_certifies_the_same_classifier_by_the_same_bound(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "certrad.bench", "peers", "--environment", str(tmp_path / "art")]
    subprocess.run([*command, "--make-environment"], cwd=ROOT, check=True)
    # With so little noise all samples have the class of the image, so that both bounds follow from n alone.
    options = ["--images", "1", "--n0", "10", "--n", "64", "--sigma", "0.02", "--journal", str(tmp_path / "journal")]
    subprocess.run([*command, *options], cwd=ROOT, check=True)
    header, line = (tmp_path / "journal").read_text("utf-8").splitlines()
    assert f"adversarial-robustness-toolbox=={json.loads(header)['art']}" in (
        ROOT / "bench" / "art-requirements.txt"
    ).read_text("utf-8")
    answers = json.loads(line)["answers"]
    assert answers[ART]["class_index"] == answers[PUBLISHED]["class_index"]
    assert answers[ART]["radius"] == pytest.approx(0.02 * stats.norm.ppf(0.001 ** (1 / 64)), rel=1e-9)
    assert answers[PUBLISHED]["radius"] == pytest.approx(answers[ART]["radius"], rel=1e-9)

"""The parts of evidence that the command makes itself where no file gives them: self-test and bill of materials."""

import subprocess
import sys
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from certrad.models.types.selftest import SAMPLES
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.selftest import signed_report, tested
from certrad.workers.settings import StackSettings

_TOOL: Final = "cyclonedx_py"
_OTHERWISE: Final = "run `make sbom` in a checkout, and give `--sbom build/sbom-worker.cdx.json`"
_WORDS: Final = ("requirements", "-", "--spec-version", "1.6", "--output-reproducible", "--validate")


class NotMadeError(Exception):
    """A part cannot be made here; the message says why, and which command makes it."""


def selftest_report(settings: StackSettings, keys: SigningKeys) -> bytes:
    """Tests this machine as `certrad selftest` does, and returns the signed report.

    Raises:
        NotMadeError: The device of the settings is not here.
    """
    try:
        report = tested(settings, SAMPLES, lambda _: None)
    except ValueError as error:
        raise NotMadeError(f"{error}; give the report of `certrad selftest --out FILE` of an engine") from None
    return signed_report(report, keys)


def bill_of_materials() -> bytes:
    """Returns the packages of this environment as a CycloneDX document in JSON, made by the tool of `make sbom`.

    Raises:
        NotMadeError: The tool is not installed, or fails.
    """
    if find_spec(_TOOL) is None:
        raise NotMadeError(f"the package cyclonedx-bom is not installed here: {_OTHERWISE}")
    installed = {f"{each.metadata['Name']}=={each.version}" for each in distributions()}
    own = f"certrad=={version('certrad')}"
    with TemporaryDirectory() as folder:
        project = Path(folder, "pyproject.toml")
        project.write_text(f'[project]\nname = "certrad"\nversion = "{version("certrad")}"\n', "utf-8")
        done = subprocess.run(  # noqa: S603  # a module of this environment, and no word of a user
            [sys.executable, "-m", _TOOL, *_WORDS, "--pyproject", str(project)],
            input="\n".join(sorted(installed - {own})).encode(),
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise NotMadeError(f"cyclonedx-py ended with exit code {done.returncode}: {_OTHERWISE}")
    return done.stdout

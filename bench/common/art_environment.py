"""The environment of the Adversarial Robustness Toolbox, and the process in it that certifies.

The toolbox has requirements of its own, so it is kept apart; torch and the code of certrad are shared by a `.pth` file,
so that both sides load the same classifier with the same kernels and nothing large is fetched twice.
"""

import json
import subprocess
import sys
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

import certrad
from certrad.bench.common.peer_study import Answer, ClassifierChoice
from certrad.bench.common.peer_systems import ART
from certrad.models.types import SmoothingParams

REQUIREMENTS: Final = Path(__file__).parents[1] / "art-requirements.txt"
_PROCESS: Final = "certrad.bench.common.art_process"
_SHARED: Final = "shared_with_certrad.pth"


def python_of(folder: Path) -> Path:
    """Returns the Python of an environment, whether it is there or not.

    Args:
        folder: The folder of the environment.
    """
    return folder / "bin" / "python"


def make_environment(folder: Path) -> None:
    """Makes the environment, and installs the pinned requirements from the package registry.

    Args:
        folder: The folder of the environment.

    Raises:
        subprocess.CalledProcessError: venv or pip failed; what they said is on standard error.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603  # our own Python
    python = str(python_of(folder))
    told = subprocess.run(  # noqa: S603  # the Python made above
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    shared = (Path(torch.__file__).parents[1], Path(certrad.__file__).parents[1])
    (Path(told.strip()) / _SHARED).write_text("".join(f"{path}\n" for path in shared), encoding="utf-8")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", str(REQUIREMENTS)], check=True, stdout=sys.stderr)  # noqa: S603


class Art:
    """The toolbox in its own process; a context manager that ends the process.

    Args:
        folder: The folder of the environment.
        classifier: What is smoothed.
        threads: Threads of torch.
        batch_size: Samples of one batch.

    Raises:
        RuntimeError: The process ended; what it said is on standard error.
    """

    def __init__(self, folder: Path, classifier: ClassifierChoice, *, threads: int, batch_size: int) -> None:
        self._batch_size = batch_size
        self._process = subprocess.Popen(  # noqa: S603  # a Python that was made for this
            [str(python_of(folder)), "-m", _PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.version = str(self._ask({"classifier": asdict(classifier), "threads": threads})["version"])
        except BaseException:  # an interruption, too, must leave no process behind
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`; the seconds are those inside the process, without the pipe."""
        request = {
            "image": b64encode(np.ascontiguousarray(image).tobytes()).decode(),
            "seed": seed,
            "sigma": params.sigma,
            "alpha": params.alpha,
            "n0": params.n0,
            "n": params.n,
            "batch_size": self._batch_size,
        }
        return {ART: Answer(**self._ask(request))}

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process of ART must be joined by pipes")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError("the process of ART ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        with self._process:  # closes the pipes, which ends it, and waits
            pass

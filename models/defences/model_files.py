"""Files of a model that is evaluated: read from a local directory, never from the network, and never by its code."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from certrad.models.backbones.weights import read_tensors
from certrad.models.errors import Rejected


def find_file(directory: Path, names: tuple[str, ...]) -> Path:
    """The first of the names that is a file there; raises `model_unavailable` naming all that were looked for."""
    for name in names:
        if (path := directory / name).is_file():
            return path
    raise Rejected("model_unavailable", f"{' or '.join(names)} is expected in {directory.name!r}, found nothing")


def read_model_config(directory: Path, *names: str) -> dict[str, Any]:
    """The JSON object in the first of these files; raises `model_unavailable` or `invalid_weights`."""
    path = find_file(directory, names)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Rejected("invalid_weights", f"{path.name} is not JSON: {type(error).__name__}") from error
    if not isinstance(config, dict):
        raise Rejected("invalid_weights", f"{path.name} is no JSON object")
    return config


def read_model_tensors(directory: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The named tensors of the first of these files; raises `model_unavailable` or `invalid_weights`."""
    return read_tensors(find_file(directory, names))

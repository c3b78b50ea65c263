"""Files of an evaluated model, read from a local directory; neither the network nor code from the files is used."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from certrad.models.backbones.weights import read_tensors
from certrad.models.errors import Rejected


def find_file(directory: Path, names: tuple[str, ...]) -> Path:
    """Returns the first of the names that is a file in the directory.

    Raises:
        Rejected: model_unavailable, with all the names.
    """
    for name in names:
        if (path := directory / name).is_file():
            return path
    raise Rejected("model_unavailable", f"there is no {' or '.join(names)} in {directory.name!r}")


def read_model_config(directory: Path, *names: str) -> dict[str, Any]:
    """Returns the JSON object in the first of these files.

    Raises:
        Rejected: model_unavailable where none exists; invalid_weights where it is not a JSON object.
    """
    path = find_file(directory, names)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Rejected("invalid_weights", f"{path.name} is not JSON: {type(error).__name__}") from error
    if not isinstance(config, dict):
        raise Rejected("invalid_weights", f"{path.name} is not a JSON object")
    return config


def read_model_tensors(directory: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns the named tensors of the first of these files.

    Raises:
        Rejected: model_unavailable where none exists; invalid_weights where it cannot be read.
    """
    return read_tensors(find_file(directory, names))

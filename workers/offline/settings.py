"""The settings of a command: those of the environment, with the data directory of its own option."""

from pathlib import Path
from typing import TypeVar

from certrad.workers.contract.data_version import require_directory
from certrad.workers.contract.settings import SharedSettings

Settings = TypeVar("Settings", bound=SharedSettings)


def settings_of(kind: type[Settings], data_dir: Path | None) -> Settings:
    """Returns the settings; `data_dir` takes precedence over CERTRAD_DATA_DIR.

    Raises:
        DataVersionError: The data directory is of a version that this release does not know.
    """
    settings = kind() if data_dir is None else kind(data_dir=data_dir)
    require_directory(settings.data_dir)
    return settings

"""Secrets from files: `CERTRAD_X_FILE` names the file that holds the value of a secret setting `CERTRAD_X`."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFIX: Final = "CERTRAD_"
SUFFIX: Final = "_FILE"
MOST_BYTES: Final = 65_536
MOUNTED: Final = Path("/run/secrets")
"""Where containers find their secrets; who else can read a file there is decided by what runs the container."""


def is_secret(field: FieldInfo) -> bool:
    """Returns whether a setting is a secret: its type is `SecretStr`, or that or nothing."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def secret_settings(kind: type[BaseSettings]) -> list[str]:
    """Returns the names of the secrets of a class of settings."""
    return [name for name, field in kind.model_fields.items() if is_secret(field)]


class SecretFileSource(PydanticBaseSettingsSource):
    """Reads the secrets whose files the environment names."""

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str] | None = None) -> None:
        """Prepares to read.

        Args:
            settings_cls: The class of the settings.
            environment: The environment; None for that of this process.
        """
        super().__init__(settings_cls)
        self._environment = os.environ if environment is None else environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Returns the content of the file of one setting, None if it is no secret or no file is named."""
        variable = f"{PREFIX}{field_name.upper()}"
        path = self._environment.get(f"{variable}{SUFFIX}", "")
        if not path or not is_secret(field):
            return None, field_name, False
        if self._environment.get(variable):
            raise ValueError(f"it is set, and {variable}{SUFFIX} too; keep one of them")
        return read_secret(Path(path)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns the secrets that lie in files.

        Raises:
            ValidationError: A file cannot be used, or a secret is given twice; no message holds a secret.
        """
        values, wrong = {}, []
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except ValueError as error:
                wrong.append(
                    InitErrorDetails(
                        type=PydanticCustomError("secret_file", "{reason}", {"reason": str(error)}),
                        loc=(name,),
                        input=None,
                    )
                )
                continue
            if value is not None:
                values[name] = value
        if wrong:
            raise ValidationError.from_exception_data(self.settings_cls.__name__, wrong, hide_input=True)
        return values


def read_secret(path: Path) -> str:
    """Returns the content of a file without the line break at its end.

    Args:
        path: The file.

    Raises:
        ValueError: It cannot be read, is empty or too long, or others than its owner and group can get at it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    if mode & stat.S_IWOTH or (mode & stat.S_IROTH and not path.is_relative_to(MOUNTED)):
        raise ValueError(f"the file {path} must be closed to other users, as by `chmod o= {path}`")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} must be text in UTF-8") from None
    if not text or len(content) > MOST_BYTES:
        raise ValueError(f"the file {path} must hold 1 to {MOST_BYTES} bytes")
    return text

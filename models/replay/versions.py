"""The packages that decide about the labels of a certificate, as it names them and as they are installed here."""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

DECIDING: Final = ("torch", "openvino", "numpy", "open_clip_torch", "transformers")
"""Packages whose other version may round otherwise or draw otherwise."""


def installed_version(name: str) -> str:
    """Returns the version of a package, "none" where it is not installed.

    Args:
        name: Name of its distribution.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def version_warning(stated: Mapping[str, str], installed: Callable[[str], str] = installed_version) -> str | None:
    """Returns what a reader of a replay must know about versions, or None where the stated ones are installed.

    Packages that the document does not name are not compared.

    Args:
        stated: `software` of the document, name -> version.
        installed: Returns the version of a package on this machine.
    """
    found = [
        f"{name} {stated[name]}, this machine has {here}"
        for name in DECIDING
        if name in stated and (here := installed(name)) != stated[name]
    ]
    return f"warning: the document names {'; '.join(found)}: labels may differ for that reason alone" if found else None

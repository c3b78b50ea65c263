"""The file of a calibration: canonical JSON with a signature, read strictly."""

import hashlib
from dataclasses import asdict, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.reader import Reader
from certrad.models.certificates.signature import is_signed, sign
from certrad.models.certificates.strict_json import load
from certrad.models.types.calibration import CalibrationCard, InstalledCalibration, calibration_id

_READER: Final = Reader()


def write_calibration(card: CalibrationCard, key: Ed25519PrivateKey) -> InstalledCalibration:
    """Returns a signed calibration.

    Args:
        card: What it says.
        key: The signing key.
    """
    return read_calibration(canonical(sign(asdict(replace(card, signature=None)), key)))


def read_calibration(content: bytes) -> InstalledCalibration:
    """Returns a calibration from its file; whose signature it has is for the caller to judge.

    Args:
        content: The file.

    Raises:
        ValueError: It is no calibration, or was changed after it was signed.
    """
    document = load(content)
    card: CalibrationCard = _READER.decode(document, CalibrationCard, "calibration")
    if canonical(document) != content:
        raise ValueError("a calibration must be canonical JSON, byte for byte as it was written")
    if not is_signed(document):
        raise ValueError("the calibration is not signed, or was changed after it was signed")
    sha256 = hashlib.sha256(content).hexdigest()
    return InstalledCalibration(
        id=calibration_id(card.name, sha256), sha256=sha256, document=content.decode(), card=card
    )

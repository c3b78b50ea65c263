"""The calibrations of prediction sets on this node, and their way into Redis."""

from pathlib import Path

import structlog
from redis import Redis

from certrad.models.certificates.calibration_card import read_calibration
from certrad.models.errors import Rejected
from certrad.models.files import create_file
from certrad.models.types.calibration import InstalledCalibration
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.contract.keyring import Keyring

_log = structlog.get_logger()


def store(directory: Path, calibration: InstalledCalibration) -> Path:
    """Keeps a calibration in a folder, and returns its file; one that is there already stays as it is.

    Args:
        directory: The folder.
        calibration: The calibration.

    Raises:
        OSError: The disk refuses.
    """
    path = directory / f"{calibration.id}.json"
    create_file(path, calibration.document.encode())
    return path


def read_stored(directory: Path, calibration_id: str) -> InstalledCalibration:
    """Returns a calibration of a folder.

    Args:
        directory: The folder.
        calibration_id: Its id.

    Raises:
        Rejected: calibration_not_found, where there is none of this id that can be read.
    """
    for path in directory.glob("*.json"):
        if path.stem == calibration_id:
            try:
                calibration = read_calibration(path.read_bytes())
            except (OSError, ValueError) as error:
                raise Rejected("calibration_not_found", f"{path.name} cannot be used: {error}") from None
            if calibration.id == calibration_id:
                return calibration
    raise Rejected("calibration_not_found", f"there is no calibration {calibration_id!r} on this machine")


def publish_all(redis: Redis, directory: Path) -> None:
    """Publishes every sound calibration of this node's folder that a key of the installation has signed.

    A damaged one, and one of a stranger, is logged. Intake publishes the keys: until it has, none of them counts, and
    engines try again whenever they publish what they offer.

    Args:
        redis: The job store.
        directory: The folder.
    """
    known = {key.public_key for key in Keyring(redis).signing_keys()}
    for path in sorted(directory.glob("*.json")):
        try:
            calibration = read_stored(directory, path.stem)
            if (signature := calibration.card.signature) is None or signature.public_key not in known:
                raise Rejected("calibration_not_found", f"{path.name} is signed with a key of another installation")
            Calibrations(redis).publish(calibration)
        except Rejected as rejected:
            _log.warning("calibration not published", calibration=path.stem, reason=rejected.detail)

"""The calibrations of prediction sets that are published in Redis; each is read when it is asked for."""

from typing import cast

from redis import Redis

from certrad.models.types.calibration import InstalledCalibration
from certrad.models.types.codec import decode_card, encode_card
from certrad.workers.contract.names import CALIBRATIONS


class Calibrations:
    """Every published calibration, by id."""

    def __init__(self, redis: Redis) -> None:
        """Sets the job store.

        Args:
            redis: The job store.
        """
        self._redis = redis

    def get(self, calibration_id: str) -> InstalledCalibration | None:
        """Returns a calibration; None for one that is unknown or cannot be read.

        Args:
            calibration_id: The id.
        """
        return _readable(calibration_id, cast("bytes | None", self._redis.hget(CALIBRATIONS, calibration_id)))

    def read_all(self) -> list[InstalledCalibration]:
        """Returns every calibration, by id; one that cannot be read hides no other one."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(CALIBRATIONS))
        cards = (_readable(key.decode(), stored[key]) for key in sorted(stored))
        return [card for card in cards if card is not None]

    def publish(self, calibration: InstalledCalibration) -> None:
        """Makes a calibration known to every process; its id is that of its content, so that it never changes.

        Args:
            calibration: The calibration.
        """
        self._redis.hset(CALIBRATIONS, calibration.id, encode_card(calibration))

    def forget(self, calibration_id: str) -> None:
        """Makes a calibration unknown: no new request may name it, and certificates stay."""
        self._redis.hdel(CALIBRATIONS, calibration_id)


def _readable(calibration_id: str, stored: bytes | None) -> InstalledCalibration | None:
    if stored is None:
        return None
    try:
        calibration = decode_card(InstalledCalibration, stored, allow_unknown=True)
    except ValueError:
        return None
    return calibration if calibration.id == calibration_id else None

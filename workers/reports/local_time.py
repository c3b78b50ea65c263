"""The time of a report in the zone of its image."""

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset


def local_time(moment: datetime, source: Dataset) -> datetime:
    """Returns a time in the zone of the image, because one offset holds for all times of a DICOM object.

    An image without an offset gets the zone of the service. The time is one of whole seconds.

    Args:
        moment: The time.
        source: The header of the image, see `read_source`.
    """
    moment = moment.replace(microsecond=0)
    offset = source.get("TimezoneOffsetFromUTC")
    if offset is None:
        return moment
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return moment.astimezone(timezone(ahead if offset[0] == "+" else -ahead))

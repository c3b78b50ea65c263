"""The third step: stores what the outbox holds, until the PACS says that it has it."""

from collections.abc import Mapping
from dataclasses import dataclass

from certrad.workers.pacs.blame import is_down, may_pass
from certrad.workers.pacs.dicomweb import DicomWeb
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.pacs.notes import Notes
from certrad.workers.pacs.outbox import Delivery, Outbox
from certrad.workers.pacs.patience import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivering:
    """Delivers.

    Attributes:
        outbox: What is to be delivered.
        destinations: The DICOMweb roots, by name.
        patience: How long to wait.
        most_attempts: Refusals after which a delivery is put aside.
        notes: Where it writes what happens.
    """

    outbox: Outbox
    destinations: Mapping[str, DicomWeb]
    patience: Patience
    most_attempts: int
    notes: Notes

    def step(self, now: float) -> list[int]:
        """Tries the deliveries that are due.

        Args:
            now: Seconds since 1970.

        Returns:
            The instances of which something has changed.
        """
        changed = []
        left_alone = [name for name in self.outbox.destinations() if self.patience.is_left_alone(_side(name), now)]
        silent: set[str] = set()
        for delivery in self.outbox.due(now, without=left_alone):
            if delivery.destination in silent:
                continue
            if not self._deliver(delivery, now):
                silent.add(delivery.destination)
            changed.append(delivery.instance)
        return changed

    def _deliver(self, delivery: Delivery, now: float) -> bool:
        """Returns whether the destination answered."""
        name = _side(delivery.destination)
        if (content := self.outbox.content(delivery)) is None:  # dropped or delivered since the list was read
            return True
        destination = self.destinations.get(delivery.destination)
        try:
            if destination is None:
                raise ExchangeError("unknown_destination")
            destination.store(content, delivery.sop)
        except ExchangeError as error:
            if destination is None or is_down(error, destination.ask):
                self.outbox.postpone(delivery, due=self.patience.silent(name, now), reason=error.code)
                return False
            self.patience.answered(name)
            put_aside = delivery.attempts + 1 >= self.most_attempts
            wait = self.patience.wait_long if may_pass(error) else self.patience.wait
            self.outbox.refused(delivery, due=now + wait(delivery.attempts), reason=error.code, put_aside=put_aside)
            self.notes.write("delivery refused", delivery=delivery.id, reason=error.code, put_aside=put_aside)
            return True
        self.patience.answered(name)
        self.outbox.delivered(delivery)
        self.notes.write(
            "result stored",
            instance=delivery.sop,
            delivery=delivery.id,
            output=delivery.output,
            destination=delivery.destination,
        )
        return True


def _side(destination: str) -> str:
    return f"store {destination}"

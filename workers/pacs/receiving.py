"""Takes the instances that were pushed: reads their headers in the sandbox, and lets the rules choose among them.

What is still needed follows from the database: a file is deleted when no instance that is not done yet refers to it.
So a kill between any two lines here is repaired by the next step.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certrad.models.errors import Rejected
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.rules import Certify, Rules, decide
from certrad.workers.contract.triggers import is_uid
from certrad.workers.pacs.dicomweb import Attributes, text
from certrad.workers.pacs.header_file import read_element_texts
from certrad.workers.pacs.instances import Instances
from certrad.workers.pacs.notes import Notes
from certrad.workers.pacs.outbox import Outbox
from certrad.workers.pacs.pulls import Pulls
from certrad.workers.pacs.series import NEVER_INPUT, choose, read_series
from certrad.workers.sandbox.child import SandboxError

_STUDY: Final = "0020000D"
_SERIES: Final = "0020000E"
_SOP: Final = "00080018"
_TAGS: Final = {
    _STUDY: "StudyInstanceUID",
    _SERIES: "SeriesInstanceUID",
    _SOP: "SOPInstanceUID",
    "00080060": "Modality",
    "00080070": "Manufacturer",
    "00081010": "StationName",
    "0008103E": "SeriesDescription",
    "00180015": "BodyPartExamined",
    "00200013": "InstanceNumber",
}
_MOST_REQUESTS: Final = 10  # taken in one step, so that other work goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """Takes received instances.

    Attributes:
        spool: Where the API puts them.
        pulls: The table that says what was looked at.
        instances: The instances that were chosen.
        outbox: What was made here, and is never looked at.
        rules: The rules.
        hidden: The folder of which the sandbox opens nothing.
        notes: Where it writes what happens.
    """

    spool: ReceivedSpool
    pulls: Pulls
    instances: Instances
    outbox: Outbox
    rules: Rules
    hidden: Path
    notes: Notes

    def step(self) -> None:
        """Takes requests that are new, and deletes files that are no longer needed."""
        waiting = self.spool.waiting()
        if not waiting:
            return
        taken = [request for request in waiting if self.pulls.is_taken(request)]
        for request in [request for request in waiting if request not in set(taken)][:_MOST_REQUESTS]:
            self._take(request)
            taken.append(request)
        needed = self.instances.received()
        for request in taken:
            for file in self.spool.files(request):
                if file not in needed:
                    self.spool.delete(file)

    def _take(self, request: str) -> None:
        """Looks at one request, series by series; the last thing it does is to note that it is done."""
        found: defaultdict[tuple[str, str], dict[str, tuple[str, Attributes]]] = defaultdict(dict)
        expected = self.spool.study(request)
        for file in self.spool.files(request):
            try:
                item = self._attributes(file)
            except (Rejected, SandboxError) as error:
                self._ignore(getattr(error, "code", "unreadable_image"))
                continue
            uids = study, series, sop = text(item, _STUDY), text(item, _SERIES), text(item, _SOP)
            if not all(map(is_uid, uids)):
                self._ignore("it lacks a UID")
            elif expected not in (None, study):
                self._ignore("it belongs to another study than its address says")
            else:
                self.notes.write("instance received", instance=sop)
                found[study, series][sop] = file, item
        for (study, series), items in found.items():
            self._choose(request, study, series, items)
        self.pulls.take(request)

    def _choose(self, request: str, study: str, series: str, items: dict[str, tuple[str, Attributes]]) -> None:
        pull = self.pulls.add_received(request, study, series)
        seen = read_series([item for _, item in items.values()], self.outbox.is_own)
        if not seen.instances or seen.header.modality.upper() in NEVER_INPUT:
            self._ignore("it holds no image, or only results of this service", pull=pull.id)
            self.pulls.end(pull, "ignored", rule=None, reason="it holds no image, or only results of this service")
            return
        match decide(seen.header, self.rules):
            case Certify(rule=rule):
                handled = self.instances.handled(series, rule)
                chosen = choose(seen.instances, handled, rule.instances, rule.max_instances)
                self.instances.choose(pull, rule, chosen, {sop: file for sop, (file, _) in items.items()})
            case ignored:
                self._ignore(ignored.reason, pull=pull.id, rule=ignored.rule)
                self.pulls.end(pull, "ignored", rule=ignored.rule, reason=ignored.reason)

    def _attributes(self, file: str) -> Attributes:
        texts = read_element_texts(self.spool.read(file), list(_TAGS.values()), hidden=self.hidden)
        return {tag: {"Value": [texts[keyword]]} for tag, keyword in _TAGS.items() if texts[keyword]}

    def _ignore(self, reason: str, *, pull: int | None = None, rule: str | None = None) -> None:
        self.notes.write("series ignored", pull=pull, rule=rule, reason=reason)

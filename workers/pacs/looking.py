"""The first step: looks at the series that triggers name, and lets the rules choose instances."""

from dataclasses import dataclass

from certrad.workers.contract.rules import Certify, Rules, decide
from certrad.workers.pacs.blame import is_down, may_pass
from certrad.workers.pacs.dicomweb import DicomWeb
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.pacs.instances import Instances
from certrad.workers.pacs.notes import PACS, Notes
from certrad.workers.pacs.outbox import Outbox
from certrad.workers.pacs.patience import Patience
from certrad.workers.pacs.pulls import WHOLE_STUDY, Pull, Pulls
from certrad.workers.pacs.series import NEVER_INPUT, choose, read_series


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Looks at series.

    Attributes:
        pulls: The series to look at.
        instances: The instances that were chosen.
        outbox: What was made here, and is never looked at.
        pacs: The PACS.
        rules: The rules.
        patience: Whom to leave alone.
        most_attempts: Refusals after which a series is given up.
        notes: Where it writes what happens.
    """

    pulls: Pulls
    instances: Instances
    outbox: Outbox
    pacs: DicomWeb
    rules: Rules
    patience: Patience
    most_attempts: int
    notes: Notes

    def step(self, now: float) -> list[str]:
        """Looks at the series that are due.

        Args:
            now: Seconds since 1970.

        Returns:
            The triggers of which something has changed.
        """
        changed = []
        for pull in self.pulls.due(now):
            if self.patience.is_left_alone(PACS, now):
                break
            try:
                self._look(pull)
                self.patience.answered(PACS)
            except ExchangeError as error:
                self._put_off(pull, error, now)
            changed.append(pull.trigger_id)
        return changed

    def _put_off(self, pull: Pull, error: ExchangeError, now: float) -> None:
        if is_down(error, self.pacs.ask):
            due = self.patience.silent(PACS, now)
            self.pulls.postpone(pull, due=due, reason=error.code, counts=False)
            return
        self.patience.answered(PACS)
        if pull.attempts + 1 >= self.most_attempts:
            self.pulls.end(pull, "failed", rule=None, reason=error.code)
            self.notes.write("series failed", pull=pull.id, reason=error.code)
        else:
            wait = self.patience.wait_long if may_pass(error) else self.patience.wait
            self.pulls.postpone(pull, due=now + wait(pull.attempts), reason=error.code, counts=True)

    def _look(self, pull: Pull) -> None:
        if pull.series == WHOLE_STUDY:
            found = self.pacs.series_of(pull.study)
            self.notes.write("study queried", pull=pull.id, series=len(found))
            self.pulls.expand(pull, found)
            return
        series = read_series(self.pacs.headers(pull.study, pull.series), self.outbox.is_own)
        self.notes.write("series queried", pull=pull.id, instances=len(series.instances))
        if not series.instances or series.header.modality.upper() in NEVER_INPUT:
            self._ignore(pull, None, "it holds no image, or only results of this service")
            return
        match decide(series.header, self.rules):
            case Certify(rule=rule):
                if pull.told:  # a person may have cured what made them fail
                    self.instances.retry(series=pull.series, rule=rule)
                handled = self.instances.handled(pull.series, rule)
                chosen = choose(series.instances, handled, rule.instances, rule.max_instances)
                self.instances.choose(pull, rule, chosen)
            case ignored:
                self._ignore(pull, ignored.rule, ignored.reason)

    def _ignore(self, pull: Pull, rule: str | None, reason: str) -> None:
        self.pulls.end(pull, "ignored", rule=rule, reason=reason)
        self.notes.write("series ignored", pull=pull.id, rule=rule, reason=reason)

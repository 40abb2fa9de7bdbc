"""Records every request to the emulator."""

from ovx_lite.emulator.fault_rules import current_fault
from ovx_lite.emulator.forwarder import Forwarder
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.journal_entries import journal_entries
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.services.rejected import RejectedEvents


class JournalObserver:
    """The emulator's observer: writes requests to the journal, and hands accepted ones to the forwarder."""

    wants_all = True

    def __init__(self, journal: Journal, rejected: RejectedEvents, forwarder: Forwarder | None) -> None:
        self._journal = journal
        self._rejected = rejected
        self._forwarder = forwarder

    def record(self, outcome: RequestOutcome) -> None:
        """Record a request and its outcome. Preflight requests are not recorded."""
        if outcome.error is not None or any(event.event_type.excluded for event in outcome.events):
            self._rejected.record(outcome)
        if outcome.method == "OPTIONS":
            return
        numbers = self._journal.record(journal_entries(outcome, current_fault.get()))
        if self._forwarder is not None:
            self._forwarder.submit(outcome, numbers)

"""Records every request to the emulator."""

from ovx_lite.emulator.fault_rules import PRESENT
from ovx_lite.emulator.forwarder import Relay
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.journal_entries import told
from ovx_lite.services.observer import Verdict
from ovx_lite.services.rejected import Missing


class JournalObserver:
    """The emulator's observer: writes requests to the journal, and hands accepted ones to the forwarder."""

    everything = True

    def __init__(self, journal: Journal, rejected: Missing, forwarder: Relay | None) -> None:
        self._journal = journal
        self._rejected = rejected
        self._forwarder = forwarder

    def take(self, verdict: Verdict) -> None:
        """Record a request and its outcome. Preflight requests are not recorded."""
        if verdict.error is not None or any(event.kind.excluded for event in verdict.events):
            self._rejected.take(verdict)
        if verdict.method == "OPTIONS":
            return
        numbers = self._journal.put(told(verdict, PRESENT.get()))
        if self._forwarder is not None:
            self._forwarder.take(verdict, numbers)

"""What a check finds: faults and notes, one line each, with a remedy."""

from dataclasses import dataclass, field

from ppo_bbrl.errors import one_line


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an environment, or good to know.

    Attributes:
        topic: what it is about, such as `seed` or `reward`.
        text: what was seen.
        remedy: what to do about it.
        fault: whether it is wrong; otherwise it is a note.
    """

    topic: str
    text: str
    remedy: str
    fault: bool = True

    def __str__(self) -> str:
        kind = "fault" if self.fault else "note "
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{kind} {self.topic}: {self.text}{remedy}").replace(kind.strip(), kind, 1)


@dataclass
class CheckReport:
    """What `check_env` found.

    Attributes:
        name: of the environment.
        findings: in the order in which they were found.
        summary: the episodes that were played, in one line.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    summary: str = ""

    @property
    def faults(self) -> list[Finding]:
        """What is wrong."""
        return [finding for finding in self.findings if finding.fault]

    @property
    def notes(self) -> list[Finding]:
        """What is good to know."""
        return [finding for finding in self.findings if not finding.fault]

    @property
    def ok(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    def fault(self, topic: str, text: str, remedy: str = "") -> None:
        """Add a fault; of several with the same topic and remedy only the first is kept."""
        self._add(Finding(topic, text, remedy))

    def note(self, topic: str, text: str, remedy: str = "") -> None:
        """Add a note."""
        self._add(Finding(topic, text, remedy, fault=False))

    def about(self, *topics: str) -> bool:
        """Whether there is a fault with one of these topics."""
        return any(finding.topic in topics for finding in self.faults)

    def _add(self, finding: Finding) -> None:
        known = {(one.topic, one.remedy or one.text) for one in self.findings}
        if (finding.topic, finding.remedy or finding.text) not in known:
            self.findings.append(finding)

    def __str__(self) -> str:
        n = len(self.faults)
        end = "no faults" if not n else "1 fault" if n == 1 else f"{n} faults"
        ordered = [*self.faults, *self.notes]
        return "\n".join([f"{self.name}: {self.summary}{end}", *map(str, ordered)])

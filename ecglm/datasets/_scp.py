"""SCP-ECG statements and the classes that PTB-XL's benchmark makes of them (Strodthoff et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
LABELS = ("superclass", "subclass", "form", "rhythm", "all")


@dataclass(frozen=True)
class Statement:
    """One SCP-ECG statement: its code, its English description and its classes.

    Args:
        code: as PTB-XL writes it ("NST_").
        description: in English.
        superclass: of a diagnostic statement, else None.
        subclass: likewise.
        form: whether it describes the form of the curve.
        rhythm: whether it describes the rhythm.
    """

    code: str
    description: str
    superclass: str | None
    subclass: str | None
    form: bool
    rhythm: bool

    def class_in(self, labels: str) -> str | None:
        """Its class in a labelling, without the underscores that pad codes; None where it has none."""
        if labels in ("superclass", "subclass"):
            name = getattr(self, labels)
            return name.strip("_") if name else None
        return self.code.strip("_") if labels == "all" or getattr(self, labels) else None

    def counts(self, likelihood: float, labels: str, min_likelihood: float) -> bool:
        """Whether it counts at a likelihood; form and rhythm statements have none that could be judged."""
        judged = labels in ("superclass", "subclass") or labels == "all" and not (self.form or self.rhythm)
        return likelihood >= min_likelihood or not judged


def class_names(table: Mapping[str, Statement], labels: str) -> list[str]:
    """The classes of a labelling: superclasses as the field lists them, the others in the table's order."""
    if labels == "superclass":
        return list(SUPERCLASSES)
    statements = list(table.values())
    if labels == "subclass":
        statements.sort(key=lambda each: SUPERCLASSES.index(each.superclass) if each.superclass else -1)
    return list(dict.fromkeys(name for each in statements if (name := each.class_in(labels))))


def counted(
    codes: Mapping[str, float], table: Mapping[str, Statement], labels: str, min_likelihood: float
) -> list[Statement]:
    """The statements of one record that count in a labelling, in the record's order; unknown codes do not."""
    known = ((table[code], likelihood) for code, likelihood in codes.items() if code in table)
    return [each for each, likelihood in known if each.counts(likelihood, labels, min_likelihood)]

"""What should make a reader doubt the data: leaks, missing labels, small splits."""

from affinity.audit import Audit
from affinity.words import count

from .alert import Alert, Severity

FEWEST_ROWS = 200


def alerts_of_data(audit: Audit) -> list[Alert]:
    """Of what was noticed when the rows were read and drawn."""
    notes = audit.context.notes
    found = [Alert(_severity(note), "About the data", note) for note in notes]
    for part, amount in audit.context.rows.items():
        if amount < FEWEST_ROWS:
            found.append(
                Alert(
                    "warning",
                    f"The {part} split is small",
                    f"{count(amount, 'row')}: differences on so few rows are mostly chance.",
                )
            )
    return found


def _severity(note: str) -> Severity:
    return (
        "warning"
        if any(word in note.lower() for word in ("leak", "gives", "missing", "no verdict", "few"))
        else "note"
    )

"""An audit as a JUnit file: one test case per task, failed if the plan harms it."""

import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from affinity.audit import Audit
from affinity.files import write_atomically


def write_junit(audit: Audit, path: Path) -> Path:
    """Write the file; *harmful* is a failure, *undecided* is skipped."""
    suite = Xml.Element("testsuite", name=_text(f"affinity: {audit.problem}"))
    counts = {"tests": 0, "failures": 0, "skipped": 0}
    for task, verdict in audit.verdicts.items():
        counts["tests"] += 1
        case = Xml.SubElement(suite, "testcase", classname="affinity", name=_text(task))
        result = (
            f"{verdict.verdict}: gain {verdict.gain:+.4f} over a separate network, 95 % interval "
            f"from {verdict.low:+.4f} to {verdict.high:+.4f}"
        )
        if verdict.verdict == "harmful":
            counts["failures"] += 1
            Xml.SubElement(case, "failure", message=result)
        elif verdict.verdict == "undecided":
            counts["skipped"] += 1
            Xml.SubElement(case, "skipped", message=result)
        else:
            Xml.SubElement(case, "system-out").text = result
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    return write_atomically(path, Xml.tostring(suite, encoding="utf-8", xml_declaration=True))


def _text(name: str) -> str:
    """XML allows no control characters, not even escaped."""
    return re.sub(
        r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", name
    )

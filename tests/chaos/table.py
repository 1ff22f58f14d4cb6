"""The table of docs/reliability.md."""

from dataclasses import dataclass, field
from pathlib import Path

HEAD = (
    "what happens",
    "requests",
    "lost",
    "502, 503, 504, or cut by the pod",
    "p99 before",
    "p99 during",
    "recovered after",
)
BEGIN, END = "<!-- measured by make test-chaos -->\n", "<!-- end -->\n"
"""Comments around it."""


@dataclass
class Table:
    """Rows as they come. Times in seconds; None where there is nothing to measure."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(
        self,
        what: str,
        requests: int,
        lost: int,
        answered: int = 0,
        before: float | None = None,
        during: float | None = None,
        recovered: float | None = None,
    ) -> None:
        """`lost`: requests without an answer, with a wrong one, or answered later than timeouts allow. `answered`: with
        a status that says what is wrong, or cut by the endpoint itself. p99 is that of other hosts, in the same run."""
        self.rows.append(
            (what, f"{requests:,}", str(lost), str(answered), _ms(before), _ms(during), _seconds(recovered))
        )

    def text(self) -> str:
        """As Markdown."""
        lines = [HEAD, tuple("---" for _ in HEAD), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

    def write(self, page: Path) -> None:
        """Puts it between BEGIN and END of a page."""
        before, begin, rest = page.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        assert begin, f"{page} has no place for the table"
        assert end, f"{page} has no end of the place for the table"
        page.write_text(f"{before}{begin}\n{self.text()}\n\n{end}{after}")


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"

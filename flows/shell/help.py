"""How a command tells what it can do: plain text, options under headings, examples at the end."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

OPTIONS = "Options"


class PlainCommand(TyperCommand):
    """A command whose help groups options under the headings that they name as their `rich_help_panel`.

    Typer's own boxes cut long option names short.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options without a heading, then each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], OPTIONS: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            is_argument = parameter.param_type_name == "argument"
            heading = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or OPTIONS
            if record is not None:
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def examples(*lines: str, notes: Sequence[str] = ()) -> str:
    """Write the end of a command's help: one example a line, then paragraphs of notes."""
    told = "\n".join(f"  {line}" for line in lines)
    return "\n\n".join([f"\b\nExamples:\n{told}", *notes])

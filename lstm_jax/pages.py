"""Pages of documentation made from constructors: their docstrings, signatures and files."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lstm_jax.spec import options_of


class Description(NamedTuple):
    """What a docstring says.

    Attributes:
      summary: name and sources, in a line.
      equations: the literal blocks between the summary and the arguments, with the text between.
      arguments: by name, in a line each.
    """

    summary: str
    body: str
    arguments: dict[str, str]


def described(constructor: Callable) -> Description:
    """Reads a constructor's docstring, as far as it has these parts."""
    text, _, sections = (inspect.getdoc(constructor) or "").partition("\nArgs:\n")
    text = re.split(r"\n(?:Raises|Returns):\n", text)[0]
    head, _, body = text.partition("::\n")
    listed = re.split(r"\n\S", sections, maxsplit=1)[0]
    arguments = {
        name: " ".join(words.split())
        for name, words in re.findall(
            r"^  (\w+): (.*?)(?=^  \w+: |\Z)", listed, flags=re.MULTILINE | re.DOTALL
        )
    }
    return Description(" ".join(head.split()), body.strip("\n"), arguments)


def table(rows: Iterable[tuple]) -> list[str]:
    """Lines of a Markdown table; the first row is the head, the second the rule."""
    return [f"| {' | '.join(map(str, row))} |" for row in rows]


def section(name: str, constructor: Callable, *facts: str) -> list[str]:
    """Lines on one constructor: sources, equations or layout, options, `facts`, its file."""
    words = described(constructor)
    source = constructor.__module__.replace(".", "/") + ".py"
    lines = [f"## {name}", "", f"{words.summary}.", ""]
    # Literal blocks are indented in docstrings, text is not.
    for block in re.split(r"\n\n(?=\S)|(?<=\S)\n\n(?=    )", words.body):
        if block.startswith("    "):
            lines += ["```", inspect.cleandoc("\n" + block), "```", ""]
        else:
            lines += [block.strip().removesuffix("::") + (":" if block.endswith("::") else ""), ""]
    options = options_of(constructor)
    if options:
        rows = [("option", "default", "what it is"), ("---", "---", "---")]
        for option, (_, default) in options.items():
            shown = str(default).lower() if default in (None, True, False) else default
            what = words.arguments.get(option, "").replace("|", "\\|")
            rows.append((f"`{option}`", f"`{shown}`", what))
        lines += [*table(rows), ""]
    lines += [line for fact in facts for line in (fact, "")]
    return [*lines, f"Code: [`{source}`](../{source})", ""]

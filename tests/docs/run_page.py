"""Run the code of a page of the documentation, from the first block to the last, in the current directory.

    python run_page.py PAGE [NEED ...]

``python`` blocks share one namespace; what one prints must be what the ``text`` block right after it says, with what
is logged or without. Of ``console`` blocks the lines ``$ command`` (``> `` goes on) are run by bash, and the others are
what they print. Numbers, names of records and white space may differ; a line ``...`` stands for any lines.

The line before a block may say more of it: ``<!-- needs: NEED -->`` leaves it out unless NEED is given,
``<!-- exit: N -->`` is the exit code to come, ``<!-- not run: REASON -->`` leaves it out.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import types
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

_REMARK = re.compile(r"<!--\s*(needs|exit|not run):\s*(.*?)\s*-->")
_RECORD = re.compile(r"\d{8}T\d{6}Z-\w{6}")
_NUMBER = re.compile(r"\d+(?:[.:]\d+)*")


class Block(NamedTuple):
    """A block of code: its language, its first line in the page, and what the line before says of it."""

    language: str
    code: str
    line: int
    remarks: dict[str, str]


def blocks_of(page: Path) -> Iterator[Block]:
    """Give the blocks of code of a page, in order."""
    remarks: dict[str, str] = {}
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            remarks = dict(_REMARK.findall(token.content))
        elif token.type == "fence":
            first = token.map[0] + 1 if token.map else 0
            yield Block(token.info.split(" ")[0], token.content, first, remarks)
            remarks = {}
        elif token.nesting >= 0:
            remarks = {}


def commands_of(code: str) -> str:
    """Give the commands of a session without what they print."""
    return "".join(line[2:] + "\n" for line in code.splitlines() if line.startswith(("$ ", "> ")))


def output_of(code: str) -> str:
    """Give what the commands of a session print."""
    return "".join(line + "\n" for line in code.splitlines() if not line.startswith(("$ ", "> ")))


def is_as_said(printed: str, said: str) -> bool:
    """Whether what was printed is what the page says, but for what differs from run to run."""
    wanted = (r"(?:.*\n)*" if line == "..." else re.escape(f"{line}\n") for line in _plain_lines(said))
    return re.fullmatch("".join(wanted), "".join(f"{line}\n" for line in _plain_lines(printed))) is not None


def _plain_lines(text: str) -> list[str]:
    """Give the lines that are not blank, without what differs from run to run."""
    lines = (" ".join(_NUMBER.sub("0", _RECORD.sub("RECORD", line)).split()) for line in text.splitlines())
    return [line for line in lines if line]


def run_page(page: Path, needs: Collection[str]) -> None:
    """Run the blocks; what goes wrong is raised, with the page and the line."""
    main = types.ModuleType("__main__")  # as in a script: what is pickled is looked for there
    sys.modules["__main__"] = main
    for block, after in pairwise([*blocks_of(page), Block("", "", 0, {})]):
        is_left_out = "not run" in block.remarks or block.remarks.get("needs", "") not in ("", *needs)
        if is_left_out:
            continue
        if block.language == "python":
            printed, *all_of_it = _run_python(block, page, main)
            said = after.code if after.language == "text" else ""
        elif block.language == "console":
            printed, *all_of_it = [_run_session(block, page)]
            said = output_of(block.code)
        else:
            continue
        if printed and said and not any(is_as_said(text, said) for text in (printed, *all_of_it)):
            raise SystemExit(f"{page}:{block.line}: printed was\n{printed}\nwhere the page says\n{said}")


class _Both(io.StringIO):
    """Writes to another one as well."""

    def __init__(self, other: io.StringIO) -> None:
        super().__init__()
        self.other = other

    def write(self, text: str) -> int:
        """Write to both."""
        self.other.write(text)
        return super().write(text)


def _run_python(block: Block, page: Path, main: types.ModuleType) -> tuple[str, str]:
    """Give what the block prints, without what it logs and with it."""
    with contextlib.redirect_stderr(io.StringIO()) as both, contextlib.redirect_stdout(_Both(both)) as printed:
        exec(compile("\n" * block.line + block.code, page, "exec"), vars(main))
    return printed.getvalue(), both.getvalue()


def _run_session(block: Block, page: Path) -> str:
    session = ["bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{commands_of(block.code)}"]
    ended = subprocess.run(session, stdout=subprocess.PIPE, text=True, check=False)
    wanted = int(block.remarks.get("exit", "0"))
    if ended.returncode != wanted:
        what = f"exit code {ended.returncode} instead of {wanted} of\n{block.code}\n{ended.stdout}"
        raise SystemExit(f"{page}:{block.line}: {what}")
    return ended.stdout


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), sys.argv[2:])

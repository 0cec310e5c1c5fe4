"""The code in README, CONTRIBUTING and docs runs as written.

A page is one session in an empty folder, from top to bottom: its python blocks share their names, and the lines
``$ landform ...`` of its console blocks run in between, where they stand. A block right below the comment
``<!-- no-run -->`` is shown only (say on the page why).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not {"_build", "_api"} & set(page.relative_to(ROOT).parts)
]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<language>[\w+-]*)")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the line its first line of code stands on (from 1), and its code."""

    language: str
    line: int
    code: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page that are to be run, in order."""
    found: list[Block] = []
    opened: tuple[str, str, int] | None = None  # the ticks, the language, the line of the fence
    skip = False
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if opened is None:
            if fence := FENCE.match(line):
                opened = fence["ticks"], fence["language"], number
                body, indent = [], len(fence["indent"])
            elif line.strip():
                skip = line.strip() == "<!-- no-run -->"
        elif line.strip() == opened[0]:
            if not skip:
                found.append(Block(opened[1], opened[2] + 1, "\n".join(body) + "\n"))
            opened, skip = None, False
        else:
            body.append(line[indent:])
    if opened is not None:
        raise ValueError(f"the block that line {opened[2]} opens is never closed")
    return found


def commands(code: str) -> list[list[str]]:
    """The lines ``$ landform ...`` of a console block, each as its list of arguments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line[2:], comments=True)[1:] for line in lines if re.match(r"\$ landform\b", line)]


def run(page: Path) -> int:
    """Run a page, in the folder we are in; returns how many blocks and commands ran."""
    session: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            # Blank lines before it, so that a failure names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), session)
            ran += 1
        elif block.language in {"console", "bash"}:
            for arguments in commands(block.code):
                landform = Path(sysconfig.get_path("scripts")) / "landform"
                done = subprocess.run([landform, *arguments], capture_output=True, text=True, check=False)
                said = f"{page.name}: landform {shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
                assert done.returncode == 0, said
                ran += 1
    return ran


# Pages that run a whole study or every command: the tests of studies and commands cover them in less time, so
# `make test-slow` runs these.
LONG = {
    f"{name}.md"
    for name in ("adversarial-kernel", "adversarial-landscape", "command-line", "deep-vs-kernel", "emergent-geometry",
                 "federated-study", "merging-files", "merging-study", "needle-study", "quantum-study",
                 "recurrent-study", "surface", "taxonomy-study", "wedges-study")
}  # fmt: skip


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in LONG else []) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)


def test_blocks_run_in_order_and_share_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\ntext\n  ```python\n  assert a == 1\n  b = 2\n  ```\n", encoding="utf-8")
    assert run(page) == 2
    page.write_text("```python\nassert a == 1\n```\n", encoding="utf-8")
    with pytest.raises(NameError):  # another page knows nothing of it
        run(page)


def test_a_block_that_fails_names_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as failure:
        run(page)
    assert failure.traceback[-1].lineno + 1 == 5


def test_only_marked_blocks_are_left_out() -> None:
    text = "<!-- no-run -->\n\n```python\n1 / 0\n```\n```python\nx = 1\n```\n```toml\na = 1\n```\n"
    assert [(block.language, block.line) for block in blocks(text)] == [("python", 7), ("toml", 10)]
    with pytest.raises(ValueError, match="line 1"):
        blocks("```python\nx = 1\n")


def test_commands_of_a_console_block() -> None:
    code = "$ landform train --lr 0.1 \\\n    --out 'runs/a b'  # a comment\nan answer\n$ make demo\n$ landformer x\n"
    assert commands(code) == [["train", "--lr", "0.1", "--out", "runs/a b"]]

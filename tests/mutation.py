"""Mutants: the package with one small fault in it, and whether the tests notice.

A test that cannot fail proves nothing. Here expressions of the numerical rooms are changed one at a time (a sign, a
comparison, a constant, a call left out), and the tests that run through the changed line are run against the changed
package. A mutant that no test notices has *survived*: a test is missing, or the change makes no difference that counts.

    make mutants                                  # coverage of every test first, then 60 mutants of each room
    python tests/mutation.py --rooms paths --each 200 --seed 1
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "landform"
ROOMS = ("curvature", "kernel", "paths", "merging")
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
RENAMED = {
    pair[i]: pair[1 - i]
    for pair in (
        ("min", "max"),
        ("amin", "amax"),
        ("argmin", "argmax"),
        ("any", "all"),
        ("sum", "mean"),
        ("ceil", "floor"),
    )
    for i in (0, 1)
}
SECONDS = 45.0  # of tests for one mutant, the quickest first


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, and what becomes of what."""

    file: str
    line: int
    before: str
    after: str
    number: int  # of the change, in the order in which they are found in the file


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node that can be changed, and what it is changed to; only what runs and is no wording counts."""
    for node in _that_count(tree):
        after = copy.deepcopy(node)
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPPED:
            after.op = SWAPPED[type(node.op)]()  # type: ignore[attr-defined]
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            after.ops[0] = SWAPPED[type(node.ops[0])]()  # type: ignore[attr-defined]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            after = after.operand  # type: ignore[attr-defined]
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            after.value = not node.value  # type: ignore[attr-defined]
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            after.value = node.value + 1 if type(node.value) is int else node.value * 2 or 1.0  # type: ignore[attr-defined]
        elif isinstance(node, ast.Attribute) and node.attr in RENAMED:
            after.attr = RENAMED[node.attr]  # type: ignore[attr-defined]
        elif isinstance(node, ast.Name) and node.id in RENAMED:
            after.id = RENAMED[node.id]  # type: ignore[attr-defined]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            after = ast.Pass()
        else:
            continue
        yield node, after


def _that_count(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] in ("BadInput", "warn"):
            continue
        yield child
        if isinstance(child, ast.FunctionDef):  # neither annotations nor decorators
            child = ast.Module([*child.args.defaults, *filter(None, child.args.kw_defaults), *child.body], [])  # type: ignore[list-item]
        elif isinstance(child, ast.AnnAssign):
            child = ast.Module([child.value] if child.value else [], [])  # type: ignore[list-item]
        yield from _that_count(child)


def mutants_of(file: Path) -> list[Mutant]:
    """Every mutant of a file."""
    found = changes(ast.parse(file.read_text()))
    name = str(file.relative_to(PACKAGE))
    return [
        Mutant(name, before.lineno, ast.unparse(before), ast.unparse(after), number)  # type: ignore[attr-defined]
        for number, (before, after) in enumerate(found)
    ]


def mutated(mutant: Mutant) -> str:
    """The file's text with that one change."""
    tree = ast.parse((PACKAGE / mutant.file).read_text())
    before, after = list(changes(tree))[mutant.number]

    class Change(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(after, before) if node is before else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Change().visit(tree)))


def seconds_of(report: Path) -> dict[str, float]:
    """How long every test took, by its name."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.attrib["classname"].replace(".", "/") + ".py"
        found[f"{file}::{case.attrib['name']}"] = float(case.attrib["time"])
    return found


def tests_of(mutant: Mutant, seen: coverage.CoverageData, seconds: dict[str, float]) -> list[str]:
    """The tests that run through the mutant's line, the quickest first, `SECONDS` of them."""
    lines = seen.contexts_by_lineno(str(PACKAGE / mutant.file))
    contexts = {context.partition("|")[0] for context in lines.get(mutant.line, [])} - {""}
    if not contexts:  # what runs at import alone: whatever runs through the file at all
        contexts = {context.partition("|")[0] for each in lines.values() for context in each} - {""}
    chosen, spent = [], 0.0
    # Those of the room itself first: they look at its numbers.
    room = mutant.file.partition("/")[0]
    for test in sorted(contexts & set(seconds), key=lambda test: (f"tests/{room}/" not in test, seconds[test])):
        spent += seconds[test]
        if chosen and spent > SECONDS:
            break
        chosen.append(test)
    return chosen


def verdict(mutant: Mutant, tests: list[str], place: Path) -> str:
    """``killed``, ``survived`` or ``no test``."""
    if not tests:
        return "no test"
    target = place / "landform" / mutant.file
    target.write_text(mutated(mutant))
    (place / "tests").write_text("\n".join(tests))
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"@{place / 'tests'}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60 + 4 * SECONDS,
        ).returncode
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        shutil.copyfile(PACKAGE / mutant.file, target)
    return "survived" if ended == 0 else "killed"


def main() -> None:
    """Make mutants, run their tests, tell what survived."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rooms", nargs="+", default=list(ROOMS))
    asked.add_argument("--each", type=int, default=60, help="mutants of each room, drawn by chance")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--coverage", type=Path, default=ROOT / ".coverage", help="with the tests as contexts")
    asked.add_argument("--durations", type=Path, default=ROOT / ".coverage.xml", help="the tests' report, as JUnit's")
    asked.add_argument("--out", type=Path, default=ROOT / "mutants.jsonl", help="those noticed there are not run again")
    asked.add_argument("--workers", type=int, default=2)
    of = asked.parse_args()
    seen = coverage.CoverageData(str(of.coverage))
    seen.read()
    seconds = seconds_of(of.durations)
    known: dict[Mutant, str] = {}
    if of.out.exists():
        for line in of.out.read_text().splitlines():
            entry = json.loads(line)
            known[Mutant(**entry["mutant"])] = entry["verdict"]
    chosen: list[Mutant] = []
    for room in of.rooms:
        every = [mutant for file in sorted((PACKAGE / room).rglob("*.py")) for mutant in mutants_of(file)]
        chosen += random.Random(of.seed).sample(every, min(of.each, len(every)))
        print(f"{room}: {len(every)} mutants, {min(of.each, len(every))} of them are tried", flush=True)
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in chosen:
        if known.get(mutant) != "killed":  # those that survived are tried again: a test may have been written since
            waiting.put(mutant)
    writing = threading.Lock()

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(PACKAGE, Path(folder) / "landform", ignore=shutil.ignore_patterns("__pycache__"))
            while True:
                try:
                    mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                found = verdict(mutant, tests_of(mutant, seen, seconds), Path(folder))
                with writing, of.out.open("a") as file:
                    known[mutant] = found
                    file.write(json.dumps({"mutant": asdict(mutant), "verdict": found}) + "\n")
                    if found != "killed":
                        print(f"{found}: {mutant.file}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(of.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for room in of.rooms:
        count = Counter(known[mutant] for mutant in chosen if mutant.file.startswith(f"{room}/"))
        noticed, tried = count["killed"], sum(count.values())
        print(f"{room}: {noticed} of {tried} noticed, {count['survived']} survived, {count['no test']} without a test")


if __name__ == "__main__":
    main()

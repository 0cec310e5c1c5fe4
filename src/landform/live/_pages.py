"""The pages that are served: the folder, a run, runs side by side."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from landform.engine import duration
from landform.errors import BadInput, try_import
from landform.live._folder import Found, fingerprint
from landform.live._runs import Runs
from landform.live._standing import Standing
from landform.report._facts import number

if TYPE_CHECKING:
    import jinja2

# Pages kept, of a few hundred kilobytes each; and runs that are set side by side.
_KEPT, _SIDE_BY_SIDE = 16, 12
_SCRIPT = "text/javascript; charset=utf-8"
# How many settings in which the runs differ are told with each.
_TOLD = 4
# Size of a line in a row of the table.
_WIDE, _HIGH = 96, 24


@dataclass(frozen=True)
class Page:
    """Something to be sent.

    Attributes:
        content: the bytes.
        kind: their media type.
        tag: another one whenever the content is another one.
    """

    content: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, text: str | bytes, kind: str = "text/html; charset=utf-8") -> Page:
        """Take a text.

        Args:
            text: the content.
            kind: its media type.

        Returns:
            The page.
        """
        # A name on disk that is no text has surrogates in it, which no browser could show.
        content = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        return cls(content, kind, blake2b(content, digest_size=12).hexdigest())


class Pages:
    """Makes pages of what a folder holds, and keeps those that took work until the runs change."""

    def __init__(self, runs: Runs, every: float) -> None:
        """Take a folder.

        Args:
            runs: what it holds.
            every: seconds after which an open page asks for what is new.

        Raises:
            BadInput: when the ``report`` extra is not installed.
        """
        for module in ("jinja2", "plotly", "matplotlib"):
            if find_spec(module) is None:  # not imported before they are needed
                try_import(module, "report")
        self.runs, self._every = runs, every
        self._kept: OrderedDict[tuple[str, ...], tuple[str, Page]] = OrderedDict()
        self._last: tuple[Any, list[Standing], Page] | None = None
        self._making = threading.Lock()

    def overview(self, chosen: Sequence[str] = ()) -> Page:
        """The page of the folder.

        Args:
            chosen: names that are ticked.

        Returns:
            The page; lines that were not read yet are drawn when it asks for its rows.
        """
        return Page.of(self._fill("runs.html", **self._folder(chosen, self.runs.look(lines=False))))

    def warm(self) -> None:
        """Read what the page of the folder needs; what goes wrong shows when somebody asks for it."""
        with suppress(Exception):
            self.overview()

    def rows(self) -> Page:
        """What the page of the folder shows anew.

        Returns:
            A piece of HTML.
        """
        every = self.runs.look(lines=True)
        if self._last is None:  # the first page stands: what the first report needs takes a second to load
            threading.Thread(target=import_module, args=("landform.report._page",)).start()
        listing = self.runs.listing()
        names = ([(each.name, each.parent) for each in listing.found.values()], listing.left_out)
        last = self._last
        # What has not changed is the same object as before.
        if last is None or last[0] != names or [*map(id, last[1])] != [*map(id, every)]:
            last = names, every, Page.of(self._fill("rows.html", **self._folder((), every)))
            self._last = last
        return last[2]

    def show(self, names: Sequence[str]) -> Page:
        """The page around a report or a comparison.

        Args:
            names: of one run, or of those to be set side by side.

        Returns:
            The page.

        Raises:
            BadInput: when there is no such run, or there are too many.
        """
        return Page.of(self._fill("show.html", **self._shown(names)))

    def bar(self, names: Sequence[str]) -> Page:
        """What the page around a report shows anew.

        Args:
            names: as for `show`.

        Returns:
            A piece of HTML.
        """
        return Page.of(self._fill("bar.html", **self._shown(names)))

    def content(self, names: Sequence[str]) -> Page:
        """The report about one run or study, or the comparison of several runs; made anew when they have changed.

        Args:
            names: as for `show`.

        Returns:
            The page.
        """
        every = self._named(names)
        mark = self._mark(every)
        key = tuple(each.name for each in every)
        with self._making:
            kept = self._kept.get(key)
            if kept is not None and kept[0] == mark:
                self._kept.move_to_end(key)
                return kept[1]
            try:
                page = Page.of(self._made(every))
            except BadInput as why:  # nothing recorded yet, say: that will change
                return self.sentence(str(why))
            self._kept[key] = mark, page
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return page

    def sentence(self, text: str) -> Page:
        """A page of one sentence.

        Args:
            text: the sentence.

        Returns:
            The page.
        """
        return Page.of(self._fill("sentence.html", text=text))

    def asset(self, name: str) -> Page:
        """A file that pages load.

        Args:
            name: ``live.css``, ``live.js`` or ``plotly.js``.

        Returns:
            The file.
        """
        return self._plotly if name == "plotly.js" else self._own[name]

    @cached_property
    def _own(self) -> dict[str, Page]:
        kinds = {"live.css": "text/css; charset=utf-8", "live.js": _SCRIPT}
        read = files("landform.live")
        return {name: Page.of(read.joinpath(name).read_bytes(), kind) for name, kind in kinds.items()}

    @cached_property
    def _plotly(self) -> Page:
        return Page.of(self._library, _SCRIPT)

    @cached_property
    def _library(self) -> str:
        """The source of plotly.js as reports have it inside."""
        from landform.report._page import _library

        return _library()

    def _made(self, every: Sequence[Found]) -> str:
        from landform.report import compare, report

        with tempfile.TemporaryDirectory(prefix="landform-") as folder:
            path = Path(folder) / "compare.html"
            if len(every) == 1:
                text = report(every[0].folder, path).read_text(encoding="utf-8")
            else:
                # By short paths: they tell apart what has one name.
                text = compare([_short(each.folder) for each in every], path).read_text(encoding="utf-8")
            text = text.replace(f"--out {path}", "--out compare.html")
        # Sent once for all pages, where a report of its own has to bring it.
        return text.replace(f"<script>{self._library}</script>", '<script src="plotly.js"></script>', 1)

    def _named(self, names: Sequence[str]) -> list[Found]:
        if not names:
            raise BadInput("No run is named: choose one, or several, in the list of runs.")
        every = [self.runs.find(name) for name in dict.fromkeys(names)]
        if len(every) > _SIDE_BY_SIDE:
            raise BadInput(f"{len(every)} runs do not fit side by side: choose {_SIDE_BY_SIDE} at most.")
        for each in every:
            if each.kind == "sweep":
                raise BadInput(f"{each.name} is a sweep, of which there is no page: its table is its table.csv.")
            if each.kind == "study" and len(every) > 1:
                raise BadInput(f"{each.name} is a study: only runs can be set side by side.")
        return every

    def _mark(self, every: Sequence[Found]) -> str:
        return "-".join(fingerprint(each.folder, self.runs.root) for each in every)

    def _shown(self, names: Sequence[str]) -> dict[str, Any]:
        every = self._named(names)
        return {
            "rows": [_row(self.runs.stand(each.name)) for each in every],
            "children": [(name, _link(name)) for name in self.runs.children(every[0].name)] if len(every) == 1 else [],
            "query": _query([each.name for each in every]),
            "mark": self._mark(every),
        }

    def _folder(self, chosen: Sequence[str], every: Sequence[Standing]) -> dict[str, Any]:
        children: dict[str | None, int] = {}
        for each in self.runs.listing().found.values():
            children[each.parent] = children.get(each.parent, 0) + 1
        chosen_by = _differing(every)
        return {
            "rows": [
                {
                    **_row(each),
                    "children": children.get(each.found.name, 0),
                    "by": ", ".join(f"{name} {each.settings[name]}" for name in chosen_by if name in each.settings),
                }
                for each in every
            ],
            "folder": str(self.runs.root),
            "title": self.runs.root.name or str(self.runs.root),
            "left_out": _few(self.runs.listing().left_out),
            "chosen": set(chosen),
            "counts": _counts(every),
        }

    def _fill(self, template: str, **what: Any) -> str:
        return self._environment.get_template(template).render(what, every=round(1000 * self._every))

    @cached_property
    def _environment(self) -> jinja2.Environment:
        import jinja2

        def read(name: str) -> str:
            return files("landform.live").joinpath(name).read_text(encoding="utf-8")

        return jinja2.Environment(
            loader=jinja2.FunctionLoader(read),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )


def _row(now: Standing) -> dict[str, Any]:
    """What the pages say of one run, as texts."""
    error, loss = (_of(now, quantity) for quantity in ("error", "loss"))
    return {
        "name": now.found.name if now.found.name != "." else now.found.folder.name,
        "key": now.found.name,
        "kind": now.found.kind,
        "link": None if now.found.kind == "sweep" else _link(now.found.name),
        "state": "diverged" if now.diverged else now.state,
        "going": now.going,
        "what": now.what,
        "note": now.note,
        "epoch": number(now.epoch) if now.records else "",
        "until": "" if now.until is None else number(now.until),
        "share": 0 if not now.until else min(100, round(100 * now.epoch / now.until)),
        "left": "" if now.left is None else f"about {duration(now.left)} left",
        "records": now.records,
        "loss": "" if now.loss is None else number(now.loss),
        "set_loss": "" if loss is None else number(loss),
        "set_error": "" if error is None else f"{error:.2%}",
        "results": now.results,
        "changed": round(now.changed, 1),
        "line": _points(now.line),
        "exact_error": "" if error is None else f"{error:.6g}",
    }


def _of(now: Standing, quantity: str) -> float | None:
    """The last value of a quantity, on the test set if there is one."""
    found = {name: value for name, value in now.measured.items() if name.split()[-1] == quantity}
    return found.get(f"test {quantity}", next(iter(found.values()), None))


def _differing(every: Sequence[Standing]) -> list[str]:
    """Names of settings in which runs differ, the first few."""
    runs = [each.settings for each in every if each.settings]
    names = dict.fromkeys(name for settings in runs for name in settings)
    return [name for name in names if len({settings.get(name) for settings in runs}) > 1][:_TOLD]


def _points(line: Sequence[float]) -> str:
    """A line as the corners of an SVG; by logarithms where all values are above zero."""
    fine = [(i, value) for i, value in enumerate(line) if math.isfinite(value)]
    if len(fine) < 2:
        return ""
    values = [value for _, value in fine]
    heights = [math.log(value) for value in values] if min(values) > 0 else values
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    return " ".join(
        f"{2 + i / (len(line) - 1) * (_WIDE - 4):.1f},{2 + (1 - (h - low) / span) * (_HIGH - 4):.1f}"
        for (i, _), h in zip(fine, heights, strict=True)
    )


def _counts(every: Sequence[Standing]) -> str:
    """How many there are of what, in a sentence."""
    kinds = {"run": "runs", "study": "studies", "sweep": "sweeps"}
    parts = []
    for kind, several in kinds.items():
        count = sum(each.found.kind == kind for each in every)
        if count:
            parts.append(f"{count:,} {several if count > 1 else kind}")
    for state in ("training", "measuring", "stopped", "unreadable"):
        count = sum(each.state == state for each in every)
        if count:
            parts.append(f"{count:,} {state}")
    diverged = sum(each.diverged for each in every)
    return ", ".join([*parts, *([f"{diverged:,} diverged"] if diverged else [])])


def _few(names: Sequence[str]) -> str:
    """The first few of some names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _query(names: Sequence[str]) -> str:
    return "&".join(f"run={quote(os.fsencode(name), safe='/')}" for name in names)


def _link(name: str) -> str:
    return f"show?{_query([name])}"


def _short(folder: Path) -> Path:
    try:
        return Path(os.path.relpath(folder))
    except ValueError:  # on another drive
        return folder

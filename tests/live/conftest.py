"""Runs that tests look at, and a browser to look with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from written_runs import Fake

BROWSER = next((name for name in ("chromium", "google-chrome", "chromium-browser") if shutil.which(name)), None)


@pytest.fixture
def fake() -> type[Fake]:
    """Makes a run that is written by hand."""
    return Fake


class Chromium:
    """A browser told what to do through a pipe (the DevTools protocol), in real time."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        assert BROWSER is not None
        told, self._to = os.pipe()
        self._from, answers = os.pipe()
        scheme = "0" if dark else "1"
        command = [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            f"--user-data-dir={folder}", f"--window-size={width},{height}", "--remote-debugging-pipe",
            f"--blink-settings=preferredColorScheme={scheme}", "about:blank",
        ]  # fmt: skip
        # The protocol wants its pipes under the numbers 3 and 4.
        line = 'exec "$@" 3<&$0 4>&' + str(answers)
        self._process = subprocess.Popen(
            ["bash", "-c", line, str(told), *command], pass_fds=(told, answers),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(told)
        os.close(answers)
        self._buffer, self._number = b"", 0
        self.console: list[str] = []
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self._send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        self.resize(width, height)

    _session: str | None = None

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._from, 1 << 16)
            assert part, "the browser has gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        about = found.get("params", {})
        if found.get("method") == "Log.entryAdded":
            self.console.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        if found.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(about["exceptionDetails"]))
        if found.get("method") == "Runtime.consoleAPICalled":
            self.console.append(str(about["args"]))
        return found

    def resize(self, width: int, height: int) -> None:
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        self._send("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"not within {seconds} s: {expression}"
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        import base64

        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._to)
        os.close(self._from)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser, started once for a file of tests."""
    if BROWSER is None:
        pytest.skip("no browser is installed")
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()

"""Processes of the libraries, each with its own Python, asked one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENTS = {"pyhessian": "a", "curvlinops": "a", "hessian-eigenthings": "a", "landscaper": "b"}


def interpreter(library: str, folder: Path) -> Path | None:
    """The Python that a library is installed for, or None where there is none."""
    if library == "landform":
        return Path(sys.executable)
    found = folder / ENVIRONMENTS[library] / "bin" / "python"
    return found if found.exists() else None


class Worker:
    """A library in its process, on one thread.

    Attributes:
        library: its name.
        failed: why it does not run, or None.
    """

    def __init__(self, library: str, python: Path, problem: Path) -> None:
        self.library = library
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [str(python), str(HERE / "worker.py"), library, str(problem)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.said, text=True, env={**os.environ, **threads},
        )  # fmt: skip
        self.failed: str | None = self._read().get("error")

    def ask(self, task: str, **options: Any) -> dict[str, Any]:
        """Have it do a task.

        Args:
            task: its name.
            options: of the task.

        Returns:
            Seconds and the answer, or an error in a sentence.
        """
        if self.process.poll() is not None:
            return {"error": self.failed or "the process has ended"}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"task": task, **options}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.said.close()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            reply: dict[str, Any] = json.loads(line)
            return reply
        self.process.wait()
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return {"error": f"the process ended: {lines[-1] if lines else self.process.returncode}"}

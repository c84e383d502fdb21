"""skaffold on a copy of the checkout, so that files can be edited."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.commands import ROOT, eventually, run
from e2e.kind import Cluster

WATCHING = "Watching for changes"
_ENDED_SECONDS = 60


@dataclass(frozen=True)
class Skaffold:
    """`root` is the copy."""

    cluster: Cluster
    root: Path

    @classmethod
    def on_copy(cls, cluster: Cluster, root: Path) -> Skaffold:
        """Copies what git knows or would know."""
        listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
        for name in filter(None, listed):
            if (ROOT / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name, follow_symlinks=False)
        return cls(cluster, root)

    def __call__(self, *arguments: str, timeout: float = 600) -> str:
        """What it says."""
        command, env = self._command(*arguments)
        return run(*command, env=env, cwd=self.root, timeout=timeout).stdout

    @contextlib.contextmanager
    def watching(self, *arguments: str) -> Iterator[Path]:
        """A `skaffold dev` that has deployed and waits for edits; where its output is."""
        output = self.root.with_suffix(".log")
        command, env = self._command("dev", "--cleanup=false", "--port-forward=off", *arguments)
        with output.open("w") as file:
            process = subprocess.Popen(command, cwd=self.root, env=os.environ | env, stdout=file, stderr=file)
        try:
            eventually(lambda: self._watches(process, output), "skaffold waits for edits", timeout=600)
            yield output
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_ENDED_SECONDS)

    def _command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """By the current context of the cluster's own kubeconfig: not every command takes another."""
        options = ("--interactive=false", "--update-check=false")
        return ["skaffold", *arguments, *options], {"KUBECONFIG": str(self.cluster.kubeconfig)}

    def _watches(self, process: subprocess.Popen[bytes], output: Path) -> bool:
        said = output.read_text(errors="replace")
        assert process.poll() is None, said[-4000:]
        return WATCHING in said

"""Gives each peer a virtualenv of its own, below ``.venv-bench/``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import Peer

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venv-bench"


class NotInstalled(Exception):
    """pip could not install a peer; the message ends with what it said."""


def python_of(peer: Peer) -> Path:
    return VENVS / peer.module / "bin" / "python"


def install(peer: Peer) -> None:
    """Make the peer's virtualenv, unless it stands already for the same packages."""
    mark = VENVS / peer.module / "installed"
    wanted = json.dumps([sys.version, peer.packages])
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"installing {peer.name}: {' '.join(peer.packages)}", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", VENVS / peer.module)
    arguments = [word for package in peer.packages for word in package.split(" ")]
    _run(python_of(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    mark.write_text(wanted)


def versions(peer: Peer) -> dict[str, str]:
    """Return name -> version of what stands in the peer's virtualenv."""
    program = (
        "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    )
    command = [python_of(peer), "-I", "-c", program]  # -I: nothing of this folder
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.lower().replace("_", "-"): version for name, version in json.loads(done.stdout)}


def _run(*command: str | os.PathLike) -> None:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(f"{' '.join(map(str, command))}\n{(done.stdout + done.stderr)[-2000:]}")

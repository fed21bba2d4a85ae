"""What proves to our system who sends the load."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.processes import clean_environment

DEMO = ("7f5933d2-cd7c-11e4-9fe6-490467a5e114", "db19c01e-18e5-4fc2-8b81-7b3d1f44533b")
"""The tutorial's published credentials, which work in embedded mode on this machine only."""
_ROOT = Path(__file__).parent.parent
_EMAIL = "bench@example.com"


def provision(environment: Mapping[str, str]) -> tuple[str, str]:
    """Make an account and a stream in the database that `environment` names; its client id and access token."""
    password = secrets.token_urlsafe(16)
    _sensorium(environment, "migrate")
    _sensorium(environment, "account", "create", _EMAIL, "--plan", "enterprise", "--password-stdin", typed=f"{password}\n")
    stream = json.loads(_sensorium(environment, "account", "add-stream", _EMAIL, "bench", "--json"))
    return stream["client_id"], stream["access_token"]


def _sensorium(environment: Mapping[str, str], *words: str, typed: str = "") -> str:
    everything = {**clean_environment(), **environment}
    command = [sys.executable, "-m", "sensorium", *words]
    done = subprocess.run(command, cwd=_ROOT, env=everything, input=typed, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"sensorium {' '.join(words)} ended with {done.returncode}: {done.stderr[-800:]}")
    return done.stdout

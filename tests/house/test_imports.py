"""What importing costs: a gateway imports every service for its types, and must not pay for what only workers use."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Modules that take long to import, or that a gateway's image does not have.
DEAR = ("onnxruntime", "scipy", "av")


@pytest.mark.parametrize("name", DEAR)
def test_the_catalog_imports_without(name: str) -> None:
    program = f"import sys, workers.catalog as catalog; catalog.load_catalog(); sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

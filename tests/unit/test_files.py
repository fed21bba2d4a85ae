"""References to files: only our own blobs by their one address, whatever the text looks like."""

from __future__ import annotations

import pytest

from gateway.jobs.files import RequestFiles, blob_id_of

BASE, ID = "https://gate.example", "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_our_own_addresses_name_a_blob() -> None:
    assert blob_id_of(f"{BASE}/blobs/{ID}", BASE) == blob_id_of(f"/blobs/{ID}", BASE) == ID


@pytest.mark.parametrize(
    "reference",
    [
        f"http://gate.example/blobs/{ID}",
        f"https://gate.example:443/blobs/{ID}",
        f"https://gate.example:8443/blobs/{ID}",
        f"https://user@gate.example/blobs/{ID}",
        f"https://gate.example@evil.example/blobs/{ID}",
        f"https://gate.example.evil.example/blobs/{ID}",
        f"https://gate.example./blobs/{ID}",
        f"https://GATE.example/blobs/{ID}",
        f"HTTPS://gate.example/blobs/{ID}",
        f"https://gаte.example/blobs/{ID}",
        f"https://xn--gte-5cd.example/blobs/{ID}",
        f"//gate.example/blobs/{ID}",
        f"https:/gate.example/blobs/{ID}",
        f"https://gate.example//blobs/{ID}",
        f"https://gate.example/blobs/../blobs/{ID}",
        f"https://gate.example/blobs/{ID}/",
        f"https://gate.example/blobs/{ID}?x=1",
        f"https://gate.example/blobs/{ID}#x",
        f"https://gate.example/blobs/{ID}\n",
        f"/blobs/{ID.upper()}",
        f"/blobs/{ID}%00",
        f"/blobs/../{ID}",
        "/blobs/../../../../../../etc/passwd-passwd-pass",
        f"\\blobs\\{ID}",
        f" /blobs/{ID}",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/blobs",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "",
    ],
)
def test_everything_else_is_refused_and_never_asked_for(reference: str) -> None:
    assert blob_id_of(reference, BASE) is None
    files = RequestFiles({}, BASE)
    with pytest.raises(ValueError, match=r"."):
        files.resolve(reference)
    assert files.blobs == {}

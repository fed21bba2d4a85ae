"""What was counted in front of a stream's camera: python data_retrieval.py you@example.com --hours 24"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

METRICS = ("passing_by", "interested", "stop_time", "attention_time", "category", "gender", "satisfaction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("username", help="the e-mail address that you sign in to the console with")
    parser.add_argument("--hours", type=float, default=24.0, help="so far back")
    parser.add_argument("--time", choices=("by_hour", "by_day", "global"), default="global")
    given = parser.parse_args()
    configured = json.loads(
        next(path for path in (Path("config.json"), Path("~/.angusdk/config.json").expanduser()) if path.exists()).read_text()
    )
    with httpx.Client(base_url=configured["default_root"], timeout=30) as client:
        client.headers["Authorization"] = f"Bearer {token(client, given.username, configured)}"
        now = datetime.now(UTC)
        for bucket, values in entities(client, now - timedelta(hours=given.hours), now, given.time):
            print(bucket, json.dumps(values))


def token(client: httpx.Client, username: str, configured: dict[str, str]) -> str:
    """A token for the stream's data; it lasts an hour."""
    login = {"username": username, "client_id": configured["client_id"], "access_token": configured["access_token"]}
    answer: dict[str, str] = client.post("/api-token-authstream/", json=login).raise_for_status().json()
    return answer["token"]


def entities(client: httpx.Client, begin: datetime, end: datetime, size: str) -> Any:
    """(beginning, metrics) of each hour or day, of all pages."""
    asked = {"metrics": ",".join(METRICS), "from_date": begin.isoformat(), "to_date": end.isoformat(), "time": size}
    page = client.get("/api/1/entities", params=asked).raise_for_status().json()
    while True:
        yield from page["entities"].items()
        if not page["next_page"]:
            return
        page = client.get(page["next_page"]).raise_for_status().json()


main()

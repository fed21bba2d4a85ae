"""`sensorium visits …`: what operators do to what is kept of people."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime

from shared.errors import Unavailable
from shared.settings import Settings


def add_arguments(parser: ArgumentParser) -> None:
    """Give the parser the subcommands that `run` understands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "delete a stream's visits, and what they added to its numbers"
    delete = actions.add_parser("delete", help=text, description=text)
    delete.add_argument("stream", metavar="CLIENT_ID")
    delete.add_argument(
        "--before", type=_instant, metavar="DATE", help="only those that began before, ISO 8601, UTC unless it says otherwise"
    )


async def run(args: Namespace, settings: Settings) -> int:
    """Do what the arguments say; the exit status. Raises `SettingsError`."""
    from analytics.store import Visits  # half a second that no other command should pay
    from database.engine import Database

    database = Database(settings.database_url, settings.store_seconds)
    visits = Visits(database, settings.senior_age)
    try:
        if not await visits.has_stream(args.stream):
            print(f"sensorium visits {args.action}: there is no stream {args.stream}", file=sys.stderr)
            return 1
        deleted = await visits.delete(args.stream, args.before)
    except Unavailable as error:
        print(f"sensorium visits {args.action}: {error}", file=sys.stderr)
        return 1
    finally:
        await database.close()
    print(f"{deleted} visits deleted")
    return 0


def _instant(given: str) -> int:
    """Milliseconds since 1970."""
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise ArgumentTypeError("must be a date as in ISO 8601, such as 2026-01-31 or 2026-01-31T12:00+01:00") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

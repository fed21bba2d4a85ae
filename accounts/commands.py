"""`sensorium account …`: what operators do to accounts from the command line."""

from __future__ import annotations

import asyncio
import getpass
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from accounts import limit_commands
from accounts.errors import AccountError, PasswordRefused
from accounts.limit_commands import print_json
from accounts.model import Plan, to_plan
from shared.errors import Unavailable
from shared.settings import Settings

if TYPE_CHECKING:
    from accounts.store import Accounts

_PLANS = [plan.value for plan in Plan]


def add_arguments(parser: ArgumentParser) -> None:
    """Give the parser the subcommands that `run` understands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = _action(actions, "create", "make an account; asks for its password", email=True)
    create.add_argument("--password-stdin", action="store_true", help="read the password from standard input, one line")
    create.add_argument("--plan", choices=_PLANS, default=Plan.DEVELOPER.value)
    create.add_argument("--operator", action="store_true", help="may see operators' pages")
    _action(actions, "list", "show every account", json=True)
    _action(actions, "plan", "grant a plan", email=True).add_argument("plan", metavar="PLAN", choices=_PLANS, help=" or ".join(_PLANS))
    password = _action(actions, "password", "give an account another password, which signs it out everywhere", email=True)
    password.add_argument("--password-stdin", action="store_true", help="read the password from standard input, one line")
    role = _action(actions, "operator", "let an account see operators' pages", email=True)
    role.add_argument("--revoke", action="store_true", help="not any more")
    _action(actions, "delete", "delete an account, its streams and their visits", email=True)
    add = _action(actions, "add-stream", "make a stream and show its credentials, this once", email=True, json=True)
    add.add_argument("name", metavar="NAME")
    _action(actions, "streams", "show the streams of an account", email=True, json=True)
    limit_commands.add_arguments(partial(_action, actions))


def _action(actions: object, name: str, text: str, *, email: bool = False, json: bool = False) -> ArgumentParser:
    parser: ArgumentParser = actions.add_parser(name, help=text, description=text)  # type: ignore[attr-defined]
    if email:
        parser.add_argument("email", metavar="EMAIL")
    if json:
        parser.add_argument("--json", action="store_true", help="for machines")
    return parser


async def run(args: Namespace, settings: Settings) -> int:
    """Do what the arguments say; the exit status. Raises `SettingsError`."""
    from accounts.store import open_accounts  # half a second that no other command should pay

    try:
        async with open_accounts(settings) as accounts:
            await _ACTIONS[args.action](args, accounts)
    except (AccountError, Unavailable) as error:
        print(f"sensorium account {args.action}: {error}", file=sys.stderr)
        return 1
    return 0


async def _create(args: Namespace, accounts: Accounts) -> None:
    password = await asyncio.to_thread(_read_password, from_pipe=args.password_stdin)
    account = await accounts.create_account(args.email, password, to_plan(args.plan), operator=args.operator)
    print(f"{account.email}: {account.plan}")


async def _list(args: Namespace, accounts: Accounts) -> None:
    found = await accounts.accounts()
    if args.json:
        print_json([asdict(account) for account in found])
        return
    for account in found:
        role = "  operator" if account.operator else ""
        print(f"{account.created:%Y-%m-%d}  {account.plan:<10}  {account.email}{role}")


async def _plan(args: Namespace, accounts: Accounts) -> None:
    await accounts.set_plan(args.email, to_plan(args.plan))
    print(f"{args.email}: {args.plan}")


async def _password(args: Namespace, accounts: Accounts) -> None:
    await accounts.set_password(args.email, await asyncio.to_thread(_read_password, from_pipe=args.password_stdin))
    print(f"{args.email}: password changed")


async def _operator(args: Namespace, accounts: Accounts) -> None:
    await accounts.set_operator(args.email, operator=not args.revoke)
    print(f"{args.email}: {'no operator' if args.revoke else 'operator'}")


async def _delete(args: Namespace, accounts: Accounts) -> None:
    await accounts.delete_account(args.email)
    print(f"{args.email}: deleted")


async def _add_stream(args: Namespace, accounts: Accounts) -> None:
    secret = await accounts.streams.add(args.email, args.name)
    if args.json:
        print_json(asdict(secret))
    else:
        print(f"client_id: {secret.client_id}\naccess_token: {secret.access_token}")


async def _streams(args: Namespace, accounts: Accounts) -> None:
    found = await accounts.streams.of(args.email)
    if args.json:
        print_json([asdict(stream) for stream in found])
        return
    for stream in found:
        print(f"{stream.created:%Y-%m-%d}  {stream.client_id}  {stream.name}")


_ACTIONS = {
    "create": _create,
    "list": _list,
    "plan": _plan,
    "operator": _operator,
    "password": _password,
    "delete": _delete,
    "add-stream": _add_stream,
    "streams": _streams,
}
_ACTIONS |= limit_commands.ACTIONS


def _read_password(*, from_pipe: bool) -> str:
    if from_pipe:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise PasswordRefused("There is no terminal to ask for the password; give it with: --password-stdin")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise PasswordRefused("The passwords differ.")
    return password

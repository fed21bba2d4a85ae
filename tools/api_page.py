"""Writes `docs/api.md`: every service with what it takes and answers, and an example whose answer is a real one.

`python -m tools.api_page` starts an embedded instance and asks it; `make docs-api` runs it. The tables come from the schemas that validate. A test
makes the page again and compares all of it but the values.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from accounts.model import DEMO_SECRET
from angus import sound
from tools.api_inputs import BASELINE, between_silences, code, from_the_right, jpeg, moving, photo
from tools.test_sdk import running

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
#: Longer texts in answers are cut.
_LONG = 60
_WIDE = 110
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}")


@dataclass(frozen=True)
class Example:
    """A request worth showing. ``files``: by field, (name, bytes); ``frames``: those of further frames of a session before it, in order."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    frames: tuple[bytes, ...] = ()
    remark: str = ""


def examples(voice: bytes) -> dict[str, Example]:
    """One for each service. ``voice``: a recording of somebody who speaks."""
    picture, a_voice = {"image": ("photo.jpg", jpeg(photo()))}, {"sound": ("voice.wav", voice)}
    return {
        "dummy": Example({"echo": "Hello world!"}),
        "face_detection": Example(files=picture),
        "age_and_gender_estimation": Example(files=picture),
        "face_expression_estimation": Example(files=picture),
        "face_recognition": Example(
            {"album": {"eileen": ["/blobs/…"]}}, picture, remark="Each sample of the album is a blob: [Blobs](#blobs) says how to make one."
        ),
        "gaze_analysis": Example(files=picture),
        "scene_analysis": Example(
            {"timestamp": "2026-06-01T10:00:00.400000+00:00"},
            {"image": ("frame.jpg", jpeg(photo()))},
            tuple(jpeg(photo()) for _ in range(3)),
            "The fourth frame of a session: somebody has just been noticed.",
        ),
        "upper_body_detection": Example(files=picture),
        "motion_detection": Example(
            files={"image": ("frame.jpg", jpeg(moving(8)))},
            frames=tuple(jpeg(moving(n)) for n in range(8)),
            remark="The ninth frame of a session.",
        ),
        "qrcode_decoder": Example(files={"image": ("code.jpg", jpeg(code()))}),
        "sound_detection": Example({"sensitivity": 0.7}, a_voice),
        "voice_detection": Example({"sensitivity": 0.5}, a_voice),
        "sound_localization": Example({"baseline": BASELINE, "sensitivity": 0.7}, {"sound": ("stereo.wav", from_the_right())}),
        "text_to_speech": Example({"text": "Hi guys, how are you today?", "lang": "en-US"}),
        "composite": Example({"services": ["face_detection", "age_and_gender_estimation"]}, picture),
    }


def client_of(url: str) -> httpx.Client:
    """A client with the credentials of the demo stream."""
    return httpx.Client(base_url=url, auth=(DEMO_SECRET.client_id, DEMO_SECRET.access_token), timeout=100)


def page(client: httpx.Client) -> str:
    """The whole page, from what the server at ``client.base_url`` answers."""
    directory = ask(client, "GET", "/services")["services"]
    known = examples(voice_of(client))
    missing = sorted(directory.keys() - known.keys())
    if missing:
        raise SystemExit(f"tools/api_page.py has no example for {', '.join(missing)}")
    names = sorted(directory, key=list(known).index)
    parts = [
        HEAD.format(
            directory=shown(client, {"services": {name: directory[name] for name in names[:2]}}), jobs=jobs(client), blobs=blobs(client)
        ),
        *(service(client, name, known[name]) for name in names),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def voice_of(client: httpx.Client) -> bytes:
    parameters = {"text": "Is anybody there? I can hear you quite well.", "lang": "en-GB", "async": False}
    answer = ask(client, "POST", "/services/text_to_speech/1/jobs", json=parameters)
    return between_silences(sound.decode(answer["sound"]))


def ask(client: httpx.Client, method: str, url: str, **how: Any) -> Any:
    """The JSON of an answer, of an error too."""
    return client.request(method, url, **how).json()


# The parts of the page


def jobs(client: httpx.Client) -> str:
    url = "/services/dummy/1/jobs"
    asynchronous = ask(client, "POST", url, json={"echo": "Hello world!"})
    finished = client.get(asynchronous["url"], headers={"Prefer": "wait=10"}).json()
    wrong = ask(client, "POST", url, json={"echo": 5, "async": False})
    return "\n\n".join(
        [
            "It is asynchronous unless it says otherwise: the answer (202) is where the result will be, and means that the job is safe.",
            curl('-H "Content-Type: application/json" -d \'{"echo": "Hello world!"}\' $S' + url),
            shown(client, asynchronous),
            "There, 202 while it is not finished and 200 once it is. `Prefer: wait=10` waits for it, up to so many seconds:",
            curl("-H 'Prefer: wait=10' $S" + url + "/…"),
            shown(client, finished),
            'With `"async": false` the answer (201) is the result itself, as in the examples below. What is wrong is said:',
            shown(client, wrong),
        ]
    )


def blobs(client: httpx.Client) -> str:
    files = {
        "attachment://photo": ("photo.jpg", jpeg(photo()), "image/jpeg"),
        "meta": (None, '{"content": "attachment://photo"}', "application/json"),
    }
    made = ask(client, "POST", "/blobs", files=files)
    client.delete(made["url"])
    words = "-F 'attachment://photo=@photo.jpg;type=image/jpeg' \\\n  -F 'meta={\"content\": \"attachment://photo\"};type=application/json' $S/blobs"
    return "\n\n".join([curl(words), shown(client, made)])


def service(client: httpx.Client, name: str, example: Example) -> str:
    """A service's section."""
    about = ask(client, "GET", f"/services/{name}/1")
    parts = [f"### {name}", inspect.cleandoc(about["description"]), "Takes:", table(about["input"])]
    if example.remark:
        parts.append(example.remark)
    parts += [request_of(name, example), answer_of(client, name, example)]
    answers = table(about["output"], answered=True)
    return "\n\n".join([*parts, *(["Answers:", answers] if answers else [])])


def request_of(name: str, example: Example) -> str:
    """The request as a line for a shell."""
    url = f"$S/services/{name}/1/jobs"
    meta: dict[str, Any] = {"async": False, **example.parameters}
    if example.frames:
        meta["state"] = {"session_id": "door-1"}
    if not example.files:
        return curl(f"-H 'Content-Type: application/json' \\\n  -d '{json.dumps(meta)}' \\\n  {url}")
    parts = []
    for parameter, (file, _) in example.files.items():
        parts.append(f"-F 'attachment://{parameter}=@{file}'")
        meta[parameter] = f"attachment://{parameter}"
    return curl(" \\\n  ".join([*parts, f"-F 'meta={json.dumps(meta, ensure_ascii=False)};type=application/json'", url]))


def answer_of(client: httpx.Client, name: str, example: Example) -> str:
    """The last frame's answer."""
    parameters = dict(example.parameters)
    blob = None
    if "album" in parameters:
        files = {"attachment://a": jpeg(photo()), "meta": (None, '{"content": "attachment://a"}', "application/json")}
        blob = ask(client, "POST", "/blobs", files=files)["url"]
        parameters["album"] = {"eileen": [blob]}
    session = {"state": {"session_id": f"api-page-{name}"}} if example.frames else {}
    answer: Any = None
    (parameter, last), *_ = [*example.files.items(), ("", ("", b""))]
    for number, frame in enumerate([*example.frames, last[1]]):
        own = {"timestamp": f"2026-06-01T10:00:00.{number + 1}00000+00:00"} if "timestamp" in parameters else {}
        meta = {"async": False, **parameters, **session, **own}
        if not example.files:
            answer = ask(client, "POST", f"/services/{name}/1/jobs", json=meta)
            continue
        meta[parameter] = "attachment://file"
        files = {"attachment://file": ("file", frame), "meta": (None, json.dumps(meta), "application/json")}
        answer = ask(client, "POST", f"/services/{name}/1/jobs", files=files)
    if blob is not None:
        client.delete(blob)
    if answer["status"] != 201:
        raise SystemExit(f"{name} did not answer its example: {answer}")
    return shown(client, answer)


def curl(words: str) -> str:
    return f"```sh\ncurl -u $U {words}\n```"


def shown(client: httpx.Client, document: Any) -> str:
    """A document as the page has it: addresses as those of `make run`, long texts cut."""
    return f"```json\n{laid_out(trimmed(document, str(client.base_url).rstrip('/')))}\n```"


def trimmed(value: Any, url: str) -> Any:
    if isinstance(value, dict):
        return {_ID.sub("…", name): trimmed(inner, url) for name, inner in value.items()}
    if isinstance(value, list):
        return [trimmed(inner, url) for inner in value]
    if isinstance(value, str):
        value = _ID.sub("…", value.replace(url, "http://127.0.0.1:8000"))
        return value if len(value) <= _LONG or value.startswith("http") or " " in value else f"{value[:24]}… ({len(value):,} characters)"
    return value


def laid_out(value: Any, indent: str = "") -> str:
    """JSON, with whatever fits into a line on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= _WIDE or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(name, ensure_ascii=False)}: {laid_out(under, inner)}" for name, under in value.items()]
    else:
        rows = [inner + laid_out(under, inner) for under in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n" + ",\n".join(rows) + f"\n{indent}{end}"


def table(schema: Mapping[str, Any], *, answered: bool = False) -> str:
    """The fields of a JSON Schema, those of inner objects by their paths."""
    rows = [f"| `{path}` | {kind} | {text} |" for path, kind, text in fields(schema, schema, "", answered)]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows]) if rows else ""


def fields(schema: Mapping[str, Any], whole: Mapping[str, Any], prefix: str, answered: bool) -> Iterator[tuple[str, str, str]]:
    needed = schema.get("required", [])
    for name, given in schema.get("properties", {}).items():
        about = resolved(given, whole)
        path = f"{prefix}{name}"
        default = about.get("default")
        shows_default = not answered and isinstance(default, str | int | float)
        optional = " or none" if may_be_null(given) or not (answered or name in needed or shows_default) else ""
        meaning = [(given.get("description") or about.get("description") or "").split("\n")[0]]
        if shows_default:
            meaning.append(f"{json.dumps(default)} unless given.")
        yield path, f"{kind_of(about, whole)}{optional}", " ".join(filter(None, meaning))
        inner, mark = inside(about, whole)
        if inner is not None:
            yield from fields(inner, whole, f"{path}{mark}.", answered)


def may_be_null(given: Mapping[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in given.get("anyOf", []))


def resolved(given: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference, and behind "this or null"."""
    if "$ref" in given:
        return {**whole["$defs"][given["$ref"].rsplit("/", 1)[1]], **{name: value for name, value in given.items() if name != "$ref"}}
    options = [option for option in given.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return {**resolved(options[0], whole), **{name: value for name, value in given.items() if name != "anyOf"}}
    return given


def inside(about: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The object within, and how its path is written."""
    if about.get("properties"):
        return about, ""
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(about.get(key), dict):
            inner = resolved(about[key], whole)
            return (inner, mark) if inner.get("properties") else (None, "")
    return None, ""


def kind_of(about: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """A type in a word or two."""
    if "enum" in about:
        return " or ".join(f"`{value}`" for value in about["enum"])
    if "prefixItems" in about:
        return f"{len(about['prefixItems'])} {'× ' if 'prefixItems' in about['prefixItems'][0] else ''}{plural(kind_of(resolved(about['prefixItems'][0], whole), whole))}"
    if about.get("format") == "uri-reference":
        return "file"
    kind = about.get("type", "object")
    if kind == "array":
        return f"list of {plural(kind_of(resolved(about.get('items', {}), whole), whole))}"
    limits = [f"{word} {about[key]:g}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in about]
    return " ".join([{"integer": "whole number", "string": "text"}.get(kind, str(kind)), *limits])


def plural(word: str) -> str:
    return word if "`" in word or word.startswith("list") or word.endswith("s") else f"{word.split(' from', maxsplit=1)[0]}s"


HEAD = """
# The API, with an example for each service

Written by `make docs-api` from the schemas that validate requests, and from real answers. The whole API as machines read it is at `/openapi.json`;
what can go wrong is in [errors.md](errors.md); frames of a camera are in [sessions and streams](sessions-and-streams.md).

The lines work against `make run` once these are set (the demo stream's credentials work on the machine's own address only):

```sh
U=7f5933d2-cd7c-11e4-9fe6-490467a5e114:db19c01e-18e5-4fc2-8b81-7b3d1f44533b  S=http://127.0.0.1:8000
```

From Python each is `conn.services.get_service(NAME).process(PARAMETERS).result`, with the files as open files: see [getting started](getting-started.md).

## Services

```sh
curl -u $U $S/services
```

{directory}

and so on. A service that cannot be asked now has `"available": false` and the reason. `GET /services/NAME/1` has the JSON Schemas of what it takes
and answers.

## Jobs

A job is one request to a service: `POST …/jobs`, with JSON, or multipart with the JSON in the part `meta` and files in parts named `attachment://…`, to
which the JSON refers.

{jobs}

Every service takes, beside its own: `async`, `state` with a `session_id` of yours (see [sessions](sessions-and-streams.md)), `webhook` (see
[webhooks](webhooks.md)) and `explain`. The header `Idempotency-Key` makes a request that is sent twice one job. `DELETE` of a job's address ends it,
`…/events` under it tells of it as it goes on (server-sent events). Results are kept for an hour.

## Blobs

A file that is used more than once is uploaded once, and given by its address wherever a file is expected:

{blobs}

`DELETE` of the address forgets it. Files of other servers are not fetched.

## The services

`faces[].roi` is the `roi` of each of the `faces`, `entities{{}}.age` the `age` under each key of `entities`; "or none" is a value that may be absent,
and null in `scene_analysis`, whose entities have every key.
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as url, client_of(url) as client:
        PAGE.write_text(page(client))
    print(f"{PAGE.relative_to(ROOT)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

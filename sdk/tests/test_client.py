"""The client of 2018, against a server that answers what the test says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import angus
import angus.client
import angus.client.cloud
from angus.client.rest import Configuration, Job
from angus.errors import AngusError, ApiError, ConfigurationError, NoSuchService, StillRunning, Unreachable
from tests.conftest import CLOSED, Scripted, answer

JOBS = "/services/dummy/1/jobs"


@pytest.fixture
def service(scripted: Scripted, conf: Configuration) -> Any:
    return angus.client.connect(scripted.url, conf).services.get_service("dummy", 1)


def done(scripted: Scripted, status: int = 201, **more: Any) -> Any:
    return answer(status, {"url": f"{scripted.url}{JOBS}/1", "status": status, **more})


def test_a_job_is_synchronous_and_authenticated(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, echo="x"))
    job = service.process({"echo": "x"})
    (request,) = scripted.sent("POST", JOBS)
    assert request.json() == {"echo": "x", "async": False}
    assert request.headers["Authorization"].startswith("Basic ")
    assert (job.status, job.result["echo"], job.endpoint) == (201, "x", f"{scripted.url}{JOBS}/1")


@pytest.mark.parametrize(
    ("arguments", "keywords"), [(({"echo": "x"}, True), {}), (({"echo": "x"},), {"async_": True}), (({"echo": "x"},), {"async": True})]
)
def test_asynchronous_by_all_its_names(scripted: Scripted, service: Any, arguments: Any, keywords: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    assert service.process(*arguments, **keywords).status == Job.ACCEPTED
    assert service.process_async(*arguments, **keywords).result(10).status == 202
    assert [request.json()["async"] for request in scripted.sent("POST", JOBS)] == [True, True]


def test_a_misspelt_keyword_is_an_error(service: Any) -> None:
    with pytest.raises(TypeError, match="asinc"):
        service.process({}, asinc=True)


def test_a_file_is_an_attachment_to_which_the_meta_part_refers(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted))
    service.process({"image": io.BytesIO(b"picture")})
    (request,) = scripted.sent("POST", JOBS)
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'name="attachment://' in request.body
    assert b'name="meta"\r\nContent-Type: application/json\r\n' in request.body
    assert request.body.count(b"attachment://") == 2


def test_a_job_that_the_server_lets_go_of_is_waited_for(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", answer(202, {"status": 202, "url": "u"}), done(scripted, 200, echo="late"))
    assert service.process({}).result["echo"] == "late"
    assert all(request.headers["Prefer"].startswith("wait=") for request in scripted.sent("GET", f"{JOBS}/1"))


def test_a_job_that_fails_while_it_is_waited_for_raises_as_before(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", answer(200, {"url": "u", "status": 422, "error": "no picture", "code": "unreadable_input"}))
    with pytest.raises(ApiError, match="no picture") as caught:
        service.process({})
    assert (caught.value.status, caught.value.code) == (422, "unreadable_input")


def test_waiting_has_an_end(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", done(scripted, 202))
    with pytest.raises(StillRunning):
        service.process({}, async_=True).wait(0.05)
    assert service.process({}, wait=3).status == 202
    assert scripted.sent("POST", JOBS)[-1].headers["Prefer"] == "wait=3"


def test_fetch_and_cancel(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", done(scripted, 200, echo="x"))
    scripted.on("DELETE", f"{JOBS}/1", answer(200, {"url": "u", "status": 409, "code": "cancelled", "error": "cancelled"}))
    job = service.process({}, True)
    assert not job.finished
    assert job.fetch()["echo"] == job.result["echo"] == "x"
    assert job.finished
    assert job.cancel()["code"] == "cancelled"


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again_with_the_same_key(scripted: Scripted, service: Any, status: int) -> None:
    later = answer(status, {"error": "later", "code": "queue_full"}, Retry_After="0")
    scripted.on("POST", JOBS, later, later, done(scripted))
    assert service.process({"image": b"x"}).status == 201
    keys = [request.headers["Idempotency-Key"] for request in scripted.sent("POST", JOBS)]
    assert (len(keys), len(set(keys))) == (3, 1)


def test_a_job_that_was_made_and_failed_for_now_is_tried_under_a_new_key(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, answer(503, {"error": "x", "code": "model_missing", "url": "u"}, Retry_After="0"), done(scripted))
    assert service.process({}).status == 201
    assert len({request.headers["Idempotency-Key"] for request in scripted.sent("POST", JOBS)}) == 2


def test_what_will_not_be_better_soon_is_raised_at_once(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, answer(429, {"error": "used up", "code": "quota_exceeded"}, Retry_After="86400"))
    with pytest.raises(ApiError, match="used up") as caught:
        service.process({})
    assert (caught.value.retry_after, len(scripted.sent("POST", JOBS))) == (86400, 1)


@pytest.mark.parametrize(("status", "times"), [(400, 1), (401, 1), (404, 1), (422, 1), (500, 1), (504, 1), (503, 3)])
def test_errors_are_exceptions_that_carry_their_facts(scripted: Scripted, service: Any, status: int, times: int) -> None:
    problem = {"error": "a sentence", "code": "some_code", "parameter": "image", "status": status}
    scripted.on("POST", JOBS, answer(status, problem))
    with pytest.raises(OSError, match="a sentence") as caught:
        service.process({})
    error = caught.value
    assert isinstance(error, ApiError)
    assert (error.status, error.code, error.parameter, error.document) == (status, "some_code", "image", problem)
    assert len(scripted.sent("POST", JOBS)) == times


def test_a_lost_answer_is_asked_for_again_where_that_is_safe(scripted: Scripted, service: Any, conf: Configuration) -> None:
    scripted.on("POST", JOBS, CLOSED, done(scripted))
    assert service.process({}).status == 201
    scripted.on("POST", "/blobs", CLOSED, answer(201, {"url": "u", "status": 201}))
    with pytest.raises(Unreachable):
        angus.client.connect(scripted.url, conf).blobs.create(b"x")
    assert (len(scripted.sent("POST", JOBS)), len(scripted.sent("POST", "/blobs"))) == (2, 1)


def test_frames_of_a_session_are_sent_one_after_the_other(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted))
    service.enable_session({"album": {"p": [io.BytesIO(b"sample")]}})
    futures = [service.process_async({"n": n, "image": None}) for n in range(12)]
    assert [future.result(10).status for future in futures] == [201] * 12
    bodies = [request.body for request in scripted.sent("POST", JOBS)]
    assert [b'"n": %d,' % n in body for n, body in enumerate(bodies)] == [True] * 12
    assert all(b"sample" in body for body in bodies)
    session = service.default_session
    assert all(session.id.encode() in body for body in bodies)


def test_sessions_are_switched_on_and_off(scripted: Scripted, service: Any) -> None:
    scripted.on("POST", JOBS, done(scripted))
    service.enable_session({"store": True})
    first = service.default_session
    service.enable_session()
    assert service.default_session is first
    service.process({})
    service.process({}, False, service.create_session())
    service.disable_session()
    service.process({"echo": "alone"})
    states = [request.json().get("state") for request in scripted.sent("POST", JOBS)]
    assert states[0] == first.state()
    assert states[1] not in (None, states[0])
    assert states[2] is None


def test_the_highest_version_is_that_of_the_highest_number(scripted: Scripted, conf: Configuration) -> None:
    versions = {str(number): {"url": f"/services/dummy/{number}"} for number in (1, 2, 9, 10)}
    scripted.on("GET", "/services/dummy", answer(200, {"versions": versions}))
    services = angus.client.connect(scripted.url, conf).services
    assert services.get_service("dummy").endpoint.endswith("/10")
    assert services.get_service("dummy", 9).endpoint == services.get_service("dummy", "9").endpoint
    with pytest.raises(NoSuchService, match=r"10, 2|1, 10"):
        services.get_service("dummy", 3)
    with pytest.raises(LookupError, match="there is no service dumy"):
        services.get_service("dumy")


def test_a_server_beneath_a_path(scripted: Scripted, conf: Configuration) -> None:
    scripted.on("GET", "/here/services", answer(200, {"services": {"dummy": {"url": "/services/dummy"}}}))
    scripted.on("GET", "/here/services/dummy", answer(200, {"versions": {"1": {"url": "/services/dummy/1"}}}))
    service = angus.client.connect(f"{scripted.url}/here/", conf).services.get_service("dummy")
    assert service.jobs.endpoint == f"{scripted.url}/here/services/dummy/1/jobs"


def test_another_server_is_recognised(scripted: Scripted, conf: Configuration) -> None:
    scripted.on("GET", "/services", answer(200, ["something"]))
    with pytest.raises(AngusError, match="right address"):
        angus.client.connect(scripted.url, conf).services.list()
    scripted.on("GET", "/services", answer(301, None, Location="https://elsewhere"))
    with pytest.raises(AngusError, match="https://elsewhere"):
        angus.client.connect(scripted.url, conf).services.list()


def test_credentials_do_not_leave_an_encrypted_connection(conf: Configuration) -> None:
    angus.client.connect("https://server", conf)
    with pytest.raises(AngusError, match="not encrypted"):
        Job(None, "http://server/services/dummy/1/jobs/1", conf=conf).fetch()


def test_nothing_there_is_said(conf: Configuration) -> None:
    with pytest.raises(Unreachable, match="does Sensorium run there"):
        angus.client.connect("http://127.0.0.1:9", conf).services.list()


def test_without_an_address_it_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="angusme"):
        angus.client.connect()


def test_the_older_name(scripted: Scripted, conf: Configuration, caplog: pytest.LogCaptureFixture) -> None:
    assert angus.connect(scripted.url, conf).services.get_service("dummy").endpoint.endswith("/1")
    assert "old name" in caplog.text


def test_certificates_are_verified_unless_somebody_insists(tmp_path: Path) -> None:
    assert angus.client.connect("https://server").conf.verify is True
    with pytest.warns(RuntimeWarning, match="not verified"):
        assert angus.client.connect("https://server", verify=False).conf.verify is False
    conf = Configuration()
    conf.set_ca_path(str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match="ca_path"):
        conf.client.get("https://server")


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path, conf: Configuration, untrusted: str) -> None:
    with pytest.raises(Unreachable, match="ca_path"):
        angus.client.connect(untrusted, conf).services.list()

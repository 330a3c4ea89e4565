#!/usr/bin/env python3
"""A client of the HTTP API, as a stranger writes it who has nothing but its description.

    client.py BASE_URL STORE_DIRECTORY JOB_ID JOBCONFIG_JSON [--key KEY]

JOBCONFIG_JSON must lead to at least one file on the server's data. KEY, if given, must cover every tag and channel.
The daemon must be running, for the request is waited for. Prints a line for each group of checks and `ok: N checks`;
at the first thing that is not as described it prints what was expected and what was seen, and ends with exit code 1.
"""

import argparse
import datetime
import hashlib
import http.client
import json
import re
import sys
import time
import urllib.parse
import uuid
from pathlib import Path

PATIENCE = 60  # seconds, for a request to end
CLOCK = 5  # seconds by which two readings of the clock may differ
WEEK = 7 * 24 * 3600

ENVELOPE = {"id", "ver", "ts", "params", "responseCode", "result"}
PARAMS = {"resmsgid", "msgid", "status", "err", "errmsg"}
ALWAYS = {"request_id", "tag", "jobId", "status", "last_updated", "request", "job_stats", "attempts"}
ONLY_WHEN = {
    "downloadURLs": {"COMPLETED"},
    "expiresAt": {"COMPLETED"},
    "err_message": {"FAILED"},
    "err_code": {"FAILED"},
    "queue_position": {"SUBMITTED"},
    "next_attempt_at": {"SUBMITTED"},
    "batches_done": {"PROCESSING"},
    "batches_total": {"PROCESSING"},
}
STATS = {
    "dt_job_submitted", "dt_job_processing", "dt_job_completed", "execution_time", "latency", "batches", "rows",
    "bytes", "batches_left_out",
}
STATUSES = {"SUBMITTED", "PROCESSING", "COMPLETED", "FAILED"}
SUBMIT, READ, LIST, SEARCH, CANCEL, RETRY = (
    "ekstep.analytics.job.request." + last for last in ("submit", "info", "list", "search", "cancel", "retry")
)
JOBS = "ekstep.analytics.job.list"
TS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
LINK = re.compile(r"(https?://[^/?#]+(?:/[^?#]*)?)/files/([^?#]+)\?expires=(\d+)&signature=([0-9a-f]{64})")


class Wrong(Exception):
    """Something is not as the description says."""


class Checks:
    """Counts what was checked."""

    def __init__(self):
        self.count = 0
        self.before = 0

    def __call__(self, what, condition, seen):
        self.count += 1
        if not condition:
            raise Wrong(f"expected: {what}\nseen:     {seen!r}")

    def group(self, name):
        print(f"{name}: {self.count - self.before} checks", flush=True)
        self.before = self.count


check = Checks()


class Answer:
    def __init__(self, call, response):
        self.call = call
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        kind = self.headers.get_content_type()
        check(f"{self.call}: Content-Type application/json", kind == "application/json", kind)
        try:
            return json.loads(self.body.decode("utf-8"))
        except ValueError as error:
            raise Wrong(f"expected: {self.call}: JSON in UTF-8\nseen:     {self.body[:200]!r} ({error})") from None

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


def send(url, method="GET", body=None, headers=None):
    """One call on a connection of its own. The target is sent as it is written: nothing is normalised."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=30)
    target = parts.path + ("?" + parts.query if parts.query else "")
    try:
        connection.request(method, target, body, headers or {})
        return Answer(f"{method} {target[:80]}", connection.getresponse())
    finally:
        connection.close()


def whole(value, least=0):
    """A JSON integer (a boolean is none)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def now():
    return time.time()


class Api:
    def __init__(self, base, key):
        self.base = base.rstrip("/")
        self.key = key
        self.seen_ids = set()

    def auth(self):
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def get(self, path):
        return send(self.base + path, headers=self.auth())

    def post(self, path, value=None, headers=None):
        """With a JSON body, or, without a value, with none."""
        every = {**self.auth(), **(headers or {})}
        if value is None:
            return send(self.base + path, "POST", b"", every)
        every.setdefault("Content-Type", "application/json")
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return send(self.base + path, "POST", body, every)

    def envelope(self, answer, kind, msgid=None):
        """Checks what every answer has; `kind` None where the description gives no id (errors outside /job)."""
        call, value = answer.call, answer.json()
        check(f"{call}: an object", isinstance(value, dict), value)
        check(f"{call}: no field but {sorted(ENVELOPE)}", set(value) <= ENVELOPE, sorted(value))
        check(f"{call}: no field but result may be absent", ENVELOPE - {"result"} <= set(value), sorted(value))
        check(f"{call}: id is {kind or 'text'}", value["id"] == kind if kind else isinstance(value["id"], str), value)
        check(f"{call}: ver is 1.0", value["ver"] == "1.0", value["ver"])
        check(f"{call}: ts like 2016-12-07T12:43:23.890+00:00", TS.fullmatch(str(value["ts"])), value["ts"])
        apart = datetime.datetime.fromisoformat(value["ts"]).timestamp() - now()
        check(f"{call}: ts is now", abs(apart) < CLOCK, f"{apart} s from now")
        params = value["params"]
        check(f"{call}: params has no field but {sorted(PARAMS)}", set(params) <= PARAMS, params)
        check(f"{call}: resmsgid is a UUID", is_uuid(params.get("resmsgid")), params)
        check(f"{call}: resmsgid is new", params["resmsgid"] not in self.seen_ids, params)
        self.seen_ids.add(params["resmsgid"])
        check(f"{call}: msgid {msgid!r} comes back", params.get("msgid") == msgid, params)
        return value

    def good(self, answer, kind, msgid=None):
        """The result of a call that must have gone well."""
        value = self.envelope(answer, kind, msgid)
        call, params = answer.call, value["params"]
        check(f"{call}: 200", answer.status == 200, answer)
        check(f"{call}: responseCode OK", value["responseCode"] == "OK", value)
        check(f"{call}: params.status successful", params.get("status") == "successful", params)
        check(f"{call}: no err, no errmsg", params.get("err") is None and params.get("errmsg") is None, params)
        check(f"{call}: result is an object", isinstance(value.get("result"), dict), value)
        return value["result"]

    def bad(self, answer, kind, status, code, msgid=None):
        """The errmsg of a call that must have been refused."""
        check(f"{answer.call}: {status}", answer.status == status, answer)
        value = self.envelope(answer, kind, msgid)
        call, params = answer.call, value["params"]
        check(f"{call}: responseCode {code}", value["responseCode"] == code, value)
        check(f"{call}: params.status failed", params.get("status") == "failed", params)
        check(f"{call}: err is said", isinstance(params.get("err"), str) and params["err"], params)
        check(f"{call}: errmsg is said", isinstance(params.get("errmsg"), str) and params["errmsg"], params)
        check(f"{call}: no result", not value.get("result"), value)
        return params["errmsg"]


def is_uuid(value):
    try:
        return str(uuid.UUID(value)) == value.lower()
    except (AttributeError, TypeError, ValueError):
        return False


def is_recent(value, since):
    """Epoch seconds of something that happened since then; milliseconds are far off."""
    return whole(value) and since - CLOCK <= value <= now() + CLOCK


class Run:
    """What is asked for, and what came of it."""

    def __init__(self, api, store, job, config):
        self.api = api
        self.store = Path(store)
        self.job = job  # as given: an id or an alias
        self.job_id = job  # the id; known once the jobs are listed
        self.config = config
        self.mark = uuid.uuid4().hex[:12]
        self.tag = f"client-{self.mark}"
        self.channel = f"channel-{self.mark}"
        self.started = now()
        self.days = set()

    def request(self, **changes):
        """What is submitted, with changes; None removes a field."""
        fields = {
            "tag": self.tag,
            "jobId": self.job,
            "jobConfig": self.config,
            "output_format": "csv",
            "requestedBy": "client.py",
            "requestedChannel": self.channel,
            **changes,
        }
        return {"request": {name: value for name, value in fields.items() if value is not None}}

    def submit(self, **changes):
        self.days.add(today())
        status = self.api.good(self.api.post("/job/request/submit", self.request(**changes)), SUBMIT)
        self.days.add(today())
        return self.status(status)

    def read(self, request_id):
        return self.status(self.api.good(self.api.get(f"/job/request/read/{self.tag}/{request_id}"), READ))

    def status(self, value):
        """Checks a status object: fields, types, units."""
        which = f"status object {value.get('request_id')}"
        missing = sorted(ALWAYS - set(value))
        check(f"{which}: {sorted(ALWAYS)}", not missing, f"without {missing}: {value}")
        unknown = sorted(set(value) - ALWAYS - set(ONLY_WHEN))
        check(f"{which}: no field that is not described", not unknown, unknown)
        state = value["status"]
        check(f"{which}: status one of {sorted(STATUSES)}", state in STATUSES, state)
        for name, states in ONLY_WHEN.items():
            if state not in states:
                check(f"{which}: no {name} while {state}", value.get(name) in (None, []), value.get(name))
        check(f"{which}: 40 digits of lower-case hex", re.fullmatch("[0-9a-f]{40}", str(value["request_id"])), value)
        check(f"{which}: tag", value["tag"] == self.tag, value["tag"])
        check(f"{which}: jobId", value["jobId"] in (self.job, self.job_id), value["jobId"])
        check(f"{which}: attempts is a count", whole(value["attempts"]), value["attempts"])
        self.echo(which, value["request"])
        self.stats(which, value)
        if state == "SUBMITTED":
            place = value.get("queue_position")
            check(f"{which}: queue_position from 1 on", whole(place, 1), place)
        if value.get("next_attempt_at") is not None:
            soon = value["next_attempt_at"]
            check(f"{which}: next_attempt_at, seconds, within a day", whole(soon) and abs(soon - now()) < 86400, soon)
        if state == "PROCESSING" and value.get("batches_total") is not None:
            done, total = value.get("batches_done"), value["batches_total"]
            check(f"{which}: batches_done of batches_total", whole(done) and whole(total) and done <= total, value)
        if state == "FAILED":
            message = value.get("err_message")
            check(f"{which}: err_message", isinstance(message, str) and 0 < len(message) <= 100, message)
            code = value.get("err_code")
            check(f"{which}: err_code is a word", isinstance(code, str) and re.fullmatch("[a-z_]+", code), code)
        return value

    def echo(self, which, request):
        """`request`: jobId, the fields of jobConfig, output_format."""
        check(f"{which}: request is an object", isinstance(request, dict), request)
        check(f"{which}: request.jobId", request.get("jobId") in (self.job, self.job_id), request)
        check(f"{which}: request.output_format", request.get("output_format") == "csv", request)
        fields = {name: value for name, value in request.items() if name not in ("jobId", "output_format")}
        check(f"{which}: request has the fields of jobConfig {self.config}", fields == self.config, fields)

    def stats(self, which, value):
        stats, state = value["job_stats"], value["status"]
        check(f"{which}: job_stats has nothing but {sorted(STATS)}", set(stats) <= STATS, sorted(stats))
        submitted, processing, completed = (
            stats.get("dt_job_" + last) for last in ("submitted", "processing", "completed")
        )
        check(f"{which}: dt_job_submitted, epoch seconds", is_recent(submitted, self.started), submitted)
        if processing is not None:
            check(f"{which}: dt_job_processing, seconds", is_recent(processing, self.started), processing)
            check(f"{which}: processed after it was submitted", processing >= submitted, stats)
            latency = stats.get("latency")
            check(f"{which}: latency in ms", whole(latency), latency)
            # Whole seconds are compared with milliseconds: each of them may be off by one.
            apart = abs(latency / 1000 - (processing - submitted))
            check(f"{which}: latency is the time from submitted to processing", apart <= 1.01, stats)
        if completed is not None:
            check(f"{which}: dt_job_completed, seconds", is_recent(completed, self.started), completed)
        if state == "COMPLETED":
            check(f"{which}: when it was processed and completed", None not in (processing, completed), stats)
            taken = stats.get("execution_time")
            check(f"{which}: execution_time in ms", whole(taken), taken)
            apart = abs(taken / 1000 - (completed - processing))
            check(f"{which}: execution_time is the time from processing to completed", apart <= 1.5, stats)
            for name in ("batches", "rows", "bytes"):
                check(f"{which}: {name} is a count", whole(stats.get(name)), stats)
        last = completed or processing or submitted
        check(f"{which}: last_updated is completed, else processing, else submitted", value["last_updated"] == last,
              value)

    def wait(self, request_id):
        """Reads until the request has ended."""
        order = ["SUBMITTED", "PROCESSING", "COMPLETED"]
        before, end = "SUBMITTED", time.monotonic() + PATIENCE
        while True:
            value = self.read(request_id)
            if value["status"] in ("COMPLETED", "FAILED"):
                return value
            # A PROCESSING request may go back to SUBMITTED for another attempt; then it says when or has spent one.
            back = order.index(value["status"]) < order.index(before)
            check("a request goes back only to be tried again", not back or value["attempts"] > 0, value)
            before = value["status"]
            check(f"{request_id} ends within {PATIENCE} s", time.monotonic() < end, value)
            time.sleep(0.1)


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def expected_ids(run, job_id, requested_by):
    """SHA-1 over RFC 8785 JSON. For text, lists and small integers Python's sorted, compact JSON is that."""
    found = set()
    for day in run.days:
        parts = [run.tag, job_id, run.config, "csv", requested_by, run.channel, day]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        found.add(hashlib.sha1(text.encode("utf-8")).hexdigest())
    return found


# The groups of checks, in the order in which they run.


def health(run):
    answer = send(run.api.base + "/health")  # needs no key
    value = answer.json()
    check("/health: 200 when ready", answer.status == 200, answer)
    check("/health: live, ready, dependencies", set(value) == {"live", "ready", "dependencies"}, value)
    check("/health: live and ready", value["live"] is True and value["ready"] is True, value)
    check("/health: knows dependencies", isinstance(value["dependencies"], dict) and value["dependencies"], value)
    for name, one in value["dependencies"].items():
        check(f"/health: {name}: ok and message", set(one) == {"ok", "message"}, one)
        check(f"/health: {name} is ok", one["ok"] is True, one)


def pages(run):
    document = send(run.api.base + "/openapi.json").json()
    version = document.get("openapi")
    check("/openapi.json: OpenAPI 3", isinstance(version, str) and version.startswith("3."), version)
    paths = " ".join(document.get("paths", {}))
    for path in ("/job/request/submit", "/job/request/read/", "/job/request/list/", "/job/request/search",
                 "/job/request/cancel/", "/job/request/retry/", "/job/list", "/health", "/metrics"):
        check(f"/openapi.json describes {path}", path in paths, paths)
    docs = send(run.api.base + "/docs")
    if docs.status in (301, 302, 303, 307, 308):  # a browser follows it, once
        docs = send(urllib.parse.urljoin(run.api.base + "/docs", docs.headers["Location"]))
    check("/docs: a page", docs.status == 200 and docs.headers.get_content_type() == "text/html", docs)
    metrics = run.api.get("/metrics")
    check("/metrics: 200", metrics.status == 200, metrics)
    kind = metrics.headers.get_content_type()
    check("/metrics: a type that Prometheus reads", kind in ("text/plain", "application/openmetrics-text"), kind)
    for line in metrics.body.decode("utf-8").splitlines():
        if line and not line.startswith("#"):
            sample = re.fullmatch(r"[a-zA-Z_:][\w:]*(\{.*\})? [-+.\deEInfNa]+( \d+)?", line)
            check("/metrics: lines of the Prometheus text format", sample, line)


def jobs(run):
    value = run.api.good(run.api.get("/data/v3/job/list"), JOBS)
    check("job/list: result.jobs is a list", isinstance(value.get("jobs"), list) and value["jobs"], value)
    for job in value["jobs"]:
        for name, kind in (("id", str), ("aliases", list), ("report", str), ("schedule", str)):
            check(f"job/list: {name} of each job", isinstance(job.get(name), kind), job)
        schemas = [field for field in job.values() if isinstance(field, dict) and "properties" in field]
        check(f"job/list: a JSON Schema of {job['id']}'s jobConfig", len(schemas) == 1, job)
        check("job/list: it knows batchFilters", "batchFilters" in schemas[0]["properties"], schemas[0])
    mine = [job for job in value["jobs"] if run.job == job["id"] or run.job in job["aliases"]]
    check(f"job/list: {run.job} once", len(mine) == 1, value)
    run.job_id = mine[0]["id"]


def submitting(run):
    """The first submission, under the prefix and with an envelope of its own."""
    msgid = str(uuid.uuid4())
    envelope = {"id": SUBMIT, "ver": "1.0", "ts": "2016-12-07T12:40:40+05:30", "params": {"msgid": msgid}, "more": 1}
    run.days.add(today())
    body = {**envelope, **run.request(unknown="ignored")}
    value = run.status(run.api.good(run.api.post("/data/v3/job/request/submit", body), SUBMIT, msgid))
    run.days.add(today())
    run.first = value["request_id"]
    expected = expected_ids(run, run.job_id, "client.py")
    check(f"request_id is the SHA-1 of what was asked: one of {sorted(expected)}", run.first in expected, run.first)
    again = run.submit()
    same = len(run.days) > 1 or again["request_id"] == run.first
    check("the same again is the same request, also without the prefix", same, again)


def names(run):
    """Other names for the same things."""
    for changes in (
        {"dataset": run.job, "jobId": None},
        {"datasetConfig": run.config, "jobConfig": None},
        {"outputFormat": "csv", "output_format": None},
        {"output_format": None},  # csv is the default
        {"jobId": run.job_id},
    ):
        value = run.submit(**changes)
        same = len(run.days) > 1 or value["request_id"] == run.first
        check(f"with {changes} it is the same request", same, value["request_id"])
    body = run.request(requestedChannel=None)
    value = run.status(run.api.good(run.api.post("/job/request/submit", body, {"X-Channel-ID": run.channel}), SUBMIT))
    same = len(run.days) > 1 or value["request_id"] == run.first
    check("the channel in X-Channel-ID is the same request", same, value["request_id"])
    value = run.submit(requestedBy="somebody else")
    check("another requestedBy is another request", value["request_id"] != run.first, value["request_id"])
    run.second = value["request_id"]


def encryption_key(run):
    first, second = f"hush-{run.mark}", f"hash-{run.mark}"
    ask = {"requestedBy": "client.py with a key"}
    answer = run.api.post("/job/request/submit", run.request(encryptionKey=first, **ask))
    value = run.status(run.api.good(answer, SUBMIT))
    run.third = value["request_id"]
    expected = expected_ids(run, run.job_id, ask["requestedBy"])
    same = len(run.days) > 1 or run.third in expected
    check(f"the encryption key is no part of request_id: one of {sorted(expected)}", same, run.third)
    message = refused(run, 409, "CLIENT_ERROR", run.request(encryptionKey=second, **ask))
    check("409 already submitted with another encryptionKey", message == "already submitted with another encryptionKey",
          message)
    for path in (f"/job/request/read/{run.tag}/{run.third}", f"/job/request/list/{run.tag}"):
        body = run.api.get(path).body
        check("an encryption key is never answered", first.encode() not in body and second.encode() not in body, body)


def refused(run, status, code, body, headers=None):
    return run.api.bad(run.api.post("/job/request/submit", body, headers), SUBMIT, status, code)


def mistakes(run):
    """400 and its relatives, with the words that are described."""
    for name, values in (("tag", (None, "")), ("jobId", (None, "")), ("jobConfig", (None, {}))):
        for value in values:
            message = refused(run, 400, "CLIENT_ERROR", run.request(**{name: value}))
            check(f"{name} is empty", message == f"{name} is empty", message)
    with_null = run.request()
    with_null["request"]["jobConfig"] = None
    message = refused(run, 400, "CLIENT_ERROR", with_null)
    check("jobConfig is empty", message == "jobConfig is empty", message)
    message = refused(run, 400, "CLIENT_ERROR", run.request(jobId="no-such-job"))
    start = "jobId 'no-such-job' is not configured; use one of "
    check(f"{start}…", message.startswith(start), message)
    check(f"it names {run.job_id}", run.job_id in message[len(start):], message)
    for name, value in (
        ("tag", "t" * 51), ("tag", "a/b"), ("tag", "a b"), ("tag", 7), ("jobId", 7), ("jobConfig", []),
        ("jobConfig", "x"), ("output_format", "pdf"), ("requestedBy", "b" * 51), ("requestedChannel", "c" * 51),
        ("encryptionKey", "k" * 7), ("encryptionKey", "k" * 51),
    ):
        message = refused(run, 400, "CLIENT_ERROR", run.request(**{name: value}))
        check(f"{name} = {value!r}: errmsg names the field", name in message, message)
    message = refused(run, 400, "CLIENT_ERROR", run.request(jobConfig={**run.config, "batchFilterz": ["x"]}))
    check("an unknown key in jobConfig is named", "batchFilterz" in message, message)
    for body in (b"{", b"[]", b"7", b"", b'{"request": 7}', b'{"request": []}', b"{}", b"\xff\xfe"):
        refused(run, 400, "CLIENT_ERROR", body)
    refused(run, 415, "CLIENT_ERROR", json.dumps(run.request()).encode(), {"Content-Type": "text/plain"})
    large = run.request(unknown="x" * (2 << 20))
    refused(run, 413, "CLIENT_ERROR", large)
    fits = run.request(unknown="x" * ((1 << 20) - 2000))
    run.status(run.api.good(run.api.post("/job/request/submit", fits), SUBMIT))


def missing(run):
    unknown = "0" * 40
    for path, kind in ((f"/job/request/read/{run.tag}/{unknown}", READ),
                       (f"/data/v3/job/request/read/other-{run.mark}/{run.first}", READ)):
        run.api.bad(run.api.get(path), kind, 404, "RESOURCE_NOT_FOUND")
    under = run.api.bad(run.api.get(f"/job/request/read/other-{run.mark}/{run.first}"), READ, 404, "RESOURCE_NOT_FOUND")
    nowhere = run.api.bad(run.api.get(f"/job/request/read/other-{run.mark}/{unknown}"), READ, 404, "RESOURCE_NOT_FOUND")
    told = [under.replace(run.first, "ID"), nowhere.replace(unknown, "ID")]
    check("a request of another tag is told like one that is nowhere", told[0] == told[1], told)
    for verb, kind in (("cancel", CANCEL), ("retry", RETRY)):
        answer = run.api.post(f"/job/request/{verb}/{run.tag}/{unknown}")
        run.api.bad(answer, kind, 404, "RESOURCE_NOT_FOUND")
    run.api.bad(run.api.get("/no/such/path"), None, 404, "RESOURCE_NOT_FOUND")


def cancelling(run):
    """A fresh request is cancelled before the daemon has it, or the daemon was faster: both are described."""
    fresh = run.submit(requestedBy="client.py cancels")["request_id"]
    answer = run.api.post(f"/job/request/cancel/{run.tag}/{fresh}")
    if answer.status == 200:
        value = run.status(run.api.good(answer, CANCEL))
        check("cancelled: FAILED", value["status"] == "FAILED", value)
        check("cancelled: it says so", value["err_message"].startswith("cancelled by "), value["err_message"])
        run.api.bad(run.api.post(f"/job/request/cancel/{run.tag}/{fresh}"), CANCEL, 409, "CLIENT_ERROR")
        value = run.status(run.api.good(run.api.post(f"/data/v3/job/request/retry/{run.tag}/{fresh}"), RETRY))
        check("retried: SUBMITTED", value["status"] == "SUBMITTED", value)
        check("retried: attempts begin anew", value["attempts"] == 0, value)
    else:
        run.api.bad(answer, CANCEL, 409, "CLIENT_ERROR")
        value = run.read(fresh)
        check("409 on cancel: it is not SUBMITTED any more", value["status"] != "SUBMITTED", value)
    check("cancelled and retried, it is completed", run.wait(fresh)["status"] == "COMPLETED", fresh)


def completing(run):
    value = run.wait(run.first)
    check("the request is COMPLETED", value["status"] == "COMPLETED", value)
    for verb, kind in (("cancel", CANCEL), ("retry", RETRY)):
        run.api.bad(run.api.post(f"/job/request/{verb}/{run.tag}/{run.first}"), kind, 409, "CLIENT_ERROR")
    again = run.read(run.first)
    check("409 changes nothing", again["status"] == "COMPLETED" and again["job_stats"] == value["job_stats"], again)
    check("attempts: one", again["attempts"] == 1, again["attempts"])
    value = run.wait(run.second)
    check("the other request is COMPLETED", value["status"] == "COMPLETED", value)
    run.done = again


def listing(run):
    value = run.api.good(run.api.get(f"/data/v3/job/request/list/{run.tag}?limit=1000"), LIST)
    jobs_in(run, "list", value)
    found = [job["request_id"] for job in value["jobs"]]
    check("list: count is the number of jobs returned", value["count"] == len(found), value["count"])
    check("list: no request twice", len(set(found)) == len(found), found)
    check("list: what was submitted", {run.first, run.second, run.third} <= set(found), found)
    times = [job["job_stats"]["dt_job_submitted"] for job in value["jobs"]]
    check("list: newest first", times == sorted(times, reverse=True), times)
    plain = run.api.good(run.api.get(f"/job/request/list/{run.tag}"), LIST)
    check("list: 100 unless a limit is given", [job["request_id"] for job in plain["jobs"]] == found[:100], plain)
    one = run.api.good(run.api.get(f"/job/request/list/{run.tag}?limit=1"), LIST)
    check("list?limit=1: the newest", [job["request_id"] for job in one["jobs"]] == found[:1], one)
    check("list?limit=1: count 1", one["count"] == 1, one["count"])
    none = run.api.good(run.api.get(f"/job/request/list/unknown-{run.mark}"), LIST)
    check("list: an unknown tag is an empty list", none == {"count": 0, "jobs": []}, none)
    for limit in ("0", "1001", "-1", "x", "1.5", ""):
        run.api.bad(run.api.get(f"/job/request/list/{run.tag}?limit={limit}"), LIST, 400, "CLIENT_ERROR")


def jobs_in(run, which, value):
    check(f"{which}: count and jobs", set(value) == {"count", "jobs"}, sorted(value))
    check(f"{which}: count is one, jobs a list", whole(value["count"]) and isinstance(value["jobs"], list), value)
    for job in value["jobs"]:
        run.status(job)


def search(run, filters, **more):
    body = {"request": {"filters": filters, **more}}
    return run.api.good(run.api.post("/job/request/search", body), SEARCH)


def searching(run):
    """Every search names the channel of this run, so that only what this run submitted is found."""
    mine = {"channel": run.channel}
    every = search(run, mine, limit=100)
    jobs_in(run, "search", every)
    found = {job["request_id"] for job in every["jobs"]}
    check("search: channel", {run.first, run.second, run.third} <= found, found)
    check("search: count", every["count"] == len(found), every["count"])
    for filters in ({"jobId": run.job_id}, {"dataset": run.job_id}, {"jobId": run.job_id, "status": "COMPLETED"}):
        value = search(run, {**mine, **filters}, limit=100)
        jobs_in(run, f"search {filters}", value)
        check(f"search {filters} finds it", run.first in {job["request_id"] for job in value["jobs"]}, value)
        states = {job["status"] for job in value["jobs"]}
        check(f"search {filters}: no other status", "status" not in filters or states == {"COMPLETED"}, states)
    by_day = [search(run, {**mine, "requestedDate": day}, limit=100) for day in sorted(run.days)]
    check(f"search: requestedDate {sorted(run.days)}", sum(value["count"] for value in by_day) == len(found), by_day)
    for filters in ({"requestedDate": "2001-01-01"}, {"channel": "no-" + run.mark}, {"status": "SUBMITTED"}):
        value = search(run, {**mine, **filters}, limit=100)
        ids = {job["request_id"] for job in value["jobs"]}
        check(f"search: {filters} does not find what was completed otherwise", run.first not in ids, value)
    cut = search(run, mine, limit=1)
    check("search: limit cuts jobs, not count", (len(cut["jobs"]), cut["count"]) == (1, len(found)), cut)
    check("search: 10 unless a limit is given", len(search(run, mine)["jobs"]) == min(10, len(found)), len(found))
    for body, words in (
        ({"request": {"filters": {}}}, "Filters are empty"),
        ({"request": {}}, "Filters are empty"),
        ({"request": {"filters": {"colour": "blue"}}}, "Unsupported filters"),
    ):
        message = run.api.bad(run.api.post("/data/v3/job/request/search", body), SEARCH, 400, "CLIENT_ERROR")
        check(f"search: {words}", message == words, message)


def links(run):
    urls, expires_at = run.done["downloadURLs"], run.done["expiresAt"]
    check("downloadURLs is a list with links", isinstance(urls, list) and urls, urls)
    stats = run.done["job_stats"]
    check("a link for each batch", len(urls) == stats["batches"], (len(urls), stats))
    check("expiresAt in epoch milliseconds, ahead", whole(expires_at) and expires_at > now() * 1000, expires_at)
    check("expiresAt within seven days", expires_at <= (now() + WEEK + CLOCK) * 1000, expires_at)
    run.files, batches = [], []
    for url in urls:
        match = LINK.fullmatch(url)
        check("{public_url}/files/{key}?expires={seconds}&signature={hex}", match, url)
        key = urllib.parse.unquote(match[2])
        name = re.fullmatch(r"reports-(.+?)\.csv(\.gz)?", key.rsplit("/", 1)[-1])
        check("a key that ends in reports-{batch}.csv", name, key)
        batches.append(urllib.parse.unquote(name[1]))
        apart = abs(expires_at / 1000 - int(match[3]))
        check("expiresAt is when the link ends", apart <= 1, (expires_at, match[3]))
        run.files.append((url, key))
    check("ordered by batch id, none twice", batches == sorted(set(batches), key=str.encode), batches)
    check("bytes in job_stats are the files'", stats["bytes"] == sum(len(stored(run, key)) for _, key in run.files),
          stats)


def stored(run, key):
    path = run.store / key
    check(f"{path} is in the store", path.is_file(), str(path))
    return path.read_bytes()


def downloads(run):
    for url, key in run.files:
        data = stored(run, key)
        answer = send(url)  # a signed link needs no key
        check(f"{url}: 200", answer.status == 200, answer)
        check(f"{url}: the bytes of the file", answer.body == data, f"{len(answer.body)} bytes of {len(data)}")
        carried(url, answer, len(data))
        head = send(url, "HEAD")
        check(f"HEAD {url}: 200", head.status == 200, head)
        check(f"HEAD {url}: no body", head.body == b"", head)
        carried(f"HEAD {url}", head, len(data))
        kinds = head.headers.get("Content-Type"), answer.headers.get("Content-Type")
        check(f"HEAD {url}: the Content-Type of GET", kinds[0] == kinds[1] and kinds[0], kinds)


def carried(which, answer, size):
    length = answer.headers.get("Content-Length")
    check(f"{which}: Content-Length {size}", length == str(size), length)
    disposition = answer.headers.get("Content-Disposition") or ""
    check(f"{which}: Content-Disposition with a file name", "filename" in disposition, disposition)


def ranges(run):
    for url, key in run.files:
        data = stored(run, key)
        size = len(data)
        last = size - 1
        for spec, first, end in (
            ("0-0", 0, 0),
            ("0-9", 0, min(9, last)),
            ("-5", max(size - 5, 0), last),
            (f"-{size + 10}", 0, last),
            ("5-", 5, last),
            (f"5-{size + 10}", 5, last),
            (f"{last}-", last, last),
        ):
            answer = send(url, headers={"Range": f"bytes={spec}"})
            which = f"bytes={spec} of {size}"
            check(f"{which}: 206", answer.status == 206, answer)
            span = answer.headers.get("Content-Range")
            check(f"{which}: Content-Range", span == f"bytes {first}-{end}/{size}", span)
            check(f"{which}: its bytes", answer.body == data[first:end + 1], answer)
            length = answer.headers.get("Content-Length")
            check(f"{which}: Content-Length", length == str(end + 1 - first), length)
        for spec in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
            answer = send(url, headers={"Range": f"bytes={spec}"})
            check(f"bytes={spec} of {size}: 416", answer.status == 416, answer)
            span = answer.headers.get("Content-Range")
            check(f"bytes={spec}: Content-Range says the size", span == f"bytes */{size}", span)
        several(url, data)
        # RFC 9110: what is no valid range of a known unit is ignored.
        for header in ("bytes=9-0", "lines=0-1", "bytes=x"):
            answer = send(url, headers={"Range": header})
            check(f"Range: {header}: ignored or refused, never part of it",
                  (answer.status == 200 and answer.body == data) or answer.status in (400, 416), answer)


def several(url, data):
    """Several ranges: the whole, or each part with its own Content-Range."""
    answer = send(url, headers={"Range": "bytes=0-1,5-8"})
    check("several ranges: 200 or 206", answer.status in (200, 206), answer)
    if answer.status == 200:
        check("several ranges: the whole file", answer.body == data, f"{len(answer.body)} bytes of {len(data)}")
    else:
        kind = answer.headers.get_content_type()
        check("several ranges: multipart/byteranges", kind == "multipart/byteranges", kind)
        for first, end in ((0, 1), (5, 8)):
            span = f"bytes {first}-{end}/{len(data)}".encode()
            check(f"several ranges: {span} and its bytes",
                  span in answer.body and b"\r\n\r\n" + data[first:end + 1] + b"\r\n" in answer.body, answer)


def bad_links(run):
    url, key = run.files[0]
    match = LINK.fullmatch(url)
    front, expires, signature = f"{match[1]}/files/{match[2]}", match[3], match[4]
    other = ("0" if signature[-1] != "0" else "1")
    past = str(int(now()) - 10)
    for what, link in (
        ("an altered signature", f"{front}?expires={expires}&signature={signature[:-1]}{other}"),
        ("a short signature", f"{front}?expires={expires}&signature={signature[:-1]}"),
        ("a later end", f"{front}?expires={int(expires) + 1}&signature={signature}"),
        ("an end in the past", f"{front}?expires={past}&signature={signature}"),
        ("another file", f"{front}x?expires={expires}&signature={signature}"),
        ("no signature", f"{front}?expires={expires}"),
        ("nothing", front),
        ("text as the end", f"{front}?expires=soon&signature={signature}"),
    ):
        run.api.bad(send(link), None, 403, "FORBIDDEN")
        check(f"{what}: nothing of the file in the answer", stored(run, key) not in send(link).body, link)
    for way in ("../jobs.toml", "%2e%2e/jobs.toml", "..%2fjobs.toml", "/etc/passwd", "%2fetc%2fpasswd",
                "..%5cjobs.toml", "a%00b"):
        answer = send(f"{match[1]}/files/{way}?expires={expires}&signature={signature}")
        check(f"/files/{way}: refused", answer.status in (400, 403, 404), answer)


def keys(run):
    """With a key only: who has none gets nothing."""
    base = run.api.base
    path = f"{base}/job/request/list/{run.tag}"
    for headers in ({}, {"Authorization": "Bearer not-the-key"}, {"X-API-Key": "not-the-key"},
                    {"Authorization": f"Basic {run.api.key}"}, {"Authorization": "Bearer"}):
        answer = send(path, headers=headers)
        run.api.bad(answer, LIST, 401, "UNAUTHORIZED")
        check("401: nothing of the requests", run.first.encode() not in answer.body, answer)
    body = json.dumps(run.request(requestedBy="nobody")).encode()
    answer = send(f"{base}/job/request/submit", "POST", body, {"Content-Type": "application/json"})
    run.api.bad(answer, SUBMIT, 401, "UNAUTHORIZED")
    value = run.api.good(send(path, headers={"X-API-Key": run.api.key}), LIST)
    check("the key in X-API-Key is as good", run.first in {job["request_id"] for job in value["jobs"]}, value)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("store_directory")
    parser.add_argument("job_id")
    parser.add_argument("jobconfig_json", type=json.loads)
    parser.add_argument("--key")
    return parser.parse_args()


def main():
    given = arguments()
    run = Run(Api(given.base_url, given.key), given.store_directory, given.job_id, given.jobconfig_json)
    groups = [health, pages, jobs, submitting, names, encryption_key, mistakes, missing, cancelling, completing,
              listing, searching, links, downloads, ranges, bad_links]
    if given.key:
        groups.append(keys)
    for group in groups:
        try:
            group(run)
        except Wrong as wrong:
            print(f"{group.__name__}: not as described\n{wrong}")
            return 1
        except Exception as error:  # a missing field or a broken connection: not as described, either
            print(f"{group.__name__}: not as described\nexpected: an answer that can be read\nseen:     {error!r}")
            return 1
        check.group(group.__name__)
    print(f"ok: {check.count} checks")
    return 0


if __name__ == "__main__":
    sys.exit(main())

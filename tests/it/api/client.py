#!/usr/bin/env python3
"""A client of the HTTP API as a stranger writes it from the contract alone; the standard library only.

usage: client.py BASE_URL STORE_DIRECTORY JOB_ID JOBCONFIG_JSON

It submits a request, polls it, downloads every file and compares the bytes with those in the store's directory, and tries
every other call on the way. Ends with `ok: N checks`, or with the first check that failed and exit code 1.
"""

import http.client
import json
import os
import re
import sys
import time
import urllib.parse
import uuid

CHECKS = 0
SEEN_RESMSGIDS = set()
TS = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
CODES = {400: "CLIENT_ERROR", 404: "RESOURCE_NOT_FOUND", 405: "CLIENT_ERROR", 409: "CLIENT_ERROR", 415: "CLIENT_ERROR"}


def check(what, holds, seen=None):
    global CHECKS
    CHECKS += 1
    if not holds:
        print(f"FAILED: {what}; seen: {seen!r}")
        sys.exit(1)


class Api:
    def __init__(self, base):
        self.base = urllib.parse.urlsplit(base)

    def send(self, method, path, body=None, headers=None):
        """One call on a connection of its own: status, headers, bytes."""
        connection = http.client.HTTPConnection(self.base.hostname, self.base.port, timeout=60)
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def call(self, method, path, call_id, request=None, status=200, msgid=None):
        """One call of /job/…: its envelope is checked, its result (or errmsg) comes back."""
        body, headers = None, {}
        if request is not None:
            envelope = {"id": call_id, "ver": "1.0", "ts": "2016-12-07T12:40:40+05:30", "request": request}
            envelope["params"] = {"msgid": msgid} if msgid else {}
            body, headers = json.dumps(envelope).encode(), {"Content-Type": "application/json"}
        got, headers, data = self.send(method, path, body, headers)
        check(f"{method} {path} answers {status}", got == status, (got, data[:300]))
        check("JSON comes back", headers["Content-Type"].split(";")[0] == "application/json", headers["Content-Type"])
        answer = json.loads(data)
        check("the envelope's fields", set(answer) == {"id", "ver", "ts", "params", "responseCode", "result"}, answer)
        check("the call's id", answer["id"] == call_id, answer["id"])
        check("version 1.0", answer["ver"] == "1.0", answer["ver"])
        check("the form of ts", TS.match(answer["ts"]), answer["ts"])
        params = answer["params"]
        fields = {"resmsgid", "status", "err", "errmsg"} | ({"msgid"} if msgid else set())
        check("the fields of params", set(params) == fields, params)
        check("resmsgid is a UUID", str(uuid.UUID(params["resmsgid"])) == params["resmsgid"], params)
        check("resmsgid is new", params["resmsgid"] not in SEEN_RESMSGIDS, params)
        SEEN_RESMSGIDS.add(params["resmsgid"])
        check("msgid comes back", params.get("msgid") == msgid, params)
        if status == 200:
            check("successful", (params["status"], answer["responseCode"]) == ("successful", "OK"), answer)
            return answer["result"]
        check("failed", (params["status"], answer["responseCode"]) == ("failed", CODES[status]), answer)
        check("an error has words", bool(params["err"]) and bool(params["errmsg"]), params)
        return params["errmsg"]


def submit(api, request, prefix="", **options):
    path = f"{prefix}/job/request/submit"
    return api.call("POST", path, "ekstep.analytics.job.request.submit", request, **options)


def read(api, tag, request_id, prefix=""):
    return api.call("GET", f"{prefix}/job/request/read/{tag}/{request_id}", "ekstep.analytics.job.request.info")


def check_status_object(status, tag, job, config):
    check("tag", status["tag"] == tag, status)
    check("jobId", status["jobId"] == job, status)
    check("status", status["status"] in ("SUBMITTED", "PROCESSING", "COMPLETED", "FAILED"), status)
    check("request_id is 40 hex digits", re.fullmatch(r"[0-9a-f]{40}", status["request_id"]), status)
    check("request", status["request"] == {"jobId": job, "output_format": "csv", **config}, status["request"])
    now = time.time()
    check("last_updated in seconds", abs(status["last_updated"] - now) < 600, status)
    check("dt_job_submitted in seconds", abs(status["job_stats"]["dt_job_submitted"] - now) < 600, status)
    check("attempts is a number", isinstance(status["attempts"], int), status)
    check("downloadURLs is a list", isinstance(status["downloadURLs"], list), status)
    if status["status"] != "COMPLETED":
        check("no links before the end", status["downloadURLs"] == [] and "expiresAt" not in status, status)
    if status["status"] == "SUBMITTED":
        check("queue_position from 1", status["queue_position"] >= 1, status)


def until_ended(api, tag, request_id, job, config):
    for _ in range(600):
        status = read(api, tag, request_id, "/data/v3")
        check_status_object(status, tag, job, config)
        if status["status"] in ("COMPLETED", "FAILED"):
            return status
        time.sleep(0.1)
    check("the request ends within a minute", False, status)


def check_completed(status):
    check("COMPLETED", status["status"] == "COMPLETED", status)
    stats, now = status["job_stats"], time.time()
    check("processing and completed in seconds", all(abs(stats[f"dt_job_{what}"] - now) < 600
          for what in ("submitted", "processing", "completed")), stats)
    check("execution_time in milliseconds", 0 <= stats["execution_time"] < 60_000, stats)
    check("latency in milliseconds", 0 <= stats["latency"] < 60_000, stats)
    check("one link per batch", stats["batches"] == len(status["downloadURLs"]) > 0, stats)
    check("rows and bytes", stats["rows"] >= 0 and stats["bytes"] > 0, stats)
    check("expiresAt in milliseconds", 0 < status["expiresAt"] / 1000 - now <= 7 * 86400 + 60, status)
    check("attempts counts the one that completed it", status["attempts"] >= 1, status)
    names = [os.path.basename(urllib.parse.urlsplit(url).path) for url in status["downloadURLs"]]
    check("links are ordered by batch id", names == sorted(names), names)


def check_downloads(api, status, store):
    total = 0
    for url in status["downloadURLs"]:
        parts = urllib.parse.urlsplit(url)
        check("an absolute link to this server", (parts.hostname, parts.port) == (api.base.hostname, api.base.port), url)
        check("expires, then signature", re.fullmatch(r"expires=\d+&signature=[0-9a-f]{64}", parts.query), url)
        key = urllib.parse.unquote(parts.path[len("/files/"):])
        with open(os.path.join(store, key), "rb") as file:
            expected = file.read()
        target = f"{parts.path}?{parts.query}"
        got, headers, data = api.send("GET", target)
        check("the file comes", got == 200, (got, data[:200]))
        check("the store's bytes", data == expected, (len(data), len(expected)))
        check("Content-Length", int(headers["Content-Length"]) == len(expected), headers["Content-Length"])
        check("Content-Disposition", os.path.basename(key) in headers["Content-Disposition"], headers)
        total += len(data)
        check_ranges(api, target, expected)
    check("bytes of all files", total == status["job_stats"]["bytes"], total)


def check_ranges(api, target, whole):
    size = len(whole)
    for wanted, start, end in (("0-9", 0, 10), ("-5", size - 5, size), (f"{size - 3}-", size - 3, size)):
        got, headers, data = api.send("GET", target, headers={"Range": f"bytes={wanted}"})
        check(f"range {wanted}", (got, data) == (206, whole[start:end]), (got, data[:100]))
        check("Content-Range", headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}", headers["Content-Range"])
    got, _, _ = api.send("GET", target, headers={"Range": f"bytes={size}-"})
    check("a range beyond the end", got == 416, got)
    got, headers, data = api.send("HEAD", target)
    check("HEAD", (got, data, int(headers["Content-Length"])) == (200, b"", size), (got, headers))


def check_finding(api, tag, request_id, job):
    listed = api.call("GET", f"/job/request/list/{tag}?limit=5", "ekstep.analytics.job.request.list")
    check("list has count and jobs", set(listed) == {"count", "jobs"}, listed)
    check("count is the number returned", listed["count"] == len(listed["jobs"]), listed)
    check("the request is listed", request_id in [one["request_id"] for one in listed["jobs"]], listed)
    nobody = api.call("GET", "/job/request/list/nobody", "ekstep.analytics.job.request.list")
    check("an unknown tag is an empty list", nobody == {"count": 0, "jobs": []}, nobody)
    search = "ekstep.analytics.job.request.search"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for filters in ({"jobId": job}, {"dataset": job}, {"status": "COMPLETED"}, {"requestedDate": today},
                    {"channel": "channel-1", "status": ["COMPLETED"]}):
        found = api.call("POST", "/job/request/search", search, {"filters": filters, "limit": 10})
        check(f"found by {filters}", request_id in [one["request_id"] for one in found["jobs"]], found)
        check("count of all that match", found["count"] >= len(found["jobs"]), found)
    found = api.call("POST", "/job/request/search", search, {"filters": {"channel": "no-such-channel"}})
    check("nothing of another channel", found == {"count": 0, "jobs": []}, found)
    for filters, message in (({}, "Filters are empty"), ({"colour": "red"}, "Unsupported filters")):
        said = api.call("POST", "/job/request/search", search, {"filters": filters}, status=400)
        check(message, said == message, said)


def check_refusals(api, tag, request, request_id):
    for change, message in (
        ({"tag": ""}, "tag is empty"),
        ({"jobId": None}, "jobId is empty"),
        ({"jobConfig": {}}, "jobConfig is empty"),
        ({"jobConfig": None}, "jobConfig is empty"),
    ):
        said = submit(api, {**request, **change}, status=400)
        check(message, said == message, said)
    said = submit(api, {**request, "jobId": "x"}, status=400)
    check("an unknown job names those there are", said.startswith("jobId 'x' is not configured; use one of "), said)
    said = submit(api, {**request, "jobConfig": {**request["jobConfig"], "batchfilter": ["1"]}}, status=400)
    check("a typing error inside jobConfig is an error", "batchfilter" in said, said)
    for what in ("cancel", "retry"):
        call = f"ekstep.analytics.job.request.{what}"
        api.call("POST", f"/job/request/{what}/{tag}/{request_id}", call, {}, status=409)
        api.call("POST", f"/job/request/{what}/{tag}/nothing", call, {}, status=404)
    api.call("GET", f"/job/request/read/{tag}/nothing", "ekstep.analytics.job.request.info", status=404)


def check_operations(api, job):
    jobs = api.call("GET", "/job/list", "ekstep.analytics.job.list")["jobs"]
    check("the job is listed with its schedule", any(one["id"] == job and one["schedule"] for one in jobs), jobs)
    got, _, data = api.send("GET", "/health")
    health = json.loads(data)
    check("healthy", got == 200 and health["live"] is True and health["ready"] is True, health)
    check("each dependency", all(one["ok"] is True for one in health["dependencies"].values()), health)
    got, _, data = api.send("GET", "/openapi.json")
    check("it describes itself", got == 200 and json.loads(data)["openapi"].startswith("3."), data[:100])
    got, _, data = api.send("GET", "/metrics")
    check("metrics", got == 200 and b"exhaustd_" in data, data[:100])


def main():
    base, store, job, config = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    api, tag = Api(base), "client-py"
    request = {"tag": tag, "jobId": job, "jobConfig": config, "output_format": "csv",
               "requestedBy": "somebody", "requestedChannel": "channel-1"}
    msgid = str(uuid.uuid4())
    submitted = submit(api, request, msgid=msgid)
    check_status_object(submitted, tag, job, config)
    request_id = submitted["request_id"]
    again = submit(api, request, prefix="/data/v3")
    check("the same submission is the same request", again["request_id"] == request_id, again)
    later = {"tag": tag, "dataset": job, "datasetConfig": config, "outputFormat": "csv",
             "requestedBy": "somebody", "requestedChannel": "channel-1", "unknown": 1}
    check("the later names mean the same", submit(api, later)["request_id"] == request_id)
    other = submit(api, {**request, "requestedBy": "somebody else"})
    check("another requester is another request", other["request_id"] != request_id, other)
    print("submitted")
    status = until_ended(api, tag, request_id, job, config)
    check_completed(status)
    print("completed")
    check_downloads(api, status, store)
    print("downloaded")
    check_finding(api, tag, request_id, job)
    check_refusals(api, tag, request, request_id)
    check_operations(api, job)
    print(f"ok: {CHECKS} checks")


if __name__ == "__main__":
    main()

"""Calls every /job call through the client that openapi-python-client made, and fails where an answer is not parsed.

    client.py URL waiting      no daemon works: what is submitted waits
    client.py URL completed    a daemon has worked
"""

import json
import sys

from exhaustd_client import Client
from exhaustd_client.api.default import cancel, health, jobs, list_, read, retry, search, submit
from exhaustd_client.models import (
    CancelAnswer, Fault, HealthReport, JobsAnswer, ListAnswer, ReadAnswer, RetryAnswer, SearchAnswer, SearchBody,
    SubmitAnswer, SubmitBody,
)

TAG = "python"
url, phase = sys.argv[1:]
client = Client(base_url=url, raise_on_unexpected_status=True)


def parsed(response, kind, status=200):
    """The answer, of this kind."""
    assert response.status_code == status, response
    assert isinstance(response.parsed, kind), f"{kind.__name__}: {type(response.parsed)} of {response.content}"
    # What was parsed says what was sent.
    assert response.parsed.to_dict() == json.loads(response.content), response.content
    return response.parsed


body = SubmitBody.from_dict(
    {"request": {"tag": TAG, "jobId": "course-report", "jobConfig": {"batchFilters": ["TPD"]}}}
)
submitted = parsed(submit.sync_detailed(client=client, body=body), SubmitAnswer)
key = {"tag": TAG, "request_id": submitted.result.request_id}
one = parsed(read.sync_detailed(**key, client=client), ReadAnswer).result
listed = parsed(list_.sync_detailed(TAG, client=client, limit=10), ListAnswer).result
assert listed.count == 1 and listed.jobs[0].request_id == one.request_id
wanted = SearchBody.from_dict({"request": {"filters": {"jobId": "course-report", "status": [one.status]}}})
found = parsed(search.sync_detailed(client=client, body=wanted), SearchAnswer).result
assert one.request_id in [job.request_id for job in found.jobs]
configured = parsed(jobs.sync_detailed(client=client), JobsAnswer).result
assert "course-report" in [job.id for job in configured.jobs]
parsed(health.sync_detailed(client=client), HealthReport)

if phase == "waiting":
    assert (one.status, one.queue_position, one.download_ur_ls) == ("SUBMITTED", 1, [])
    assert parsed(cancel.sync_detailed(**key, client=client), CancelAnswer).result.status == "FAILED"
    assert parsed(retry.sync_detailed(**key, client=client), RetryAnswer).result.status == "SUBMITTED"
else:
    assert one.status == "COMPLETED" and one.download_ur_ls and one.job_stats.rows > 0, one
missing = parsed(read.sync_detailed(TAG, "missing", client=client), Fault, 404)
assert missing.params.errmsg and missing.response_code == "RESOURCE_NOT_FOUND"
print(f"python {phase}: every answer parsed")

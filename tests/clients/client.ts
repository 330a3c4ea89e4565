// Calls every /job call with the types that openapi-typescript made. What is not described as it is used does not compile;
// what is not answered as it is described fails.
//
//   client.js URL waiting      no daemon works: what is submitted waits
//   client.js URL completed    a daemon has worked

import createClient from "openapi-fetch";
import type { paths } from "./exhaustd.js";

declare const process: { argv: string[] };

const TAG = "typescript";
const [, , url, phase] = process.argv;
const client = createClient<paths>({ baseUrl: url });

function is(value: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(value) !== JSON.stringify(expected)) {
    throw new Error(`${what}: ${JSON.stringify(value)} is not ${JSON.stringify(expected)}`);
  }
}

/** What was answered; an error is thrown. */
function given<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const submitted = given(await client.POST("/job/request/submit", {
  body: { request: { tag: TAG, jobId: "course-report", jobConfig: { batchFilters: ["TPD"] } } },
}));
is(submitted.id, "ekstep.analytics.job.request.submit" satisfies typeof submitted.id, "id");
is(submitted.responseCode, "OK" satisfies typeof submitted.responseCode, "responseCode");
const path = { tag: TAG, request_id: submitted.result.request_id };
const one = given(await client.GET("/job/request/read/{tag}/{request_id}", { params: { path } })).result;
const status: string = one.status;
const links: string[] = one.downloadURLs;
const listed = given(await client.GET("/job/request/list/{tag}", {
  params: { path: { tag: TAG }, query: { limit: 10 } },
})).result;
is([listed.count, listed.jobs[0]?.request_id], [1, one.request_id], "list");
const found = given(await client.POST("/job/request/search", {
  body: { request: { filters: { jobId: "course-report", status: [status] } } },
})).result;
is(found.jobs.some((job) => job.request_id === one.request_id), true, "search");
const configured = given(await client.GET("/job/list")).result;
is(configured.jobs.some((job) => job.id === "course-report"), true, "jobs");
is(given(await client.GET("/health")).live, true, "health");

if (phase === "waiting") {
  is([status, links.length], ["SUBMITTED", 0], "read");
  const cancelled = given(await client.POST("/job/request/cancel/{tag}/{request_id}", { params: { path } }));
  is(cancelled.result.status, "FAILED", "cancel");
  const retried = given(await client.POST("/job/request/retry/{tag}/{request_id}", { params: { path } }));
  is(retried.result.status, "SUBMITTED", "retry");
} else {
  const rows: number = one.job_stats.rows ?? 0;
  is([status, links.length > 0, rows > 0], ["COMPLETED", true, true], "read");
}
const missing = await client.GET("/job/request/read/{tag}/{request_id}", {
  params: { path: { tag: TAG, request_id: "missing" } },
});
const why: string | undefined = missing.error?.params.errmsg;
is([missing.error?.responseCode, typeof why], ["RESOURCE_NOT_FOUND", "string"], "a fault");
console.log(`typescript ${phase}: every answer as described`);

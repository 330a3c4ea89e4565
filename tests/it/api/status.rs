//! What a waiting client is told, state by state, and what is done to other systems' rows: nothing.

use serde_json::{Value, json};

use super::{BATCH, SUBMIT, site, submission};
use crate::databases::each;
use crate::http::Server;

fn status(server: &Server, id: &str) -> Value {
    let answer = server.get(&format!("/job/request/read/t/{id}"));
    assert_eq!(answer.status, 200, "{id}: {}", answer.errmsg());
    answer.json()["result"].clone()
}

/// Rows as the daemon leaves them in each state, and what the API makes of them.
#[test]
fn each_state_is_told_in_the_contract_s_fields_and_units() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        // Migrated by then.
        assert_eq!(server.get("/job/request/list/t").json()["result"], json!({ "count": 0, "jobs": [] }));
        for (id, minute) in [("second", 2), ("first", 1), ("backing-off", 0), ("work", 3), ("done", 4), ("broken", 5)] {
            site.insert("t", id, "course-report", r#"{"batchId": "1"}"#);
            database.execute(&format!(
                "UPDATE job_request SET dt_job_submitted = '2026-01-01 00:0{minute}:00' WHERE request_id = '{id}'"
            ));
        }
        database.execute(
            "UPDATE job_request SET next_attempt_at = '2099-01-01 00:00:00', iteration = 1, err_message = 'a passing one'
                WHERE request_id = 'backing-off';
            UPDATE job_request SET status = 'PROCESSING', dt_job_processing = '2026-01-01 00:03:30',
                lease_owner = 'x', lease_expires_at = '2099-01-01 00:00:00',
                job_stats = '{\"batches_done\": 3, \"batches_total\": 8}' WHERE request_id = 'work';
            UPDATE job_request SET status = 'FAILED', dt_job_processing = '2026-01-01 00:05:30',
                dt_job_completed = '2026-01-01 00:05:31', execution_time = 900, iteration = 3,
                err_message = 'No data found: nothing' WHERE request_id = 'broken'",
        );
        let first = status(&server, "first");
        assert_eq!((&first["queue_position"], &first["last_updated"]), (&json!(1), &json!(1_767_225_660)));
        assert_eq!(status(&server, "second")["queue_position"], 2);
        let backing_off = status(&server, "backing-off");
        assert_eq!(
            (&backing_off["queue_position"], &backing_off["attempts"]),
            (&json!(4), &json!(1)),
            "behind all others"
        );
        assert_eq!(backing_off["next_attempt_at"], json!(4_070_908_800_i64));
        assert!(backing_off.get("err_message").is_none(), "told when FAILED");
        let work = status(&server, "work");
        assert_eq!((&work["batches_done"], &work["batches_total"]), (&json!(3), &json!(8)));
        assert_eq!((&work["job_stats"]["latency"], &work["last_updated"]), (&json!(30_000), &json!(1_767_225_810)));
        let broken = status(&server, "broken");
        assert_eq!((&broken["err_message"], &broken["attempts"]), (&json!("No data found: nothing"), &json!(3)));
        assert!(broken.get("err_code").is_none(), "an earlier version wrote it");
        assert_eq!((&broken["job_stats"]["execution_time"], &broken["downloadURLs"]), (&json!(900), &json!([])));
        let listed = server.get("/job/request/list/t?limit=3").json()["result"].clone();
        let ids: Vec<&str> =
            listed["jobs"].as_array().unwrap().iter().map(|job| job["request_id"].as_str().unwrap()).collect();
        assert_eq!((listed["count"].as_u64(), ids), (Some(3), vec!["broken", "done", "work"]));
        let failed = server.get("/job/requests?status=FAILED&tag=t&submitted_to=2026-01-02&limit=1").json();
        let (count, id) = (&failed["result"]["count"], &failed["result"]["jobs"][0]["request_id"]);
        assert_eq!((count, id), (&json!(1), &json!("broken")));
        for (wrong, why) in [
            ("statuses=FAILED", "there is no filter 'statuses'; there are: tag, "),
            ("status=failed", "there is no status 'failed'"),
            ("limit=0", "limit must be"),
            ("after=x", "after must be"),
        ] {
            let refused = server.get(&format!("/job/requests?{wrong}"));
            let message = refused.json()["params"]["errmsg"].as_str().unwrap().to_owned();
            assert!(refused.status == 400 && message.starts_with(why), "{wrong}: {message}");
        }
        for limit in ["0", "1001", "-1", "x", ""] {
            let answer = server.get(&format!("/job/request/list/t?limit={limit}"));
            assert_eq!((answer.status, answer.errmsg().as_str()), (400, "limit must be a whole number from 1 to 1000"));
        }
    });
}

#[test]
fn a_completed_request_tells_sizes_and_its_links_in_order() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "run");
        let mut body = submission("t", BATCH);
        body["request"]["jobConfig"] =
            json!({ "batchFilters": { "ids": ["0130000000000000001", "0130000000000000002", "nowhere"] } });
        let submitted = server.post(SUBMIT, &body);
        let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
        let done = server.ended("t", &id, &[]);
        assert_eq!(done["status"], "COMPLETED", "{done}");
        let stored = &site.rows()[&id];
        let links: Vec<&str> =
            done["downloadURLs"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
        assert_eq!(links.len(), stored.urls.len());
        for (link, key) in links.iter().zip(&stored.urls) {
            assert!(link.starts_with(&format!("http://{}/files/{key}?expires=", server.address)), "{link}");
        }
        for field in ["batches", "rows", "bytes", "batches_left_out"] {
            assert_eq!(done["job_stats"][field], stored.stats[field], "{field}");
        }
        assert_eq!(done["job_stats"]["batches_left_out"]["unknown"], json!(["nowhere"]));
        let now = exhaust::requests::Clock::now(&exhaust::requests::SystemClock);
        let seconds = u64::try_from(now.timestamp()).unwrap();
        let expires = done["expiresAt"].as_u64().unwrap() / 1000;
        assert!(expires.abs_diff(seconds + 24 * 3600) < 120, "{expires} in milliseconds, a day from now");
        assert!(done["last_updated"].as_u64().unwrap().abs_diff(seconds) < 120, "in seconds");
    });
}

#[test]
fn cancel_and_retry_change_the_states_they_may_and_no_others() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let submitted = server.post(SUBMIT, &submission("t", BATCH)).json()["result"].clone();
        let id = submitted["request_id"].as_str().unwrap().to_owned();
        let act = |what: &str, id: &str| server.call("POST", &format!("/job/request/{what}/t/{id}"), &[], b"");
        let early = act("retry", &id);
        assert_eq!(
            (early.status, early.errmsg().as_str()),
            (409, "the request is SUBMITTED: only a FAILED request can be tried again")
        );
        let cancelled = act("cancel", &id);
        assert_eq!(cancelled.status, 200, "{}", cancelled.errmsg());
        assert_eq!(cancelled.json()["id"], "ekstep.analytics.job.request.cancel");
        assert_eq!(cancelled.json()["result"]["err_message"], "cancelled by the client");
        assert_eq!(cancelled.json()["result"]["err_code"], "cancelled");
        assert_eq!(act("cancel", &id).status, 409);
        assert_eq!(act("retry", &id).json()["result"]["status"], "SUBMITTED");
        assert_eq!(act("cancel", "nothing").status, 404);
        // The same submission wakes a FAILED one.
        assert_eq!(act("cancel", &id).status, 200);
        let again = server.post(SUBMIT, &submission("t", BATCH)).json()["result"].clone();
        assert_eq!((&again["request_id"], &again["status"]), (&json!(id), &json!("SUBMITTED")));
        // A daemon works on it.
        database.execute(&format!(
            "UPDATE job_request SET status = 'PROCESSING', lease_owner = 'h:1:2', \
             lease_expires_at = '2100-01-01 00:00:00' WHERE request_id = '{id}'"
        ));
        let many =
            |what: &str, request: &Value| server.post(&format!("/job/bulk/{what}"), &json!({ "request": request }));
        let of_tag = json!({ "tag": "t" });
        for wrong in [json!({}), json!({ "filter": {} }), json!({ "filter": { "tags": "t" } })] {
            assert_eq!(many("cancel", &wrong).status, 400, "{wrong}");
        }
        let tried = many("cancel", &json!({ "filter": of_tag })).json()["result"].clone();
        assert_eq!((&tried["dry_run"], &tried["count"]), (&json!(true), &json!(1)));
        assert_eq!(
            (&tried["first"][0]["request_id"], &tried["first"][0]["status"]),
            (&json!(id), &json!("PROCESSING"))
        );
        let none = many("retry", &json!({ "filter": of_tag, "dry_run": false })).json()["result"].clone();
        assert_eq!((&none["count"], &none["complete"], none.get("first")), (&json!(0), &json!(true), None));
        let in_work = act("cancel", &id);
        assert_eq!((in_work.status, &in_work.json()["result"]["status"]), (200, &json!("FAILED")));
        let ended = act("cancel", &id);
        assert_eq!(
            (ended.status, ended.errmsg().as_str()),
            (409, "the request is FAILED: only a request that waits or that is in work here can be cancelled")
        );
        // Another system's row is shown and left alone.
        site.insert("t", "theirs", "their-own-job", "{}");
        let before = database.query_text("SELECT * FROM job_request WHERE request_id = 'theirs'");
        let refused = act("cancel", "theirs");
        assert_eq!(refused.status, 409);
        assert!(refused.errmsg().contains("their-own-job"), "{}", refused.errmsg());
        assert_eq!(status(&server, "theirs")["status"], "SUBMITTED");
        let cli = site.run(&["cancel", "t", "theirs"]);
        assert_eq!(cli.status.code(), Some(1), "the command line neither");
        assert_eq!(database.query_text("SELECT * FROM job_request WHERE request_id = 'theirs'"), before);
    });
}

/// The later API's names mean the same.
#[test]
fn aliases_find_the_same_request() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let plain = json!({ "request": {
            "tag": "t", "jobId": "assessment-report", "jobConfig": { "batchFilter": ["1"] }, "output_format": "csv",
        } });
        let later = json!({ "id": 7, "request": {
            "tag": "t", "dataset": "assessment-score-report", "datasetConfig": { "batchFilter": ["1"] },
            "outputFormat": "CSV", "somethingElse": true,
        } });
        let ids: Vec<Value> = [plain, later]
            .iter()
            .map(|body| server.post(SUBMIT, body).json()["result"]["request_id"].clone())
            .collect();
        assert!(ids[0].is_string() && ids[0] == ids[1], "{ids:?}");
        let search = |filters: Value| server.post("/job/request/search", &json!({ "request": { "filters": filters } }));
        for filters in [
            json!({ "dataset": "assessment-score-report" }),
            json!({ "jobId": ["assessment-report"], "status": "SUBMITTED" }),
        ] {
            assert_eq!(search(filters.clone()).json()["result"]["count"], 1, "{filters}");
        }
        for day in ["0001-01-01", "9999-12-31"] {
            assert_eq!(search(json!({ "requestedDate": day })).json()["result"]["count"], 0, "{day}");
        }
        for (filters, message) in [
            (json!({}), "Filters are empty"),
            (json!(null), "Filters are empty"),
            (json!({ "colour": "red" }), "Unsupported filters"),
            (json!({ "requestedDate": "2026-1-31" }), "requestedDate must be one day (UTC), as 2026-01-31"),
            (json!({ "requestedDate": "0000-01-01" }), "requestedDate must be one day (UTC), as 2026-01-31"),
            (json!({ "status": 7 }), "status must be text, or a list of texts"),
        ] {
            let answer = search(filters);
            assert_eq!((answer.status, answer.errmsg().as_str()), (400, message));
        }
    });
}

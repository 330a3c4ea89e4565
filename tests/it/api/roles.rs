//! Roles of keys, and the audit of what they do.

use serde_json::json;

use super::keys::{SHA_A, SHA_ALL, SHA_B, call};
use super::{BATCH, SUBMIT, site, submission};
use crate::daemon::wait_for;
use crate::databases::each;
use crate::http::Server;
use crate::site::told;

/// A client as before roles; a viewer, who reads and sees neither links nor who asked; an operator.
#[test]
fn a_viewer_reads_and_the_audit_says_who_did_what() {
    each(|database| {
        let key = |name: &str, sha: &str, role: &str| {
            format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{sha}\"\nrole = \"{role}\"\ntags = [\"a-*\"]\n")
        };
        let keys = [key("a", SHA_A, "client"), key("v", SHA_B, "viewer"), key("o", SHA_ALL, "operator")].concat();
        let site = site(database, &keys);
        let server = Server::start(&site, "run");
        let submitted = call(&server, "key-of-a", "POST", SUBMIT, &submission("a-1", BATCH));
        assert_eq!(submitted.status, 200, "{}", submitted.errmsg());
        let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
        let read = format!("/job/request/read/a-1/{id}");
        let status = server.ended("a-1", &id, &[("x-api-key", "key-of-a")]);
        let link = status["downloadURLs"][0].as_str().unwrap().to_owned();
        assert_eq!(server.fetch(&link).status, 200);

        let viewer = |method: &str, path: &str| call(&server, "key-of-b", method, path, &submission("a-1", BATCH));
        let seen = viewer("GET", &read).json()["result"].clone();
        assert_eq!((&seen["status"], &seen["downloadURLs"]), (&json!("COMPLETED"), &json!([])));
        assert_eq!((&seen["links_withheld"], seen.get("expiresAt")), (&json!(1), None), "{seen}");
        let listed = viewer("GET", "/job/request/list/a-1").json()["result"]["jobs"][0].clone();
        assert_eq!(listed["downloadURLs"], json!([]));
        assert_eq!(viewer("GET", "/job/request/list/b-1").status, 403, "a role does not widen tags");
        for path in [SUBMIT.to_owned(), format!("/job/request/cancel/a-1/{id}"), format!("/job/request/retry/a-1/{id}")]
        {
            let answer = viewer("POST", &path);
            assert_eq!(
                (answer.status, answer.errmsg().as_str()),
                (403, "the key's role, viewer, may only read"),
                "{path}"
            );
        }

        let failing = call(&server, "key-of-all", "POST", SUBMIT, &submission("a-2", "no-such-batch"));
        let id_2 = failing.json()["result"]["request_id"].as_str().unwrap().to_owned();
        server.ended("a-2", &id_2, &[("x-api-key", "key-of-all")]);
        let retried = call(&server, "key-of-all", "POST", &format!("/job/request/retry/a-2/{id_2}"), &json!({}));
        assert_eq!(retried.status, 200, "{}", retried.errmsg());

        let rows = || -> Vec<[String; 3]> {
            let rows = database.query_text("SELECT act, who, subject FROM exhaust_audit ORDER BY id");
            rows.into_iter()
                .map(|row| row.into_iter().map(Option::unwrap).collect::<Vec<_>>().try_into().unwrap())
                .collect()
        };
        let (one, two) = (format!("a-1/{id}"), format!("a-2/{id_2}"));
        let wanted = |act: &str, who: &str, subject: &str| [act, who, subject].map(str::to_owned);
        // It was written before the act; the others come within a moment.
        assert!(rows().contains(&wanted("retry", "o", &two)), "{:?}", rows());
        wait_for("the audit", || {
            let rows = rows();
            let all = [("submit", "a", &one), ("read", "a", &one), ("download", "link", &one), ("submit", "o", &two)];
            all.iter().all(|(act, who, subject)| rows.contains(&wanted(act, who, subject))).then_some(())
        });
        assert!(!rows().iter().any(|[act, who, _]| act == "read" && who == "v"), "a viewer was given no link");

        assert_eq!(server.stop().0, Some(0));
        let output = site.command(&["retry", "a-2", &id_2]).env("SUDO_USER", "jo").output().unwrap();
        assert!(rows().contains(&wanted("retry", "jo", &two)), "{}", told(&output));
    });
}

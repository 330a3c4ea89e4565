//! An object store that does not take the key of one request: a policy by prefixes, or a name that is too long for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::buckets;
use crate::databases::TestDatabase;
use crate::faulty::Fault;
use crate::site::{JOBS, Site, told, write_one_course};

/// A small batch, and one whose file goes to an object store in parts.
const LARGE: usize = 45_000;

fn source(directory: &Path) {
    let mut users = "userid,firstname,lastname\n".to_owned();
    let mut enrolments = "batchid,userid,courseid,active,enrolleddate,completedon\n".to_owned();
    for n in 0..LARGE {
        let batch = if n < 3 { "small" } else { "large" };
        writeln!(users, "u{n:06},{:x<220},Learner", "First").unwrap();
        writeln!(enrolments, "{batch},u{n:06},do_1,true,2025-01-02,").unwrap();
    }
    write_one_course(directory, "batchid,courseid,enddate\nsmall,do_1,\nlarge,do_1,\n", &users, &enrolments);
}

#[test]
fn a_key_that_an_object_store_refuses_fails_its_own_request() {
    let data = tempfile::tempdir().unwrap();
    source(data.path());
    buckets::each(|bucket| {
        for (fault, status, message) in [
            (Fault::HostileRefused("403 Forbidden", "AccessDenied"), "SUBMITTED", "the store refuses the credentials"),
            (
                Fault::HostileRefused("400 Bad Request", "KeyTooLongError"),
                "FAILED",
                "the store does not take this name",
            ),
        ] {
            let (spoilt, _) = bucket.spoilt(fault);
            let database = TestDatabase::sqlite();
            let site = Site::new(&database, data.path(), JOBS, "").storing_in(Some(&spoilt));
            // All want the same files; the hostile ones are first in line for each of them.
            for (n, id) in ["1-hostile", "2-honest", "3-hostile", "4-honest", "5-honest"].into_iter().enumerate() {
                let path = if id.ends_with("hostile") { "hostile" } else { "reports" };
                let request = json!({ "batchFilter": ["small", "large"], "reportPath": path });
                site.insert(&format!("t{n}"), id, "course-report", &request.to_string());
            }
            let log = told(&site.run(&["run", "--once"]));
            let rows = site.rows();
            let first = &rows["2-honest"].urls;
            assert_eq!(first.len(), 2, "{fault:?}: {log}");
            let expected: Vec<Vec<u8>> = first.iter().map(|url| site.bytes(url)).collect();
            // Larger than one part, so that it was sent in parts; its rows are counted by hand.
            assert!(expected[0].len() > 8 << 20);
            let lines = |file: &[u8]| file.split(|byte| *byte == b'\n').count() - 1;
            assert_eq!((lines(&expected[0]), lines(&expected[1])), (LARGE - 3 + 1, 3 + 1));
            for (id, row) in &rows {
                let about = format!("{:?} {fault:?} {id}: {} {}\n{log}", bucket.server, row.status, row.message);
                if id.ends_with("hostile") {
                    assert!(row.status == status && row.message.contains(message) && row.urls.is_empty(), "{about}");
                } else {
                    assert_eq!((row.status.as_str(), row.message.as_str()), ("COMPLETED", ""), "{about}");
                    let files: Vec<Vec<u8>> = row.urls.iter().map(|url| site.bytes(url)).collect();
                    assert!(files == expected, "{about}");
                }
            }
            let attempts = database.query_text("SELECT DISTINCT iteration FROM job_request");
            assert_eq!(attempts, [[Some("1".to_owned())]], "{fault:?}: {log}");
            // Each run leaves the files of its own claim, and nothing of the hostile requests.
            let stored = site.stored();
            let named: BTreeSet<String> = rows.values().flat_map(|row| row.urls.clone()).collect();
            assert!(named.len() == 6 && named.is_subset(&stored), "{stored:?}");
            assert!(!stored.iter().any(|key| key.contains("hostile")), "{stored:?}");
        }
    });
}

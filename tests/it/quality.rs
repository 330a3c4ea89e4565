//! A file that is thin because its data could not be used never comes out COMPLETED without a word: what each request is
//! told, and that no other request is harmed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod generated;

use std::fs;
use std::path::Path;

use crate::daemon::{Daemon, wait_for};
use crate::databases;
use crate::site::{JOBS, Site, told};

/// A platform of one course with one module, two batches and three learners in each, of whom all is readable.
const TABLES: [(&str, &str); 6] = [
    (
        "course_batch.csv",
        "batchid,courseid,name,startdate,enddate,status\n\
         B1,C1,one,2025-01-01,2099-12-31,1\nB2,C1,two,2025-01-01,2099-12-31,1\n",
    ),
    (
        "content.csv",
        "identifier,name,channel,framework,contentType,leafNodesCount\nC1,Course,ch,TPD,Course,4\nA1,Quiz,ch,TPD,SelfAssess,\n",
    ),
    (
        "content_hierarchy.csv",
        "identifier,hierarchy\nC1,\"{\"\"children\"\":[{\"\"identifier\"\":\"\"M1\"\",\"\"mimeType\"\":\
         \"\"application/vnd.ekstep.content-collection\"\",\"\"contentType\"\":\"\"Course\"\",\"\"visibility\"\":\
         \"\"Default\"\",\"\"leafNodesCount\"\":2}]}\"\n",
    ),
    ("user.csv", "userid,firstname\nu1,Ann\nu2,Bob\nu3,Cyd\n"),
    (
        "user_enrolments.csv",
        "batchid,courseid,userid,active,enrolleddate,completedon\n\
         B1,C1,u1,true,2025-03-01,2025-03-05\nB1,C1,u2,true,2025-03-01,\nB1,C1,u3,true,2025-03-01,\n\
         B2,C1,u1,true,2025-03-01,2025-03-05\nB2,C1,u2,true,2025-03-01,\nB2,C1,u3,true,2025-03-01,\n",
    ),
    (
        "user_activity_agg.csv",
        "activity_type,activity_id,user_id,context_id,agg\n\
         Course,C1,u1,cb:B1,{'completedCount': 4}\nCourse,M1,u1,cb:B1,{'completedCount': 1}\n\
         Course,C1,u2,cb:B2,{'completedCount': 1}\n",
    ),
];

const ATTEMPTS: (&str, &str) = (
    "assessment_aggregator.csv",
    "course_id,batch_id,user_id,content_id,attempt_id,total_score,total_max_score,grand_total,last_attempted_on\n\
     C1,B1,u1,A1,x,3,4,3/4,2025-03-02\nC1,B2,u1,A1,y,1,4,1/4,2025-03-02\n",
);

/// Writes the tables, with these texts replaced in one of them.
fn write_tables(directory: &Path, changed: &str, replaced: &[(&str, &str)]) {
    let mut found = false;
    for (name, text) in TABLES.into_iter().chain([ATTEMPTS]) {
        let mut text = text.to_owned();
        if name == changed {
            found = true;
            for (old, new) in replaced {
                assert!(text.contains(old), "{old} is not in {name}");
                text = text.replace(old, new);
            }
        }
        fs::write(directory.join(name), text).unwrap();
    }
    assert!(found, "{changed}");
}

/// What becomes of requests for one batch, for the other, for both, and for all of the framework.
struct Outcome {
    one: Result<Vec<String>, String>,
    other: Result<Vec<String>, String>,
    both: Result<Vec<String>, String>,
    by_framework: Result<Vec<String>, String>,
    /// `batches_left_out` of the one for both.
    left_out: serde_json::Value,
}

/// Runs the four requests together, on each database, loaded at once and in the smallest parts.
fn each_outcome(job: &str, changed: &str, replaced: &[(&str, &str)], check: impl Fn(&Outcome, &str)) {
    databases::each(|database| {
        for memory in ["2GiB", "1"] {
            database.execute("DROP TABLE IF EXISTS job_request");
            let directory = tempfile::tempdir().unwrap();
            write_tables(directory.path(), changed, replaced);
            let jobs = format!("{JOBS}[worker]\nmemory = \"{memory}\"\n");
            let site = Site::new(database, directory.path(), &jobs, "");
            site.insert("a", "one", job, r#"{"batchId": "B1"}"#);
            site.insert("b", "other", job, r#"{"batchId": "B2"}"#);
            site.insert("c", "both", job, r#"{"batchFilter": ["B1", "B2"]}"#);
            site.insert("d", "framework", job, r#"{"batchFilters": ["TPD"]}"#);
            let log = told(&site.run(&["run", "--once"]));
            let rows = site.rows();
            let of = |id: &str| match rows[id].status.as_str() {
                "COMPLETED" => Ok(rows[id].urls.iter().map(|url| site.file(url)).collect()),
                "FAILED" => Err(rows[id].message.clone()),
                status => panic!("{id}: {status}: {log}"),
            };
            let outcome = Outcome {
                one: of("one"),
                other: of("other"),
                both: of("both"),
                by_framework: of("framework"),
                left_out: rows["both"].stats["batches_left_out"].clone(),
            };
            check(&outcome, &log);
        }
    });
}

/// Lines of a file below its heading.
fn listed(files: &Result<Vec<String>, String>) -> Vec<usize> {
    files
        .as_ref()
        .map_or_else(|error| panic!("{error}"), |files| files.iter().map(|file| file.lines().count() - 1).collect())
}

/// Every row that one batch has of a table is unusable: it is left out by name, and its neighbour is delivered.
#[test]
fn a_batch_of_which_no_row_is_usable_is_left_out_as_broken() {
    let enrolments =
        [("B1,C1,u1,true", "B1,C1,u1,yes!"), ("B1,C1,u2,true", "B1,C1,u2,"), ("B1,C1,u3,true", "B1,C1,u3,no!")];
    let all_three = [enrolments[0], ("B1,C1,u2,true", "B1,C1,u2,?"), enrolments[2]];
    for (job, table, replaced, reason) in [
        (
            "course-report",
            "user_enrolments.csv",
            &all_three[..],
            "table user_enrolments: active is not a boolean; 3 of 3 rows are unusable",
        ),
        (
            "course-report",
            "user_activity_agg.csv",
            &[("cb:B1,{'completedCount': 4}", "cb:B1,four"), ("cb:B1,{'completedCount': 1}", "cb:B1,one")],
            "table user_activity_agg: agg is not a map; 2 of 2 rows are unusable",
        ),
        (
            "assessment-report",
            "assessment_aggregator.csv",
            &[("A1,x,3,4", "A1,x,three,4")],
            "table assessment_aggregator: total_score is not a number; 1 of 1 rows are unusable",
        ),
    ] {
        each_outcome(job, table, replaced, |outcome, log| {
            assert_eq!(outcome.one.as_ref().unwrap_err(), reason, "{log}");
            let rows = if job == "course-report" { 3 } else { 1 };
            for files in [&outcome.other, &outcome.both, &outcome.by_framework] {
                assert_eq!(listed(files), [rows], "{log}");
            }
            assert_eq!(outcome.left_out["broken"], serde_json::json!(["B1"]));
        });
    }
    // One usable row is enough for the batch; the empty cell is not active.
    each_outcome("course-report", "user_enrolments.csv", &enrolments, |outcome, log| {
        assert_eq!(listed(&outcome.one), [0], "{log}");
        assert_eq!(outcome.left_out["broken"], serde_json::json!([]));
    });
}

/// However many they are, they fail no request for another batch.
#[test]
fn unusable_rows_of_a_batch_harm_no_request_for_another() {
    use std::fmt::Write as _;
    let mut bad = String::from("B1,C1,u3,true,2025-03-01,\n");
    for learner in 0..50 {
        writeln!(bad, "B1,C1,x{learner},perhaps,,").unwrap();
    }
    each_outcome("course-report", "user_enrolments.csv", &[("B1,C1,u3,true,2025-03-01,\n", &bad)], |outcome, log| {
        let message =
            "table user_enrolments: user_enrolments.csv line 5: active is not a boolean; 50 of 53 rows are unusable";
        // Clients get 100 characters.
        assert_eq!(outcome.one.as_ref().unwrap_err(), &message[..100], "{log}");
        // Of both together they are too many as well: 50 of 56.
        assert!(outcome.both.is_err() && outcome.by_framework.is_err(), "{log}");
        assert_eq!(listed(&outcome.other), [3], "{log}");
    });
}

/// Rows whose batch cannot be read may belong to any batch.
#[test]
fn a_table_of_which_nothing_can_be_used_fails_every_request_that_needs_it() {
    for (job, table, replaced, reason) in [
        (
            "course-report",
            "user.csv",
            &[("u1,Ann", "u1,Ann,"), ("u2,Bob", "u2,Bob,"), ("u3,Cyd", "u3,Cyd,")],
            "table user: broken CSV line; 3 of 3 rows are unusable",
        ),
        (
            "course-report",
            "content.csv",
            &[("Course,4", "Course,four"), ("SelfAssess,", "SelfAssess,x"), ("C1,Course", "C1,Course")],
            "table content: leafNodesCount is not a number; 2 of 2 rows are unusable",
        ),
        (
            "course-report",
            "content_hierarchy.csv",
            &[("\"{\"\"children", "\"{children"), ("identifier,hierarchy", "identifier,hierarchy"), ("M1", "M1")],
            "table content_hierarchy: hierarchy is not a tree in JSON; 1 of 1 rows are unusable",
        ),
    ] {
        each_outcome(job, table, replaced, |outcome, log| {
            for answer in [&outcome.one, &outcome.other, &outcome.both, &outcome.by_framework] {
                assert_eq!(answer.as_ref().unwrap_err(), reason, "{log}");
            }
        });
    }
}

/// A column of dates that the report shows, of which none reads: an empty column would be taken for an answer.
#[test]
fn a_column_of_dates_of_which_none_reads_fails_the_request() {
    let wrong = [("true,2025-03-01", "true,01.03.2025")];
    each_outcome("course-report", "user_enrolments.csv", &wrong, |outcome, log| {
        let message = "table user_enrolments: enrolleddate is not a date; 3 of 3 values do not read";
        assert_eq!(outcome.one.as_ref().unwrap_err(), message, "{log}");
        let message = "table user_enrolments: enrolleddate is not a date; 6 of 6 values do not read";
        assert_eq!(outcome.both.as_ref().unwrap_err(), message, "{log}");
    });
    each_outcome("course-report", "user_enrolments.csv", &[("2025-03-05", "five")], |outcome, log| {
        let message = "table user_enrolments: completedon is not a date; 1 of 1 values do not read";
        assert_eq!(outcome.one.as_ref().unwrap_err(), message, "{log}");
    });
    // The assessment report shows no dates.
    each_outcome("assessment-report", "user_enrolments.csv", &wrong, |outcome, log| {
        assert_eq!(listed(&outcome.both), [1, 1], "{log}");
    });
    // One that reads is enough; the request for the other batch has none of these rows.
    each_outcome(
        "course-report",
        "user_enrolments.csv",
        &[("B1,C1,u1,true,2025-03-01", "B1,C1,u1,true,soon")],
        |outcome, log| {
            assert_eq!(listed(&outcome.both), [3, 3], "{log}");
        },
    );
    // As BigQuery exports them.
    let big_query = [("true,2025-03-01", "true,2025-02-28 20:00:00 UTC")];
    each_outcome("course-report", "user_enrolments.csv", &big_query, |outcome, log| {
        assert_eq!(listed(&outcome.one), [3], "{log}");
        assert_eq!(outcome.one.as_ref().unwrap()[0].matches(",28/02/2025,").count(), 3, "{log}");
    });
}

/// Scores of which none reads, for the same reason.
#[test]
fn scores_of_which_none_reads_fail_the_request() {
    each_outcome("assessment-report", "assessment_aggregator.csv", &[("3/4", "three of four")], |outcome, log| {
        let message = "table assessment_aggregator: grand_total does not read; 1 of 1 values do not read";
        assert_eq!(outcome.one.as_ref().unwrap_err(), message, "{log}");
        assert_eq!(listed(&outcome.both), [1, 1], "one reads: {log}");
    });
}

/// It is unknown whether such a batch has ended.
#[test]
fn a_batch_whose_end_does_not_read_is_not_taken_as_running() {
    let wrong = [("B1,C1,one,2025-01-01,2099-12-31", "B1,C1,one,2025-01-01,next year")];
    each_outcome("course-report", "course_batch.csv", &wrong, |outcome, log| {
        assert_eq!(listed(&outcome.one), [3], "named by id: {log}");
        assert_eq!(listed(&outcome.both), [3, 3], "{log}");
        assert_eq!(listed(&outcome.by_framework), [3], "{log}");
    });
    let both = [("2099-12-31", "next year")];
    each_outcome("course-report", "course_batch.csv", &both, |outcome, log| {
        let message = "No data found: 2 batches have an end that does not read";
        assert_eq!(outcome.by_framework.as_ref().unwrap_err(), message, "{log}");
    });
    // Nothing there is an end that is open.
    each_outcome("course-report", "course_batch.csv", &[("2099-12-31", "")], |outcome, log| {
        assert_eq!(listed(&outcome.by_framework), [3, 3], "{log}");
    });
}

/// Ten unusable rows of thirteen are borne in each batch; twenty of both together are not.
fn ten_unusable_rows_a_batch(directory: &Path) {
    let lines = |batch: &str| {
        let unusable = format!("{batch},C1,x,perhaps,,\n").repeat(10);
        format!("{batch},C1,u3,true,2025-03-01,\n{unusable}")
    };
    let replaced = [("B1,C1,u3,true,2025-03-01,\n", lines("B1")), ("B2,C1,u3,true,2025-03-01,\n", lines("B2"))];
    let replaced = replaced.each_ref().map(|(old, new)| (*old, new.as_str()));
    write_tables(directory, "user_enrolments.csv", &replaced);
}

#[test]
fn a_request_is_judged_over_all_of_its_batches() {
    databases::each(|database| {
        let directory = tempfile::tempdir().unwrap();
        ten_unusable_rows_a_batch(directory.path());
        let site = Site::new(database, directory.path(), JOBS, "");
        site.insert("t", "one", "course-report", r#"{"batchId": "B1"}"#);
        site.insert("t", "both", "course-report", r#"{"batchFilter": ["B1", "B2"]}"#);
        let output = site.run(&["run", "--once"]);
        let rows = site.rows();
        assert_eq!(rows["one"].status, "COMPLETED", "{}", told(&output));
        assert_eq!(rows["both"].status, "FAILED", "{}", told(&output));
        assert!(rows["both"].message.contains("active is not a boolean; 20 of 26"), "{}", rows["both"].message);
    });
}

/// A daemon is killed when it has stored one of two batches; the next one judges both.
#[test]
fn a_request_is_judged_over_all_of_its_attempts() {
    databases::each(|database| {
        let directory = tempfile::tempdir().unwrap();
        ten_unusable_rows_a_batch(directory.path());
        let jobs = format!("{JOBS}[worker]\nlease = \"1500ms\"\nthreads = 1\n");
        let site = Site::new(database, directory.path(), &jobs, "");
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "both", "course-report", r#"{"batchFilter": ["B1", "B2"]}"#);
        let first = Daemon::start(&site, "generating#2:pause");
        wait_for("the first batch to be noted", || {
            let row = database.query_text("SELECT processed_batches FROM job_request");
            row[0][0].as_ref().filter(|noted| noted.contains("reports-B1")).cloned()
        });
        first.kill();
        let second = Daemon::start(&site, "");
        let row = wait_for("its end", || Some(site.rows()["both"].clone()).filter(|row| row.status == "FAILED"));
        assert!(row.message.contains("active is not a boolean; 20 of 26"), "{}\n{}", row.message, second.log());
        assert!(second.log().contains("stored=1 of=2"), "{}", second.log());
    });
}

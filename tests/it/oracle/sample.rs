//! The sample data through the statements: every rule of the reports has something to do in it, and nothing is lost.

use std::collections::HashMap;
use std::path::Path;

use exhaust::sample_data::{Format, Layout, SampleOptions, generate};

use super::{Attempt, Counts, Oracle};

fn sample(room: &Path, format: Format) -> Oracle {
    let directory = room.join("data");
    let options = SampleOptions { format, layout: Layout::Single, ..SampleOptions::small(&directory) };
    generate(&options, &|_, _| ()).unwrap();
    Oracle::load(&directory)
}

/// Rows by user id; heading to cell in each.
fn rows(file: &str) -> Vec<HashMap<String, String>> {
    csv::Reader::from_reader(file.as_bytes()).deserialize().map(Result::unwrap).collect()
}

#[test]
fn every_enrolment_is_written_or_left_out_for_a_reason_and_every_reason_occurs() {
    let room = tempfile::tempdir().unwrap();
    let mut oracle = sample(room.path(), Format::Csv);
    let (mut all, mut all_assessed) = (Counts::default(), Counts::default());
    let batches = oracle.batches();
    assert_eq!(batches.len(), 32);
    for batch in &batches {
        let course = oracle.counts_course(batch);
        let left_out = course.other_course + course.inactive + course.no_user + course.duplicate;
        assert_eq!(course.enrolled, course.rows + left_out, "{batch}");
        assert_eq!(rows(&oracle.course(batch, true)).len() as u64, course.rows, "{batch}");
        let assessed = oracle.counts_assessment(batch);
        assert_eq!(course.rows, assessed.rows + assessed.no_attempt, "{batch}");
        assert_eq!(rows(&oracle.assessment(batch, Attempt::Best)).len() as u64, assessed.rows, "{batch}");
        for (sum, n) in [
            (&mut all.enrolled, course.enrolled),
            (&mut all.rows, course.rows),
            (&mut all.other_course, course.other_course),
            (&mut all.inactive, course.inactive),
            (&mut all.no_user, course.no_user),
            (&mut all.duplicate, course.duplicate),
            (&mut all_assessed.no_attempt, assessed.no_attempt),
            (&mut all_assessed.attempts_without_enrolment, assessed.attempts_without_enrolment),
        ] {
            *sum += n;
        }
    }
    assert_eq!(all.enrolled, 2_000);
    assert!(all.rows > 1_850, "{all:?}");
    for reason in [all.other_course, all.inactive, all.no_user, all.duplicate, all_assessed.no_attempt] {
        assert!(reason > 0, "{all:?} {all_assessed:?}");
    }
    assert!(all_assessed.attempts_without_enrolment > 0);
}

#[test]
fn every_rule_shows_in_some_cell() {
    let room = tempfile::tempdir().unwrap();
    let mut oracle = sample(room.path(), Format::Csv);
    let batches = oracle.batches();
    let courses: Vec<_> = batches.iter().flat_map(|batch| rows(&oracle.course(batch, true))).collect();
    let any = |test: &dyn Fn(&HashMap<String, String>) -> bool| courses.iter().any(test);
    assert!(any(&|row| row["Course Progress"] == "100" && row["Certificate Status"] == "Issued"));
    assert!(any(&|row| row["Course Progress"].is_empty()));
    assert!(any(&|row| row["Course Progress"] == "0"));
    assert!(any(&|row| row["Enrolment Date"].is_empty()));
    assert!(any(&|row| row["User Name"].is_empty()));
    assert!(any(&|row| row["User Name"].starts_with("'=HYPERLINK")), "a guarded formula");
    assert!(any(&|row| row["External ID"].is_empty() && row["School Name"].is_empty()), "hidden by the policy");
    assert!(any(&|row| !row["School Name"].is_empty()), "shown under the policy");
    assert!(any(&|row| row.keys().any(|heading| heading.ends_with(" - Progress") && row[heading] == "50")));
    assert!(any(&|row| !row.keys().any(|heading| heading.ends_with(" - Progress"))), "a course without modules");

    let mut headings = Vec::new();
    let mut differ = false;
    for batch in &batches {
        let best = oracle.assessment(batch, Attempt::Best);
        differ |= best != oracle.assessment(batch, Attempt::Latest);
        let mut reader = csv::Reader::from_reader(best.as_bytes());
        let mut of_batch: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        headings.extend_from_slice(&of_batch);
        let all = of_batch.len();
        of_batch.sort();
        of_batch.dedup();
        assert_eq!(of_batch.len(), all, "{batch}: two columns share a heading");
    }
    assert!(differ, "best and latest attempts are never different");
    for start in ["Total Score (do_", "Final test (do_", "do_", "'@Quiz, part \"one\""] {
        assert!(headings.iter().any(|heading| heading.starts_with(start)), "{start}");
    }
}

#[test]
fn all_formats_hold_the_same_data() {
    let (csv_room, jsonl_room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut csv, mut jsonl) = (sample(csv_room.path(), Format::Csv), sample(jsonl_room.path(), Format::Jsonl));
    for batch in csv.batches() {
        assert_eq!(csv.course(&batch, true), jsonl.course(&batch, true), "{batch}");
        assert_eq!(csv.assessment(&batch, Attempt::Best), jsonl.assessment(&batch, Attempt::Best), "{batch}");
    }
}

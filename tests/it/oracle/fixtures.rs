//! The statements against files derived by hand from the specification.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Attempt, Counts, Dialect, Oracle};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Compares with `expected/<report>.csv`; every expected file that is compared is taken off `left`.
fn check(left: &mut Vec<String>, name: &str, report: &str, found: &str) {
    let file = format!("{report}.csv");
    let expected = fs::read_to_string(fixture(name).join("expected").join(&file)).unwrap();
    assert_eq!(found, expected, "{name}: {report}");
    left.retain(|other| *other != file);
}

fn expected_files(name: &str) -> Vec<String> {
    let entries = fs::read_dir(fixture(name).join("expected")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn sunbird_course_reports_are_what_the_specification_says() {
    let name = "sunbird/course";
    let mut left = expected_files(name);
    let mut oracle = Oracle::load(&fixture(name));
    for batch in ["01303150537737011211", "0130293763489873929", "0130404613948538885"] {
        check(&mut left, name, &format!("course-{batch}"), &oracle.course(batch, true));
    }
    let batch = "01303150537737011211";
    check(&mut left, name, &format!("course-{batch}.shown"), &oracle.course(batch, false));
    assert!(left.is_empty(), "not compared: {left:?}");
    assert_eq!(oracle.counts_course(batch), Counts { enrolled: 3, rows: 1, no_user: 2, ..Counts::default() });
}

#[test]
fn sunbird_assessment_reports_are_what_the_specification_says() {
    let name = "sunbird/assessment";
    let mut left = expected_files(name);
    let mut oracle = Oracle::load_as(&fixture(name), Dialect::Spark, 0);
    for batch in ["1001", "1005", "1006"] {
        check(&mut left, name, &format!("assessment-{batch}"), &oracle.assessment(batch, Attempt::Best));
    }
    assert!(left.is_empty(), "not compared: {left:?}");
    let without = Counts { enrolled: 3, other_course: 3, attempts_without_enrolment: 2, ..Counts::default() };
    assert_eq!(oracle.counts_assessment("1001"), without);
    let counts = Counts { enrolled: 5, rows: 2, no_attempt: 3, ..Counts::default() };
    assert_eq!(oracle.counts_assessment("1006"), counts);
}

#[test]
fn odd_course_reports_are_what_the_specification_says() {
    let mut left = expected_files("odd");
    let mut oracle = Oracle::load(&fixture("odd"));
    let batch = "0130000000000000001";
    for batch in [batch, "0130000000000000003", "0130000000000000004"] {
        check(&mut left, "odd", &format!("course-{batch}"), &oracle.course(batch, true));
    }
    check(&mut left, "odd", &format!("course-{batch}.shown"), &oracle.course(batch, false));
    let mut kolkata = Oracle::load_as(&fixture("odd"), Dialect::Rfc4180, 330);
    check(&mut left, "odd", &format!("course-{batch}.kolkata"), &kolkata.course(batch, true));
    assert!(left.iter().all(|file| file.starts_with("assessment")), "not compared: {left:?}");
    let counts =
        Counts { enrolled: 18, rows: 9, other_course: 2, inactive: 2, no_user: 2, duplicate: 3, ..Counts::default() };
    assert_eq!(oracle.counts_course(batch), counts);
}

#[test]
fn odd_assessment_reports_are_what_the_specification_says() {
    let mut left = expected_files("odd");
    let mut oracle = Oracle::load(&fixture("odd"));
    let batch = "0130000000000000002";
    check(&mut left, "odd", &format!("assessment-{batch}"), &oracle.assessment(batch, Attempt::Best));
    check(&mut left, "odd", &format!("assessment-{batch}.latest"), &oracle.assessment(batch, Attempt::Latest));
    let nobody = "0130000000000000004";
    check(&mut left, "odd", &format!("assessment-{nobody}"), &oracle.assessment(nobody, Attempt::Best));
    assert!(left.iter().all(|file| file.starts_with("course")), "not compared: {left:?}");
    let counts = Counts {
        enrolled: 10,
        rows: 6,
        inactive: 1,
        no_user: 1,
        no_attempt: 2,
        attempts_without_enrolment: 3,
        ..Counts::default()
    };
    assert_eq!(oracle.counts_assessment(batch), counts);
}

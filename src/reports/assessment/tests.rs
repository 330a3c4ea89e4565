use super::*;
use crate::reports::counts::CellsByColumn;
use crate::reports::test_tables::{AS_WRITTEN, Tables, column};
use crate::reports::{Attempt as Choice, Counts};
use crate::tables::schema::Table;
use crate::tables::scores::grand_total;

const ATTEMPT: &str = "course_id | batch_id | user_id | content_id | attempt_id | total_score | total_max_score | grand_total | last_attempted_on";

/// Batch 1 of course c with learners a, b and n (who is not in `user`), assessments q1, q2 and the resource r.
fn platform() -> Tables {
    Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
        .add(
            Table::Content,
            "identifier | name | contentType",
            &["c | Course | Course", "q1 | Quiz | SelfAssess", "q2 | Exam | SelfAssess", "r | Reading | Resource"],
        )
        .add(Table::User, "userid", &["a", "b", "x"])
        .add(
            Table::UserEnrolments,
            "batchid | userid | courseid | active",
            &["1 | a | c | true", "1 | b | c | true", "1 | n | c | true", "1 | x | c | false"],
        )
}

/// Scores that were read for cells, and those that do not read.
fn scores(readable: u64, unreadable: u64) -> CellsByColumn {
    let cells = CellCounts { readable, unreadable };
    [(Table::AssessmentAggregator, [("grand_total".into(), cells)].into())].into()
}

fn lines(tables: &Tables, options: &Options) -> (Vec<String>, Counts) {
    let (csv, counts, _) = tables.report("assessment", "1", options, AS_WRITTEN);
    (csv.lines().map(str::to_owned).collect(), counts)
}

#[test]
fn one_column_per_assessment_by_name_and_a_total() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &[
            "c | 1 | a | q1 | t1 | 7   | 10 | 7/10 | 2020-01-01",
            "c | 1 | a | q2 | t2 | 0.5 | 3  | 1/3  | 2020-01-01",
            "c | 1 | b | q1 | t3 | 10  | 10 | 10/10 | 2020-01-01",
        ],
    );
    let (lines, counts) = lines(&tables, &Options::default());
    assert_eq!(
        lines[0],
        "External ID,User ID,User Name,Email ID,Mobile Number,Organisation Name,State Name,District Name,\
         School UDISE Code,School Name,Exam,Quiz,Total Score"
    );
    assert_eq!(column(&lines, "Quiz"), ["70%", "100%"]);
    assert_eq!(column(&lines, "Exam"), ["34%", ""]);
    // ceil(100 × 7.5 ÷ 13) = ceil(57.69…)
    assert_eq!(column(&lines, "Total Score"), ["58%", "100%"]);
    assert_eq!(
        counts,
        Counts {
            rows: 2,
            enrolled: 4,
            cells: scores(3, 0),
            left_out: [("inactive".into(), 1), ("no_user".into(), 1)].into(),
            ..Counts::default()
        }
    );
}

#[test]
fn attempts_of_other_courses_batches_and_types_do_not_count() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &[
            "d | 1 | a | q1 | t1 | 7 | 10 | 7/10 |",
            "c | 2 | a | q1 | t2 | 7 | 10 | 7/10 |",
            "c | 1 | a | r  | t3 | 7 | 10 | 7/10 |",
            "c | 1 | a | zz | t4 | 7 | 10 | 7/10 |",
            "c | 1 | b | q2 | t5 | 1 | 4  | 1/4  |",
        ],
    );
    let (found, counts) = lines(&tables, &Options::default());
    assert_eq!(column(&found, "User ID"), ["b"]);
    assert!(found[0].ends_with("School Name,Exam,Total Score"));
    assert_eq!((counts.by_reason()["no_attempt"], counts.rows), (1, 1));
    let options = Options {
        assessment: AssessmentOptions { content_types: vec!["Resource".to_owned()], ..AssessmentOptions::default() },
        ..Options::default()
    };
    let (found, counts) = lines(&tables, &options);
    assert_eq!(column(&found, "User ID"), ["a"]);
    assert_eq!(column(&found, "Reading"), ["70%"]);
    assert_eq!((counts.by_reason()["no_attempt"], counts.rows), (1, 1));
}

#[test]
fn columns_also_come_from_people_who_are_not_listed() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &[
            "c | 1 | a | q1 | t1 | 7 | 10 | 7/10 |",
            // Not enrolled at all, not active, not in user.
            "c | 1 | stranger | q2 | t2 | 1 | 4 | 1/4 |",
            "c | 1 | x | q2 | t3 | 1 | 4 | 1/4 |",
            "c | 1 | n | q2 | t4 | 1 | 4 | 1/4 |",
        ],
    );
    let (lines, counts) = lines(&tables, &Options::default());
    assert_eq!(column(&lines, "Exam"), [""]);
    assert_eq!(column(&lines, "Total Score"), ["70%"]);
    let expected = Counts {
        rows: 1,
        enrolled: 4,
        attempts_without_enrolment: 3,
        cells: scores(1, 0),
        left_out: [("inactive".into(), 1), ("no_user".into(), 1), ("no_attempt".into(), 1)].into(),
    };
    assert_eq!(counts, expected);
}

/// Which of learner a's attempts counts: its grand total tells.
fn counted(choice: Choice, attempts: &[&str]) -> String {
    let tables = platform().add(Table::AssessmentAggregator, ATTEMPT, attempts);
    let assessment = AssessmentOptions { attempt: choice, ..AssessmentOptions::default() };
    let options = Options { assessment, ..Options::default() };
    column(&lines(&tables, &options).0, "Quiz")[0].to_owned()
}

#[test]
fn the_best_attempt_counts_then_the_latest_then_the_greatest_id() {
    let by_score = [
        "c | 1 | a | q1 | t1 | 9.5 | 100 | 1/100 | 2020-01-01",
        "c | 1 | a | q1 | t2 | 10  | 100 | 2/100 | 2019-01-01",
        "c | 1 | a | q1 | t3 |     | 100 | 3/100 | 2021-01-01",
    ];
    assert_eq!(counted(Choice::Best, &by_score), "2%");
    assert_eq!(counted(Choice::Latest, &by_score), "3%");
    let by_time = [
        "c | 1 | a | q1 | t3 | 10 | 100 | 1/100 | 2020-01-01 10:00:00",
        "c | 1 | a | q1 | t1 | 10 | 100 | 2/100 | 2020-01-01 10:00:01",
        "c | 1 | a | q1 | t9 | 10 | 100 | 3/100 |",
    ];
    assert_eq!(counted(Choice::Best, &by_time), "2%");
    let by_id = [
        "c | 1 | a | q1 | t2  | 10 | 100 | 1/100 | 2020-01-01",
        "c | 1 | a | q1 | t10 | 10 | 100 | 2/100 | 2020-01-01",
    ];
    assert_eq!(counted(Choice::Best, &by_id), "1%");
    let latest_by_id = [
        "c | 1 | a | q1 | t2  | 1  | 100 | 1/100 | 2020-01-01",
        "c | 1 | a | q1 | t10 | 10 | 100 | 2/100 | 2020-01-01",
    ];
    assert_eq!(counted(Choice::Latest, &latest_by_id), "1%");
}

#[test]
fn of_attempts_with_one_key_the_greatest_is_used() {
    let duplicates = [
        "c | 1 | a | q1 | t1 | 8  | 100 | 9/100 | 2021-01-01",
        "c | 1 | a | q1 | t1 | 10 | 90  | 8/100 | 2020-01-01",
        "c | 1 | a | q1 | t1 | 10 | 100 | 5/100 | 2022-01-01",
        "c | 1 | a | q1 | t1 | 10 | 100 | 7/100 | 2019-01-01",
    ];
    assert_eq!(counted(Choice::Best, &duplicates), "7%");
    let tables = platform().add(Table::AssessmentAggregator, ATTEMPT, &duplicates);
    let (_, _, loaded) = tables.report("assessment", "1", &Options::default(), AS_WRITTEN);
    assert_eq!(loaded.duplicates().get(&Table::AssessmentAggregator), Some(&3));
    // course_id leads: the greatest row may be one that does not count.
    let other_course = ["c | 1 | a | q1 | t1 | 8 | 100 | 9/100 |", "d | 1 | a | q1 | t1 | 1 | 100 | 1/100 |"];
    let tables = platform().add(Table::AssessmentAggregator, ATTEMPT, &other_course);
    assert_eq!(lines(&tables, &Options::default()).1.by_reason()["no_attempt"], 2);
}

#[test]
fn grand_totals() {
    for (text, expected) in [
        ("7/10", Ok(Some(70))),
        (" 7 / 10 ", Ok(Some(70))),
        ("1/3", Ok(Some(34))),
        ("2/3", Ok(Some(67))),
        ("0/10", Ok(Some(0))),
        ("10/2", Ok(Some(500))),
        ("0.1/0.3", Ok(Some(34))),
        // As floats 100 × 0.07 ÷ 1 is 7.000000000000001, the ceiling of which is 8.
        ("0.07/1", Ok(Some(7))),
        ("1.0E1/20", Ok(Some(50))),
        ("0.000001/100", Ok(Some(1))),
        ("-1/3", Ok(Some(-33))),
        ("7/0", Ok(None)),
        ("0/0.0", Ok(None)),
        ("", Ok(None)),
        ("  ", Ok(None)),
        ("7", Err(Unreadable)),
        ("7/", Err(Unreadable)),
        ("/7", Err(Unreadable)),
        ("a/b", Err(Unreadable)),
        ("7/10/2", Err(Unreadable)),
        ("7,5/10", Err(Unreadable)),
        ("NaN/10", Err(Unreadable)),
        ("0.0000001/1", Err(Unreadable)),
    ] {
        assert_eq!(grand_total(text), expected, "{text:?}");
    }
}

#[test]
fn unreadable_scores_are_empty_and_counted_where_they_would_be_shown() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &[
            "c | 1 | a | q1 | t1 | 7 | 10 | seven |",
            "c | 1 | a | q1 | t2 | 1 | 10 | not shown |",
            "c | 1 | b | q1 | t3 | 7 | 10 |  |",
            "c | 1 | b | q2 | t4 | 0 | 0 | 0/0 |",
            "c | 1 | stranger | q1 | t5 | 7 | 10 | eight |",
        ],
    );
    let (lines, counts) = lines(&tables, &Options::default());
    assert_eq!(column(&lines, "Quiz"), ["", ""]);
    assert_eq!(column(&lines, "Exam"), ["", ""]);
    assert_eq!(column(&lines, "Total Score"), ["70%", "70%"]);
    assert_eq!(counts.cells, scores(0, 1));
}

#[test]
fn the_total_is_empty_where_the_maxima_are_zero() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &["c | 1 | a | q1 | t1 | 7 | 0 | 7/10 |", "c | 1 | b | q1 | t1 | 7 | | 7/10 |"],
    );
    let (lines, _) = lines(&tables, &Options::default());
    assert_eq!(column(&lines, "Quiz"), ["70%", "70%"]);
    assert_eq!(column(&lines, "Total Score"), ["", ""]);
}

#[test]
fn headings_are_distinct_and_ordered_by_name_then_identifier() {
    let tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
        .add(
            Table::Content,
            "identifier | name | contentType",
            &[
                "c | Course | Course",
                "q2 | Quiz | SelfAssess",
                "q1 | Quiz | SelfAssess",
                "q3 | Total Score | SelfAssess",
                "q4 | User ID | SelfAssess",
                "q5 | | SelfAssess",
                "q6 | Äpfel | SelfAssess",
                "q7 | Block Name | SelfAssess",
            ],
        )
        .add(
            Table::AssessmentAggregator,
            ATTEMPT,
            &["q1", "q2", "q3", "q4", "q5", "q6", "q7"]
                .map(|quiz| format!("c | 1 | a | {quiz} | t | 1 | 1 | 1/1 |"))
                .each_ref()
                .map(String::as_str),
        );
    let (lines, _) = lines(&tables, &Options::default());
    assert_eq!(
        lines[0].split_once("School Name,").unwrap().1,
        "Block Name,Quiz (q1),Quiz (q2),Total Score (q3),User ID (q4),q5,Äpfel,Total Score"
    );
}

#[test]
fn huge_scores_are_summed_exactly() {
    let tables = platform().add(
        Table::AssessmentAggregator,
        ATTEMPT,
        &[
            "c | 1 | a | q1 | t1 | 9223372036854.775807 | 9223372036854.775807 | |",
            "c | 1 | a | q2 | t1 | 9223372036854.775807 | 9223372036854.775806 | |",
        ],
    );
    let (lines, _) = lines(&tables, &Options::default());
    assert_eq!(column(&lines, "Total Score"), ["101%"]);
}

#[test]
fn the_platforms_own_sample() {
    let course = "do_112726725832507392141";
    let other = "do_2123101488779837441168";
    let enrolment = |batch: &str, user: &str| format!("{batch} | {user} | {course} | true");
    let enrolments = [
        enrolment("1006", "user006"),
        enrolment("1006", "user016"),
        enrolment("1006", "user021"),
        enrolment("1006", "user026"),
        enrolment("1006", "user005"),
        enrolment("1001", "user011"),
        enrolment("1001", "user021"),
    ];
    let attempt = |course: &str, batch: &str, user: &str, quiz: &str, score: &str, time: &str| {
        format!("{course} | {batch} | {user} | {quiz} | {score} | 2019-09-06 {time}.000+0000")
    };
    let attempts = [
        attempt(other, "1001", "user021", "do_149 | A4", "4 | 20 | 2/2", "09:59:51"),
        attempt(other, "1001", "user021", "do_151 | A4", "10 | 30 | 4/4", "09:58:51"),
        attempt(other, "1001", "user021", "do_151 | A4", "8 | 30 | 4/4", "09:57:51"),
        attempt(course, "1006", "user026", "do_112 | A6", "10 | 30 | 5/5", "09:59:51"),
        attempt(course, "1006", "user021", "do_112 | A6", "10 | 30 | 6/6", "09:59:51"),
    ];
    let users: Vec<String> = (1..=30).map(|n| format!("user{n:03}")).collect();
    let tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &[&format!("{other} | 1001"), &format!("{course} | 1006")])
        .add(
            Table::Content,
            "identifier | name | contentType",
            &[
                "do_149 | My content 1 | SelfAssess",
                "do_151 | My content 2 | SelfAssess",
                "do_112 | My content 3 | SelfAssess",
                &format!("{course} | | Course"),
                &format!("{other} | | Course"),
            ],
        )
        .add(Table::User, "userid", &users.iter().map(String::as_str).collect::<Vec<_>>())
        .add(Table::UserEnrolments, "batchid | userid | courseid | active", &enrolments.each_ref().map(String::as_str))
        .add(Table::AssessmentAggregator, ATTEMPT, &attempts.each_ref().map(String::as_str));
    let (lines, counts) = tables.lines("assessment", "1006");
    assert_eq!(column(&lines, "User ID"), ["user021", "user026"]);
    assert_eq!(column(&lines, "My content 3"), ["100%", "100%"]);
    assert_eq!(column(&lines, "Total Score"), ["34%", "34%"]);
    assert_eq!(
        counts,
        Counts {
            rows: 2,
            enrolled: 5,
            cells: scores(2, 0),
            left_out: [("no_attempt".into(), 3)].into(),
            ..Counts::default()
        }
    );
    let (lines, counts) = tables.lines("assessment", "1001");
    assert_eq!(lines.len(), 1);
    let expected = Counts {
        enrolled: 2,
        attempts_without_enrolment: 2,
        left_out: [("other_course".into(), 2)].into(),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

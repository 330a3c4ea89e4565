//! The tables `course_batch`, `content` and `content_hierarchy`, and the facts about courses that rows of other tables
//! need. Which course is special in which way is said in [`super::plan::kind`].

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::ArrowError;
use chrono::{NaiveDate, NaiveTime};
use serde_json::{Value, json};

use super::Columns;
use super::channels::channel;
use super::draws::Of;
use super::plan::{Kind, Plan, has_ended, kind};
use super::table::{Division, SampleTable};
use crate::tables::schema::Table;

/// Content rows of a course: itself, [`ASSESSMENTS`] of type `SelfAssess`, and an exercise that is none.
pub(super) const CONTENTS: u64 = 2 + ASSESSMENTS;
/// Assessments that a course has in `content`; fewer of them are used.
pub(super) const ASSESSMENTS: u64 = 4;

const COLLECTION: &str = "application/vnd.ekstep.content-collection";

/// The table `course_batch`.
pub(super) const BATCHES: SampleTable = SampleTable {
    table: Table::CourseBatch,
    count: |plan| plan.batches.len() as u64,
    rows: batches,
    division: Division::Whole,
};

/// The table `content`.
pub(super) const CONTENT: SampleTable = SampleTable {
    table: Table::Content,
    count: contents,
    rows: |plan, rows, _| content(plan, rows),
    division: Division::Whole,
};

/// The table `content_hierarchy`.
pub(super) const HIERARCHY: SampleTable = SampleTable {
    table: Table::ContentHierarchy,
    count: hierarchies,
    rows: |plan, rows, _| hierarchy(plan, rows),
    division: Division::Whole,
};

/// The identifier of a batch: 19 digits with a leading zero.
pub(super) fn batch_id(plan: &Plan, batch: u64) -> String {
    format!("0130{:09}{batch:06}", plan.draws(Of::BatchId, batch, 0).below(1_000_000_000))
}

/// The identifier of a course, into `out`.
pub(super) fn course_id(plan: &Plan, course: u64, out: &mut String) {
    out.clear();
    let _ = write!(out, "do_1131{:09}{course:06}", plan.draws(Of::CourseId, course, 0).below(1_000_000_000));
}

/// The identifier of an assessment (from 0), the exercise ([`ASSESSMENTS`]) or a module (from 10) of a course.
pub(super) fn part_id(plan: &Plan, course: u64, part: u64, out: &mut String) {
    out.clear();
    let _ =
        write!(out, "do_1132{:09}{course:06}{part:02}", plan.draws(Of::ContentId, course, part).below(1_000_000_000));
}

/// How many parts a learner has to finish; `None`: the course does not say.
pub(super) fn leaf_nodes(plan: &Plan, course: u64) -> Option<u64> {
    match kind(course) {
        Kind::LeafNodesMissing => None,
        Kind::NoLeafNodes => Some(0),
        _ => Some(3 + plan.draws(Of::Course, course, 1).below(38)),
    }
}

/// How many modules a course has.
pub(super) fn modules(plan: &Plan, course: u64) -> u64 {
    match kind(course) {
        Kind::NoModules => 0,
        _ => 1 + plan.draws(Of::Course, course, 2).below(6),
    }
}

/// Parts of a module; a few modules have none.
pub(super) fn module_leaf_nodes(plan: &Plan, course: u64, module: u64) -> u64 {
    plan.draws(Of::Module, course, module).below(10)
}

/// How many assessments of a course are taken.
pub(super) fn assessments(plan: &Plan, course: u64) -> u64 {
    if kind(course) == Kind::SameNames { ASSESSMENTS } else { 1 + plan.draws(Of::Course, course, 3).below(ASSESSMENTS) }
}

/// Rows of `course_batch`.
fn batches(plan: &Plan, rows: &[u64], columns: Columns) -> Result<RecordBatch, ArrowError> {
    let [mut courseid, mut batchid, mut name, mut start, mut end] = std::array::from_fn(|_| StringBuilder::new());
    let mut status = Int32Builder::new();
    let mut id = String::new();
    for &batch in rows {
        let mut draws = plan.draws(Of::Batch, batch, 1);
        course_id(plan, plan.course_of(batch), &mut id);
        courseid.append_value(&id);
        batchid.append_value(batch_id(plan, batch));
        name.append_value(format!("{} {batch}", draws.pick(&["Open batch", "Batch, evening", "दल", "தொகுதி"])));
        let (year, month) = if has_ended(batch) { (2024, 1) } else { (2025, 6) };
        start.append_value(format!("{year}-{:02}-{:02}", month + draws.below(6), 1 + draws.below(28)));
        match draws.below(4) {
            _ if has_ended(batch) => end.append_value(format!("2025-03-{:02}", 1 + draws.below(28))),
            // No end at all: runs for ever.
            0 => end.append_null(),
            _ => end.append_value("2099-12-31"),
        }
        status.append_value(if has_ended(batch) { 2 } else { 1 });
    }
    let (start, end) = (start.finish(), end.finish());
    let [(start_name, start), (end_name, end)]: [(&str, ArrayRef); 2] = match columns {
        Columns::Today => [("start_date", Arc::new(days(&start))), ("end_date", Arc::new(days(&end)))],
        Columns::Of2020 => [("startdate", Arc::new(start)), ("enddate", Arc::new(end))],
    };
    RecordBatch::try_from_iter_with_nullable([
        ("courseid", Arc::new(courseid.finish()) as _, true),
        ("batchid", Arc::new(batchid.finish()) as _, true),
        ("name", Arc::new(name.finish()) as _, true),
        (start_name, start, true),
        (end_name, end, true),
        ("status", Arc::new(status.finish()) as _, true),
    ])
}

/// Days as times: midnight in UTC.
fn days(texts: &StringArray) -> TimestampMicrosecondArray {
    let midnight =
        |text: &str| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    texts.iter().map(|text| text.and_then(midnight)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")
}

/// How many rows `content` has.
fn contents(plan: &Plan) -> u64 {
    let missing = (0..plan.courses).filter(|&course| kind(course) == Kind::NotInContent).count() as u64;
    plan.courses * CONTENTS - missing
}

/// The course and part of a row of `content`; courses that are not there have no first row.
fn content_of_row(plan: &Plan, row: u64) -> (u64, u64) {
    // Courses that are not there come at the end of each round of 16.
    let round = super::plan::KINDS;
    let place = (0..round).position(|course| kind(course) == Kind::NotInContent).unwrap_or_default() as u64;
    let per_round = round * CONTENTS - 1;
    let within = row % per_round;
    let within = if within >= place * CONTENTS { within + 1 } else { within };
    let course = row / per_round * round + within / CONTENTS;
    debug_assert!(course < plan.courses);
    (course, within % CONTENTS)
}

/// Rows of `content`.
fn content(plan: &Plan, rows: &[u64]) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 9] = std::array::from_fn(|_| StringBuilder::new());
    let mut subjects = ListBuilder::new(StringBuilder::new());
    let mut leaves = Int32Builder::new();
    let mut id = String::new();
    for &row in rows {
        let (course, part) = content_of_row(plan, row);
        let mut draws = plan.draws(Of::Course, course, 10 + part);
        let mut about = plan.draws(Of::Course, course, 4);
        let channel = if kind(course) == Kind::NoChannel { "" } else { channel(&mut about) };
        let (title, kind_of, category) = if part == 0 {
            course_id(plan, course, &mut id);
            (course_name(course), "Course", "Course")
        } else {
            part_id(plan, course, part - 1, &mut id);
            if part <= ASSESSMENTS {
                (assessment_name(course, part - 1), "SelfAssess", "Course Assessment")
            } else {
                (format!("Exercise {course}"), "PracticeQuestionSet", "Practice Question Set")
            }
        };
        leaves.append_option(leaf_nodes(plan, course).filter(|_| part == 0).and_then(|n| i32::try_from(n).ok()));
        for _ in 0..draws.below(3) {
            subjects.values().append_value(draws.pick(&["Mathematics", "Science", "हिन्दी", "CPD"]));
        }
        subjects.append(true);
        let created = format!("2025-{:02}-{:02}T10:20:30.000+0000", 1 + draws.below(12), 1 + draws.below(28));
        let values = [
            id.as_str(),
            &title,
            channel,
            if part == 0 { framework(course) } else { "" },
            kind_of,
            category,
            draws.pick(&["Live", "Live", "Live", "Retired"]),
            &created,
            draws.pick(&["Yes", "No", ""]),
        ];
        for (column, value) in texts.iter_mut().zip(values) {
            column.append_option((!value.is_empty()).then_some(value));
        }
    }
    let names = [
        "identifier",
        "name",
        "channel",
        "framework",
        "contentType",
        "primaryCategory",
        "status",
        "createdOn",
        "userConsent",
    ];
    let arrays = texts.map(|mut column| Arc::new(column.finish()) as _);
    let columns = names.into_iter().zip(arrays).map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns.chain([
        ("leafNodesCount", Arc::new(leaves.finish()) as _, true),
        ("subject", Arc::new(subjects.finish()) as _, true),
    ]))
}

fn framework(course: u64) -> &'static str {
    match (kind(course), course % 2) {
        (Kind::LowerCase, _) => "tpd",
        (Kind::NoFramework, _) => "",
        (_, 0) => "TPD",
        _ if course % 6 == 1 => "ekstep_ncert_k-12",
        _ => "NCFCOPY",
    }
}

fn course_name(course: u64) -> String {
    match kind(course) {
        Kind::FormulaName => format!("=Course {course}"),
        _ => format!("Course {course}, गणित"),
    }
}

fn assessment_name(course: u64, assessment: u64) -> String {
    match (kind(course), assessment) {
        (Kind::AssessmentNamedLikeColumn, 0) => "Total Score".to_owned(),
        (Kind::SameNames, 0..2) => "Final test".to_owned(),
        (Kind::FormulaName, 0) => "@Quiz, part \"one\"".to_owned(),
        (Kind::LowerCase, 0) => String::new(),
        _ => format!("{} {}", ["Quiz", "प्रश्नोत्तरी", "Final test", "வினாடி வினா"][super::plan::at(assessment)], course),
    }
}

/// How many rows `content_hierarchy` has.
fn hierarchies(plan: &Plan) -> u64 {
    (0..plan.courses).filter(|&course| kind(course) != Kind::NoHierarchy).count() as u64
}

/// Rows of `content_hierarchy`.
fn hierarchy(plan: &Plan, rows: &[u64]) -> Result<RecordBatch, ArrowError> {
    let (mut identifier, mut tree) = (StringBuilder::new(), StringBuilder::new());
    let round = super::plan::KINDS;
    let place = (0..round).position(|course| kind(course) == Kind::NoHierarchy).unwrap_or_default() as u64;
    let mut id = String::new();
    for &row in rows {
        let within = row % (round - 1);
        let course = row / (round - 1) * round + within + u64::from(within >= place);
        course_id(plan, course, &mut id);
        identifier.append_value(&id);
        tree.append_value(course_tree(plan, course, &id).to_string());
    }
    RecordBatch::try_from_iter_with_nullable([
        ("identifier", Arc::new(identifier.finish()) as _, true),
        ("hierarchy", Arc::new(tree.finish()) as _, true),
    ])
}

fn course_tree(plan: &Plan, course: u64, id: &str) -> Value {
    let mut part = String::new();
    let unit = |name: &str| {
        json!({"identifier": format!("{id}_unit"), "name": name, "mimeType": COLLECTION, "contentType": "CourseUnit",
               "visibility": "Parent", "leafNodesCount": 2, "children": [
                   {"identifier": format!("{id}_pdf"), "mimeType": "application/pdf", "contentType": "Resource"}]})
    };
    let mut children = vec![unit("Introduction")];
    for module in 0..modules(plan, course) {
        part_id(plan, course, 10 + module, &mut part);
        // Letter case does not count.
        let (kind_of, visibility) =
            if kind(course) == Kind::LowerCase { ("course", "DEFAULT") } else { ("Course", "Default") };
        let node = json!({"identifier": part, "name": format!("Module {module}"), "mimeType": COLLECTION,
                          "contentType": kind_of, "visibility": visibility,
                          "leafNodesCount": module_leaf_nodes(plan, course, module),
                          "children": [unit("A unit of the module")]});
        children.push(node.clone());
        if kind(course) == Kind::RepeatedModule && module == 0 {
            let mut again = node;
            again["leafNodesCount"] = json!(999);
            children.push(again);
        }
    }
    part_id(plan, course, 0, &mut part);
    children.push(json!({"identifier": part, "mimeType": "application/vnd.ekstep.ecml-archive",
                         "contentType": "SelfAssess", "visibility": "Default"}));
    json!({"identifier": id, "mimeType": COLLECTION, "contentType": "Course", "visibility": "Default",
           "leafNodesCount": leaf_nodes(plan, course), "children": children})
}

//! The tables that are large: `user_enrolments`, `user_activity_agg`, `assessment_aggregator`.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;

use super::Columns;
use super::courses::{ASSESSMENTS, assessments, batch_id, course_id, leaf_nodes, module_leaf_nodes, modules, part_id};
use super::draws::{Draws, Of};
use super::people::learner_id;
use super::plan::{Plan, at, locate};
use super::table::{Division, SampleTable};
use super::text::{iso, legacy};
use crate::tables::schema::Table;

/// The table `user_enrolments`.
pub(super) const ENROLMENTS: SampleTable = SampleTable {
    table: Table::UserEnrolments,
    count: |plan| last(&plan.enrolments),
    rows: enrolments,
    division: Division::Batches { column: "batchid", prefix: "", starts: |plan| &plan.enrolments },
};

/// The table `user_activity_agg`.
pub(super) const ACTIVITY: SampleTable = SampleTable {
    table: Table::UserActivityAgg,
    count: |plan| last(&plan.activity),
    rows: activity,
    division: Division::Batches { column: "context_id", prefix: "cb%3A", starts: |plan| &plan.activity },
};

/// The table `assessment_aggregator`.
pub(super) const ATTEMPTS: SampleTable = SampleTable {
    table: Table::AssessmentAggregator,
    count: |plan| last(&plan.attempts),
    rows: |plan, rows, _| attempts(plan, rows),
    division: Division::Batches { column: "batch_id", prefix: "", starts: |plan| &plan.attempts },
};

fn last(starts: &[u64]) -> u64 {
    starts.last().copied().unwrap_or_default()
}

const DAY: u64 = 86_400_000;
/// 2025-07-01T00:00:00Z in milliseconds since 1970. A fixed day: the data does not depend on when they are made.
const FIRST_DAY: u64 = 1_751_328_000_000;

/// Whose row it is. Rows of place 1, 3, 5 … are now and then a second row of the learner before.
struct Place {
    /// Where the learner stands in the batch.
    learner: u64,
    /// Where the row's values come from: the same as `learner` in an exact copy.
    values: u64,
    /// The row is a second one; which of its values differ.
    again: Option<u64>,
}

fn place(plan: &Plan, batch: u64, place: u64) -> Place {
    let mut draws = plan.draws(Of::Duplicate, batch, place);
    if place.is_multiple_of(2) || !draws.one_in(100) {
        return Place { learner: place, values: place, again: None };
    }
    let how = draws.below(4);
    Place { learner: place - 1, values: if how == 0 { place - 1 } else { place }, again: Some(how) }
}

/// Milliseconds since 1970 of an enrolment and of its completion, if any.
struct Dates {
    enrolled: u64,
    completed: Option<u64>,
}

fn dates(plan: &Plan, batch: u64, values: u64) -> Dates {
    let mut draws = plan.draws(Of::Enrolment, batch, values);
    let enrolled = FIRST_DAY + draws.below(200 * DAY);
    let days = draws.below(60 * DAY);
    let done = course_progress(plan, batch, values);
    let all = leaf_nodes(plan, plan.course_of(batch)).unwrap_or(0);
    Dates { enrolled, completed: (all > 0 && done >= all).then_some(enrolled + days) }
}

/// How many parts of the course are done: a third has finished, a few have more than there is.
fn course_progress(plan: &Plan, batch: u64, values: u64) -> u64 {
    let mut draws = plan.draws(Of::Progress, batch, values);
    let all = leaf_nodes(plan, plan.course_of(batch)).unwrap_or(12);
    match draws.below(100) {
        0 => all + 1 + draws.below(4),
        1..34 => all,
        _ => draws.below(all + 1),
    }
}

type TextMap = MapBuilder<StringBuilder, StringBuilder>;

fn text_maps() -> ListBuilder<TextMap> {
    ListBuilder::new(MapBuilder::new(None, StringBuilder::new(), StringBuilder::new()))
}

/// Milliseconds as columns have them: in microseconds, as Spark writes.
fn micros(ms: u64) -> i64 {
    i64::try_from(ms * 1_000).unwrap_or(i64::MAX)
}

/// Rows of `user_enrolments`.
fn enrolments(plan: &Plan, rows: &[u64], columns: Columns) -> Result<RecordBatch, ArrowError> {
    let [mut batchid, mut userid, mut courseid, mut enrolled] = std::array::from_fn(|_| StringBuilder::new());
    let mut active = BooleanBuilder::new();
    let [mut enrolled_at, mut completed] = [(); 2].map(|()| TimestampMicrosecondBuilder::new().with_timezone("UTC"));
    let (mut certificates, mut issued) = (text_maps(), text_maps());
    let mut contents = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    let mut text = String::new();
    for &row in rows {
        let (batch, number) = locate(&plan.enrolments, row);
        let place = place(plan, batch, number);
        let mut draws = plan.draws(Of::Enrolment, batch, place.values + (1 << 40));
        let mut dates = dates(plan, batch, place.values);
        if let Some(how @ (2 | 3)) = place.again {
            // Enrolled at the same time as in the other row: the completion decides, or what comes after it.
            dates = self::dates(plan, batch, place.learner);
            dates.completed = dates.completed.map(|ms| if how == 2 { ms + DAY } else { ms });
        }
        batchid.append_value(batch_id(plan, batch));
        learner_id(plan, plan.learner(batch, place.learner), &mut text);
        userid.append_value(&text);
        let other_course = u64::from(draws.one_in(200)) * (1 + draws.below(plan.courses - 1));
        let course = plan.course_of(batch);
        course_id(plan, (course + other_course) % plan.courses, &mut text);
        courseid.append_value(&text);
        active.append_value(!draws.one_in(50));
        enrolled_text(&mut draws, dates.enrolled, &mut text);
        enrolled.append_option((!text.is_empty()).then_some(text.as_str()));
        enrolled_at.append_option(Some(micros(dates.enrolled)).filter(|_| !text.is_empty()));
        completed.append_option(dates.completed.map(micros));
        let has = if dates.completed.is_some() { draws.below(8) } else { 7 };
        certificate(&mut certificates, (has < 2).then_some("old"), draws.one_in(2));
        certificate(&mut issued, (has > 0 && has < 6).then_some("new"), draws.one_in(2));
        for part in 0..draws.below(3) {
            part_id(plan, course, 20 + part, &mut text);
            contents.keys().append_value(&text);
            contents.values().append_value(2);
        }
        contents.append(true)?;
    }
    let (enrolled_name, enrolled): (&str, ArrayRef) = match columns {
        Columns::Today => ("enrolled_date", Arc::new(enrolled_at.finish())),
        Columns::Of2020 => ("enrolleddate", Arc::new(enrolled.finish())),
    };
    RecordBatch::try_from_iter_with_nullable([
        ("batchid", Arc::new(batchid.finish()) as _, true),
        ("userid", Arc::new(userid.finish()) as _, true),
        ("courseid", Arc::new(courseid.finish()) as _, true),
        ("active", Arc::new(active.finish()) as _, true),
        (enrolled_name, enrolled, true),
        ("completedon", Arc::new(completed.finish()) as _, true),
        ("certificates", Arc::new(certificates.finish()) as _, true),
        ("issued_certificates", Arc::new(issued.finish()) as _, true),
        ("contentstatus", Arc::new(contents.finish()) as _, true),
    ])
}

/// Enrolment dates were text on the platform of 2020, in two spellings; a few are missing.
fn enrolled_text(draws: &mut Draws, ms: u64, out: &mut String) {
    out.clear();
    match draws.below(300) {
        0 => {}
        1..80 => iso(ms, out),
        _ => legacy(ms, ':', out),
    }
}

fn certificate(out: &mut ListBuilder<TextMap>, name: Option<&str>, empty_list: bool) {
    if let Some(name) = name {
        out.values().keys().append_value("name");
        out.values().values().append_value(name);
        let _ = out.values().append(true);
    }
    out.append(name.is_some() || empty_list);
}

/// Rows of `user_activity_agg`: three or four for each enrolment, the first of them at course level.
fn activity(plan: &Plan, rows: &[u64], columns: Columns) -> Result<RecordBatch, ArrowError> {
    let [mut kind, mut activity, mut user, mut context] = std::array::from_fn(|_| StringBuilder::new());
    let mut agg = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let mut aggregates = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    let stamps = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let values_field = arrow_schema::Field::new(
        "values",
        arrow_schema::DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into())),
        true,
    );
    let mut updated = MapBuilder::new(None, StringBuilder::new(), stamps).with_values_field(values_field);
    let mut text = String::new();
    for &row in rows {
        let (batch, number) = locate(&plan.activity, row);
        let size = plan.batches[at(batch)].size;
        let (level, place) = (number / size, place(plan, batch, number % size));
        let done = done(plan, batch, level, &place, &mut text);
        activity.append_value(&text);
        kind.append_value("Course");
        learner_id(plan, plan.learner(batch, place.learner), &mut text);
        user.append_value(&text);
        context.append_value(format!("cb:{}", batch_id(plan, batch)));
        if let Some(done) = done {
            agg.keys().append_value("completedCount");
            let done = u32::try_from(done).unwrap_or(u32::MAX);
            agg.values().append_value(i64::from(done));
            aggregates.keys().append_value("completedCount");
            aggregates.values().append_value(f64::from(done));
        }
        if level == 0 {
            scores(plan, batch, place.learner, &mut aggregates);
        }
        agg.append(true)?;
        aggregates.append(true)?;
        // A second row with the same time: then the greater count stays.
        let times = if place.again == Some(2) { place.learner } else { place.values };
        let ms = dates(plan, batch, times).enrolled + plan.draws(Of::Activity, batch, times).below(90 * DAY);
        updated.keys().append_value("completedCount");
        updated.values().append_value(micros(ms));
        updated.append(true)?;
    }
    let (counters_name, counters): (&str, ArrayRef) = match columns {
        Columns::Today => ("aggregates", Arc::new(aggregates.finish())),
        Columns::Of2020 => ("agg", Arc::new(agg.finish())),
    };
    RecordBatch::try_from_iter_with_nullable([
        ("activity_type", Arc::new(kind.finish()) as _, true),
        ("activity_id", Arc::new(activity.finish()) as _, true),
        ("user_id", Arc::new(user.finish()) as _, true),
        ("context_id", Arc::new(context.finish()) as _, true),
        (counters_name, counters, true),
        ("agg_last_updated", Arc::new(updated.finish()) as _, true),
    ])
}

/// Today's platform keeps the scores of a course's assessments beside the counter; every third learner has some.
fn scores(plan: &Plan, batch: u64, learner: u64, out: &mut MapBuilder<StringBuilder, Float64Builder>) {
    let mut draws = plan.draws(Of::Activity, batch, learner + (10 << 40));
    if !draws.one_in(3) {
        return;
    }
    let course = plan.course_of(batch);
    let mut id = String::new();
    for part in 0..draws.below(assessments(plan, course) + 1) {
        part_id(plan, course, part, &mut id);
        let (got, all) = marked(&mut draws, course + part);
        for (name, value) in [("score", got), ("max_score", all)] {
            out.keys().append_value(format!("{name}:{id}"));
            out.values().append_value(value);
        }
    }
}

/// What an activity row is about (its id into `id`) and how many parts are done. Level 0 is the course, the others
/// three modules in turn; some of those ids are no module of the course.
fn done(plan: &Plan, batch: u64, level: u64, place: &Place, id: &mut String) -> Option<u64> {
    let course = plan.course_of(batch);
    let mut draws = plan.draws(Of::Activity, batch, place.values + ((level + 1) << 40));
    let known = !draws.one_in(200);
    let mut turn = plan.draws(Of::Activity, batch, place.learner + (9 << 40));
    if level == 0 && !turn.one_in(30) {
        course_id(plan, course, id);
        return known.then(|| course_progress(plan, batch, place.values));
    }
    // In every third course nobody has touched the last module.
    let count = modules(plan, course);
    let touched = if course % 3 == 1 { count.saturating_sub(1) } else { count };
    // Level 0 of the few learners without a course row is about something that is in no table.
    let module = if level == 0 { 30 } else { (turn.below(64) + level) % touched.max(3) };
    let module = if module >= touched { 40 + module } else { module };
    part_id(plan, course, 10 + module, id);
    let all = if module < count { module_leaf_nodes(plan, course, module) } else { 5 };
    known.then(|| draws.below(all + 2))
}

/// Rows of `assessment_aggregator`.
fn attempts(plan: &Plan, rows: &[u64]) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 7] = std::array::from_fn(|_| StringBuilder::new());
    let (mut score, mut most) = (Float64Builder::new(), Float64Builder::new());
    let mut time = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let [mut id, mut user, mut course, mut content, mut grand] = std::array::from_fn(|_| String::new());
    for &row in rows {
        let (batch, number) = locate(&plan.attempts, row);
        // Now and then the same attempt is there twice, marked again.
        let again = number % 2 == 1 && plan.draws(Of::Duplicate, batch, number + (1 << 41)).one_in(100);
        let mut draws = plan.draws(Of::Attempt, batch, number - u64::from(again));
        let attempt = attempt(plan, batch, &mut draws);
        learner_id(plan, attempt.learner, &mut user);
        course_id(plan, attempt.course, &mut course);
        part_id(plan, plan.course_of(batch), attempt.part, &mut content);
        id.clear();
        let _ = write!(id, "{:016x}{:016x}", draws.next(), draws.next());
        let last = draws.below(50 * DAY) / 60_000 * 60_000;
        let mut marks = plan.draws(Of::Score, batch, number);
        let (got, all) = marked(&mut marks, plan.course_of(batch) + attempt.part);
        grand.clear();
        let _ = match marks.below(2000) {
            0 => Ok(()),
            1 => write!(grand, "n/a"),
            _ => write!(grand, "{got}/{all}"),
        };
        score.append_value(got);
        most.append_value(all);
        time.append_value(micros(FIRST_DAY + 200 * DAY + last));
        let batch = batch_id(plan, batch);
        let question = question(&mut marks);
        for (column, value) in texts.iter_mut().zip([&course, &batch, &user, &content, &id, &grand, question]) {
            column.append_option((!value.is_empty()).then_some(value));
        }
    }
    let [course, batch, user, content, id, grand, question] = texts.map(|mut column| Arc::new(column.finish()) as _);
    RecordBatch::try_from_iter_with_nullable([
        ("course_id", course, true),
        ("batch_id", batch, true),
        ("user_id", user, true),
        ("content_id", content, true),
        ("attempt_id", id, true),
        ("total_score", Arc::new(score.finish()) as _, true),
        ("total_max_score", Arc::new(most.finish()) as _, true),
        ("grand_total", grand, true),
        ("last_attempted_on", Arc::new(time.finish()) as _, true),
        ("question", question, true),
    ])
}

/// Who attempted what.
struct Attempt {
    learner: u64,
    course: u64,
    part: u64,
}

fn attempt(plan: &Plan, batch: u64, draws: &mut Draws) -> Attempt {
    let place = place(plan, batch, draws.below(plan.batches[at(batch)].size));
    let stranger = draws.one_in(200);
    let learner = if stranger { draws.below(plan.learners) } else { plan.learner(batch, place.learner) };
    let course = plan.course_of(batch);
    let other_course = u64::from(draws.one_in(300)) * (1 + draws.below(plan.courses - 1));
    let part = match draws.below(200) {
        0 => 90, // in no table
        1..10 => ASSESSMENTS,
        _ => draws.below(assessments(plan, course)),
    };
    Attempt { learner, course: (course + other_course) % plan.courses, part }
}

/// Score and most that can be had: whole numbers, tenths or quarters, whichever the assessment has.
fn marked(draws: &mut Draws, assessment: u64) -> (f64, f64) {
    let (all, parts) = [(10_u32, 1_u32), (20, 10), (5, 4), (7, 1)][at(assessment % 4)];
    if draws.one_in(1000) {
        return (0.0, 0.0);
    }
    let got = u32::try_from(draws.below(u64::from(all * parts + 1))).unwrap_or_default();
    (f64::from(got) / f64::from(parts), f64::from(all))
}

/// Never read by a report; it is there because it is large on the platform.
fn question(draws: &mut Draws) -> &'static str {
    draws.pick(&[
        "[{id: 'q1', max_score: 1, score: 0, type: 'mcq', title: 'choose one', params: [{'1': '{\"text\":\"Shape\\n\"}'}]}]",
        "[{id: 'q2', max_score: 2, score: 1, type: 'mmc', title: 'choose more', resvalues: [{'2': '{\"text\":\"Number\"}'}]}]",
        "[]",
    ])
}

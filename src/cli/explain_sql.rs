//! `exhaustd explain` of a report in SQL: the batches, the statement that their engine would run, and how it would run it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::CommandError;
use super::print::outln;
use super::text::table;
use crate::reports::filters::{LeftOut, Selection};
use crate::reports::query::{FileShape, Placeholder, QueryReport, Split};
use crate::sources::GivenUp;
use crate::sources::query_engine::{Explained, QueryError, Question};
use crate::sources::routed::Routed;
use crate::tables::catalog::Catalog;

/// What the query is asked for.
pub(super) struct Asked<'a> {
    pub(super) job: &'a str,
    pub(super) report: &'a QueryReport,
    pub(super) catalog: &'a Catalog,
    pub(super) selection: &'a Selection,
    /// Values of the request; of a request that is not there, none.
    pub(super) value: &'a dyn Fn(Placeholder) -> Option<String>,
    pub(super) max_batches: usize,
}

/// Prints what the engine says.
pub(super) fn show(asked: &Asked<'_>, explained: &Explained, is_json: bool) {
    if is_json {
        outln!("{}", as_json(asked, explained));
    } else {
        print(asked, explained);
    }
}

/// Has the engine explain the query.
pub(super) fn explained(source: &Routed, asked: &Asked<'_>) -> Result<Explained, CommandError> {
    let Asked { report, catalog, selection, value, .. } = asked;
    let engine = source
        .engine(&report.engine)
        .ok_or_else(|| CommandError::Usage(format!("there is no engine [{}]", report.engine)))?;
    let batches = selection.batches.iter().map(|batch| catalog.batch(*batch));
    let batches: Vec<(&str, &str)> = batches.map(|batch| (batch.id.as_str(), batch.course_id.as_str())).collect();
    let values = report.placeholders().map(|placeholder| (placeholder.text(), value(placeholder))).collect();
    let shape = FileShape { values, batches: None };
    let given_up: GivenUp = Arc::new(|| false);
    let question = Question {
        query: &report.query,
        columns: &report.question_columns(),
        batches: &batches,
        values: &shape.question_values(),
        time: report.limits.time,
        given_up: &given_up,
    };
    Ok(engine.explain(&question)?)
}

impl From<QueryError> for CommandError {
    fn from(error: QueryError) -> Self {
        if error.may_pass { Self::Unreachable(error.detail) } else { Self::Failed(error.detail) }
    }
}

/// Which files there would be.
fn files(asked: &Asked<'_>) -> String {
    match &asked.report.split {
        Split::Batch => format!("{} files, one for each batch", asked.selection.batches.len()),
        Split::Column(column) => format!("a file for each value of {column}, at most {}", asked.max_batches),
        Split::Whole => "1 file".to_owned(),
    }
}

fn print(asked: &Asked<'_>, explained: &Explained) {
    let Asked { job, report, catalog, selection, .. } = asked;
    outln!("{job} would make {}:\n", files(asked));
    let batches = selection.batches.iter().map(|batch| catalog.batch(*batch));
    let lines: Vec<[String; 2]> = batches.map(|batch| [batch.id.clone(), batch.course_id.clone()]).collect();
    outln!("{}", table(["BATCH", "COURSE"], &lines));
    outln!("statement for [{}]:\n\n{}\n", report.engine, explained.statement);
    outln!("plan of the engine:\n\n{}", explained.plan.join("\n"));
    print_left_out(&selection.left_out);
}

/// The batches that were left out, by reason.
pub(super) fn print_left_out(left_out: &LeftOut) {
    for (why, batches) in left_out.by_reason() {
        if !batches.is_empty() {
            outln!("left out, {why}: {}", batches.join(", "));
        }
    }
}

fn as_json(asked: &Asked<'_>, explained: &Explained) -> Value {
    let Asked { job, report, catalog, selection, .. } = asked;
    let batches = selection.batches.iter().map(|batch| catalog.batch(*batch));
    let batches: Vec<Value> =
        batches.map(|batch| json!({ "batch_id": batch.id, "course_id": batch.course_id })).collect();
    json!({
        "job": job,
        "files": files(asked),
        "batches": batches,
        "batches_left_out": BTreeMap::from(selection.left_out.by_reason()),
        "engine": report.engine,
        "statement": explained.statement,
        "engine_plan": explained.plan,
    })
}

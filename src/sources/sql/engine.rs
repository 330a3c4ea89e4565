//! An engine that is asked in SQL answers reports in SQL: the operator's query as a subquery, whose rows are streamed.
//!
//! Batches come as a view of the statement's own session; values come in their Arrow types and are spelled here.

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use super::SqlSource;
use super::dialect::{as_text, quoted, text};
use super::text_column::{TextColumn, kind_of};
use super::transport::{EngineError, KeyRelation, LOOK, LocalRows, Statement, Why};
use crate::sources::query_engine::{Explained, QueryEngine, QueryError, Question, RELATION, TakeRow};
use crate::tables::queried::ValueKind;

impl QueryEngine for SqlSource {
    fn prepare(&self, question: &Question<'_>) -> Result<Vec<ValueKind>, QueryError> {
        let mut kinds = None;
        self.ask(question, &statement(question, " WHERE 1 = 0", LOOK), &mut |batch| {
            kinds = Some(kinds_of(&batch.schema(), question)?);
            Ok(())
        })?;
        kinds.ok_or_else(no_columns)
    }

    fn explain(&self, question: &Question<'_>) -> Result<Explained, QueryError> {
        let Statement { text, keys, longest } = statement(question, "", LOOK);
        let shown = keys.iter().fold(text.clone(), |shown, batches| shown.replace(&batches.name, "(…)"));
        let mut plan = Vec::new();
        self.ask(question, &Statement { text: format!("EXPLAIN {text}"), keys, longest }, &mut |batch| {
            rows(&batch, &mut |cells| {
                plan.extend(cells.iter().flatten().flat_map(|text| text.lines()).map(str::to_owned));
                Ok(())
            })
        })?;
        Ok(Explained { statement: shown, plan })
    }

    fn run(&self, question: &Question<'_>, take: &mut TakeRow<'_>) -> Result<Vec<ValueKind>, QueryError> {
        let (asked, mut kinds) = (Instant::now(), None);
        let ran = self.ask(question, &statement(question, "", question.time), &mut |batch| {
            let of_batch = kinds_of(&batch.schema(), question)?;
            if kinds.get_or_insert_with(|| of_batch.clone()) != &of_batch {
                return Err(QueryError::lasting("the types of the query's columns change between its rows".to_owned()));
            }
            rows(&batch, &mut |cells| {
                question.in_time(asked)?;
                take(cells)
            })
        });
        match ran {
            Ok(()) => kinds.ok_or_else(no_columns),
            // What an engine refuses for these batches, and not for none, is in their data: another request may have its report.
            Err(error) if !error.may_pass && !error.is_of_batches => {
                let of_none = self.prepare(&Question { batches: &[], ..*question });
                Err(QueryError { is_of_batches: of_none.map_or_else(|error| error.may_pass, |_| true), ..error })
            }
            Err(error) => Err(error),
        }
    }
}

impl SqlSource {
    /// Runs a statement with the query.
    fn ask(
        &self,
        question: &Question<'_>,
        statement: &Statement,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let _call = self.calls.begin();
        let mut refused = None;
        let ran = self.transport.query(statement, question.given_up, &mut |batch| {
            take(batch).map_err(|error| {
                refused = Some(error);
                EngineError::lasting("the rows are not taken", "")
            })
        });
        match (refused, ran) {
            (Some(error), _) => Err(error),
            (None, ran) => ran.map_err(|error| query_error(error, question)),
        }
    }
}

/// The query, of which only rows that meet `condition` are wanted. The name of the relation of batches is made up for each statement, so that no query has it.
fn statement(question: &Question<'_>, condition: &str, longest: Duration) -> Statement {
    let name = format!("exhaust_{}", uuid::Uuid::new_v4().simple());
    // One may be asked for twice, and not every engine returns two of one name.
    let columns = question.columns.iter().enumerate().map(|(at, name)| format!("{} AS c{at}", quoted(name)));
    let columns: Vec<String> = columns.collect();
    let statement = format!(
        "WITH {RELATION} AS {name} SELECT {} FROM {}{condition}",
        columns.join(", "),
        question.subquery(|_, value| value.map_or_else(|| as_text("NULL"), text))
    );
    let batches = question.batches.iter().map(|(id, course)| [(*id).to_owned(), (*course).to_owned()]).collect();
    Statement { text: statement, keys: vec![KeyRelation { name, rows: LocalRows::Batches(batches) }], longest }
}

fn kinds_of(schema: &Schema, question: &Question<'_>) -> Result<Vec<ValueKind>, QueryError> {
    if schema.fields().len() != question.columns.len() {
        return Err(no_columns());
    }
    let kinds = question.columns.iter().zip(schema.fields()).map(|(name, field)| {
        kind_of(field.data_type()).ok_or_else(|| {
            let message =
                format!("column {name} of the query's result has a type without one spelling: cast it to text");
            QueryError { detail: format!("{message}: {}", field.data_type()), ..QueryError::lasting(message) }
        })
    });
    kinds.collect()
}

/// Hands over the rows of a batch.
fn rows(batch: &RecordBatch, take: &mut TakeRow<'_>) -> Result<(), QueryError> {
    let columns: Vec<TextColumn> = batch.columns().iter().map(TextColumn::new).collect();
    let (mut text, mut ends) = (String::new(), Vec::with_capacity(columns.len()));
    for row in 0..batch.num_rows() {
        text.clear();
        ends.clear();
        for column in &columns {
            let start = text.len();
            let is_there = column.push(row, &mut text);
            ends.push((start, text.len(), is_there));
        }
        let cells: Vec<Option<&str>> =
            ends.iter().map(|(start, end, is_there)| is_there.then(|| &text[*start..*end])).collect();
        take(&cells)?;
    }
    Ok(())
}

fn no_columns() -> QueryError {
    QueryError { may_pass: true, ..QueryError::lasting("the engine's answer has other columns".to_owned()) }
}

fn query_error(error: EngineError, question: &Question<'_>) -> QueryError {
    let EngineError { message, detail, may_pass, why } = error;
    match why {
        Why::TimeOver => QueryError::timeout(question.time),
        Why::TooLarge => {
            QueryError { detail, ..QueryError::too_large("the query's result is more than the engine sends") }
        }
        Why::Missing | Why::Unsupported | Why::Other => QueryError { detail, may_pass, ..QueryError::lasting(message) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sources::GivenUp;

    #[test]
    fn the_query_stands_in_the_statement_as_it_is_and_batches_beside_it() {
        let given_up: GivenUp = Arc::new(|| false);
        let question = Question {
            query: "SELECT {request.tag}, {request.channel} FROM {batches} -- all of them;\n ; \n",
            columns: &["a`b"],
            batches: &[("1'", "c")],
            values: &[("{request.tag}", Some("'\\😀")), ("{request.channel}", None)],
            time: LOOK,
            given_up: &given_up,
        };
        let Statement { text, keys, .. } = statement(&question, "", LOOK);
        let [KeyRelation { name, .. }] = &keys[..] else { panic!("one relation") };
        assert_eq!(
            text,
            format!(
                "WITH exhaust_batches AS {name} SELECT `a``b` AS c0 FROM (\nSELECT decode(unhex('275CF09F9880'), 'UTF-8'), CAST(NULL AS STRING) FROM exhaust_batches -- all of them;\n \n) AS \
                 exhaust_query"
            )
        );
    }
}

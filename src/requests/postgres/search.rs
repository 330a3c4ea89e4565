//! Searches: how many rows match a filter, and the newest of them page by page.

use diesel::pg::PgConnection;
use diesel::prelude::*;

use super::super::access::Reader;
use super::super::filter::{About, COUNT_LIMIT, Filter, FilterSql, TimeRange, behind};
use super::super::paging::PageEntry;
use super::super::stored::StoredTotal;
use super::super::times::postgres_text;
use super::list::{all, by_state, entries, newest, visible};
use super::page_start::Begin;
use super::statement::{Statement, Values};

/// The format that a request names, as the index `job_request_ended_of_format` has it.
const FORMAT: &str = r#"lower(substring(j.request_data::text FROM '"output_?[fF]ormat"\s*:\s*"([A-Za-z]+)"'))"#;

impl FilterSql for Values {
    fn is(&mut self, column: &str, values: &[String]) -> String {
        match values {
            // Only so the rows come in the order of an index.
            [value] => format!("j.{column} = {}", self.text(value)),
            values => format!("j.{column} = ANY({})", self.texts(values.iter().cloned())),
        }
    }

    fn is_there(&mut self, column: &str) -> String {
        format!("j.{column} IS NOT NULL")
    }

    fn begins(&mut self, column: &str, prefix: &str) -> String {
        let from = format!("j.{column} COLLATE \"C\" >= {}", self.text(prefix));
        match behind(prefix) {
            Some(behind) => format!("{from} AND j.{column} COLLATE \"C\" < {}", self.text(&behind)),
            None => from,
        }
    }

    fn within(&mut self, column: &str, TimeRange { from, until }: TimeRange) -> String {
        let mut bound = |sign: &str, time: String| format!("j.{column} {sign} {}::timestamp", self.text(&time));
        let from = from.map_or_else(|| format!("j.{column} > '-infinity'"), |from| bound(">=", postgres_text(from)));
        let until = until.map_or_else(|| format!("j.{column} < 'infinity'"), |until| bound("<", postgres_text(until)));
        format!("{from} AND {until}")
    }

    fn format(&mut self, names: &[String]) -> String {
        if names.iter().any(|name| name == "csv") {
            return format!("coalesce({FORMAT}, 'csv') = 'csv'");
        }
        // The index has no others.
        let format = match names {
            [name] => format!("= {}", self.text(name)),
            names => format!("= ANY({})", self.texts(names.iter().cloned())),
        };
        format!("{FORMAT} {format} AND {FORMAT} <> 'csv'")
    }
}

/// The conditions on rows, and the parts of the table in which they may be.
struct Searched {
    parts: Vec<String>,
    conditions: Vec<String>,
}

impl Searched {
    fn new(filter: &Filter, reader: &Reader, values: &mut Values) -> Self {
        let conditions = filter.conditions(values);
        // In the order of time all rows are read as one.
        let as_one = conditions.iter().all(|(about, _)| *about == About::Submitted);
        let parts = if as_one { all().to_vec() } else { by_state(filter) };
        let conditions = conditions.into_iter().map(|(_, sql)| sql).chain(visible(reader, values)).collect();
        Self { parts, conditions }
    }

    /// The rows, in no order.
    fn rows(&self, columns: &str) -> String {
        let part = |part: &String| {
            let conditions = [std::slice::from_ref(part), &self.conditions].concat().join(" AND ");
            format!("SELECT {columns} FROM job_request AS j WHERE {conditions}")
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join(" UNION ALL ")
    }
}

/// The number of matching rows, counted up to one more than [`COUNT_LIMIT`].
pub(super) fn count(conn: &mut PgConnection, filter: &Filter, reader: &Reader) -> QueryResult<u64> {
    let mut values = Values::default();
    let rows = Searched::new(filter, reader, &mut values).rows("1");
    let sql = format!("SELECT count(*) AS total FROM ({rows} LIMIT {}) AS matching", COUNT_LIMIT + 1);
    let totals: Vec<StoredTotal> = Statement { sql, values }.load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

/// The newest of `total` matching rows.
pub(super) fn search(
    conn: &mut PgConnection,
    filter: &Filter,
    reader: &Reader,
    (begin, limit, total): (&Begin, u32, u64),
) -> QueryResult<Vec<PageEntry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let mut values = Values::default();
    let searched = Searched::new(filter, reader, &mut values);
    let (order, after) = ("j.tag, j.request_id", begin.0.as_ref());
    let all_dated = !filter.submitted.is_open();
    if total > COUNT_LIMIT || searched.conditions.is_empty() {
        let from = ("job_request", searched.parts.as_slice(), order);
        return newest(from, &searched.conditions, (after, all_dated), limit, values).load(conn).map(entries);
    }
    // Not too many are found as they were counted, and sorted: in the order of time they may be far apart in the table.
    let mut statement = newest(("matching", &all(), order), &[], (after, all_dated), limit, values);
    let rows = searched.rows("j.tag, j.request_id, j.dt_job_submitted");
    statement.sql = format!("WITH matching AS MATERIALIZED ({rows}) {}", statement.sql);
    statement.load(conn).map(entries)
}

//! Searches: how many rows match a filter, and the newest of them page by page.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::super::access::Reader;
use super::super::filter::{About, COUNT_LIMIT, Filter, FilterSql, TimeRange, behind};
use super::super::paging::PageEntry;
use super::super::status::{Status, open_statuses};
use super::super::stored::StoredTotal;
use super::super::times::sqlite_text;
use super::functions::unless_over;
use super::list::{NAMED, around, merged, newest, visible};
use super::page_start::Begin;
use super::statement::{Statement, Value};

impl FilterSql for Statement {
    fn is(&mut self, column: &str, values: &[String]) -> String {
        match values {
            // An index with this condition is taken for these very words.
            [failed] if column == "status" && failed == Status::Failed.as_str() => "status = 'FAILED'".to_owned(),
            [value] => format!("{column} = {}", self.value(Value::Text(value.clone()))),
            values => format!("{column} IN {}", self.list(values)),
        }
    }

    fn is_there(&mut self, column: &str) -> String {
        format!("{column} IS NOT NULL")
    }

    fn begins(&mut self, column: &str, prefix: &str) -> String {
        let from = format!("{column} >= {}", self.value(Value::Text(prefix.to_owned())));
        match behind(prefix) {
            Some(behind) => format!("{from} AND {column} < {}", self.value(Value::Text(behind))),
            None => from,
        }
    }

    fn within(&mut self, column: &str, TimeRange { from, until }: TimeRange) -> String {
        let mut bounds = [Vec::new(), Vec::new()];
        for (sign, time) in [(">=", from), ("<", until)] {
            let Some(time) = time else { continue };
            let (text, millis) = (Value::Text(sqlite_text(time)), Value::Integer(time.timestamp_millis()));
            bounds[0].push(format!("{column} {sign} {}", self.value(text)));
            bounds[1]
                .push(format!("exhaust_millis(CAST(CAST({column} AS TEXT) AS BLOB)) {sign} {}", self.value(millis)));
        }
        let [text, millis] = bounds.map(|bounds| bounds.join(" AND "));
        // What has the form that we write sorts as text.
        format!("CASE WHEN {column} GLOB '????-??-?? ??:??:??.[0-9][0-9][0-9]' THEN {text} ELSE {millis} END")
    }

    /// What is not JSON names no format.
    fn format(&mut self, names: &[String]) -> String {
        let named = "CASE WHEN json_valid(request_data) THEN
            lower(coalesce(request_data ->> '$.output_format', request_data ->> '$.outputFormat')) END";
        if names.iter().any(|name| name == "csv") {
            return format!("coalesce({named}, 'csv') = 'csv'");
        }
        let one = |name: &String| {
            let place = self.value(Value::Text(name.clone()));
            // Most rows do not have the word at all, which costs less to see than what JSON says.
            format!("request_data LIKE '%' || {place} || '%' AND {named} = {place}")
        };
        format!("({})", names.iter().map(one).collect::<Vec<_>>().join(" OR "))
    }
}

/// The conditions of the index `job_request_open`, and of all indexes that are made for filters.
const OPEN: &str = concat!("status IN (", open_statuses!(), ")");
const FOR_FILTERS: &str = "tag >= ''";

/// The conditions on rows: those by which an index leads to them, and all others, which are checked row by row.
struct Searched {
    indexed: Vec<String>,
    checked: Vec<String>,
    /// Whether that index gives rows in the order of their submission.
    in_order: bool,
}

impl Searched {
    /// `sorts`: rows may come in any order, and are sorted.
    fn new(filter: &Filter, reader: &Reader, sorts: bool, statement: &mut Statement) -> Self {
        let mut searched = Self { indexed: Vec::new(), checked: Vec::new(), in_order: true };
        for (about, condition) in filter.conditions(statement) {
            if searched.indexed.is_empty() && searched.leads(about, filter, sorts, &condition, statement) {
                continue;
            }
            searched.checked.push(condition);
        }
        searched.checked.extend(visible(reader, statement));
        searched.checked.push(NAMED.to_owned());
        searched
    }

    /// Whether an index leads to the rows of this condition.
    fn leads(
        &mut self,
        about: About,
        filter: &Filter,
        sorts: bool,
        condition: &str,
        statement: &mut Statement,
    ) -> bool {
        let is_one = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.len() == 1);
        let [condition, for_filters, open] = [condition, FOR_FILTERS, OPEN].map(str::to_owned);
        let (indexed, in_order) = match about {
            About::Id if sorts => (vec![condition, for_filters], false),
            About::ErrCode | About::Requester => (vec![condition, for_filters], true),
            About::Tag => (vec![condition], true),
            About::Channel if sorts || is_one(&filter.channels) => {
                (vec![condition, for_filters], is_one(&filter.channels))
            }
            About::Completed if sorts => {
                let ended = around(filter.completed, "dt_job_completed", &condition, statement);
                let Some(ended) = ended else { return false };
                (vec![ended], false)
            }
            About::Job if sorts || is_one(&filter.job_ids) => (vec![condition, for_filters], is_one(&filter.job_ids)),
            About::Status if filter.statuses.as_deref().is_some_and(|all| all == [Status::Failed.as_str()]) => {
                (vec![condition, for_filters], true)
            }
            // Open requests are few, whatever the size of the table.
            About::Status if wants_open(filter) => (vec![condition, open], false),
            About::Status if sorts && filter.job_ids.is_none() => (vec![condition], false),
            _ => return false,
        };
        (self.indexed, self.in_order) = (indexed, in_order);
        true
    }

    fn conditions(mut self) -> Vec<String> {
        self.indexed.push(unless_over(&self.checked.join(" AND ")));
        self.indexed
    }
}

/// Whether only open requests are searched.
fn wants_open(filter: &Filter) -> bool {
    let is_open = |status: &String| Status::parse(status).is_some_and(Status::is_open);
    filter.statuses.as_ref().is_some_and(|statuses| statuses.iter().all(is_open))
}

/// The statement that counts the matching rows, up to one more than [`COUNT_LIMIT`].
pub(super) fn count_of(filter: &Filter, reader: &Reader) -> Statement {
    let most = COUNT_LIMIT + 1;
    let mut statement = Statement::default();
    let searched = Searched::new(filter, reader, true, &mut statement);
    if searched.in_order && !filter.submitted.is_open() {
        // That index finds the rows of a range of time, as the one on times alone does.
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let mut statement = of_search(filter, reader, &Begin::default(), most, COUNT_LIMIT + 1);
        let rows = std::mem::take(&mut statement.sql);
        statement.sql = format!("SELECT count(*) AS total FROM (SELECT 1 FROM ({rows}) LIMIT {most})");
        return statement;
    }
    let conditions = searched.conditions().join(" AND ");
    statement.sql =
        format!("SELECT count(*) AS total FROM (SELECT 1 FROM job_request WHERE {conditions} LIMIT {most})");
    statement
}

/// The statement that returns the newest of `total` matching rows.
pub(super) fn of_search(filter: &Filter, reader: &Reader, begin: &Begin, limit: u32, total: u64) -> Statement {
    let mut statement = Statement::default();
    // Not too many are read and sorted; of more, the newest are found soon in the order of an index on times.
    let searched = Searched::new(filter, reader, total <= COUNT_LIMIT, &mut statement);
    let in_order = searched.in_order;
    newest(statement, &searched.conditions(), begin, (in_order, filter.submitted), limit)
}

pub(super) fn count(conn: &mut SqliteConnection, filter: &Filter, reader: &Reader) -> QueryResult<u64> {
    let totals: Vec<StoredTotal> = count_of(filter, reader).load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

pub(super) fn search(
    conn: &mut SqliteConnection,
    filter: &Filter,
    reader: &Reader,
    (begin, limit, total): (Begin, u32, u64),
) -> QueryResult<Vec<PageEntry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let statement = of_search(filter, reader, &begin, limit, total);
    Ok(merged(statement.load(conn)?, begin, limit))
}

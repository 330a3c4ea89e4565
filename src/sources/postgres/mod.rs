//! The platform's tables in a schema of a PostgreSQL database, read by COPY in text format.
//!
//! One connection and one transaction for all scans of a load ([`Source::snapshot`]), or for a single one. The session says UTC and ISO, so that every type has one
//! spelling; what the texts mean is [`rows`](super::rows)' business, as for every source. While a chunk of rows is
//! taken apart on the pool, the next one is fetched.
//!
//! Not here: what is wanted (the scan says), odd values.

mod catalog;
mod chunks;
mod config;
mod connect;
mod connection;
mod copy;
mod engine;
mod failure;
mod keys;
mod query;
mod semi;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use crate::document::Secret;
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::schema::{Kind, Table};

use super::query_engine::QueryEngine;
use super::rows::{Cell, Reading, Rows};
use super::{GivenUp, GroupRun, ReadCost, ScanStats, Settings, Sink, Source, SourceError};
use catalog::{Found, Shape};
use chunks::{Fetch, fill, lines, pieces};
use connect::{BEGIN, Server};
use connection::Connection;
use copy::Fields;
use failure::Failure;
use keys::Placed;
use snapshot::Snapshot;

pub use config::{Config, KIND, Relations};

/// Opens what jobs.toml says; nothing is connected yet.
///
/// # Errors
/// No connection can come of the URL; the message shows nothing of it.
pub fn open(config: &Config, settings: Settings) -> Result<Arc<dyn Source>, String> {
    let password = config.password.as_ref().map(Secret::reveal);
    let server = Server::new(config.url.reveal(), password)?;
    Ok(Arc::new(PostgresSource { server, relations: config.relations.clone(), settings, given_up: None }))
}

/// The platform's tables in a database.
#[derive(Clone)]
pub struct PostgresSource {
    server: Server,
    relations: Relations,
    settings: Settings,
    /// Whether nobody waits for the rows any more.
    given_up: Option<GivenUp>,
}

impl PostgresSource {
    /// The tables in this schema behind this `postgres://…` URL. Nothing is connected yet.
    ///
    /// # Errors
    /// No connection can come of the URL; the message shows nothing of it.
    pub fn new(url: &str, schema: &str, settings: Settings) -> Result<Self, String> {
        let relations = Relations::in_schema(schema.to_owned());
        Ok(Self { server: Server::new(url, None)?, relations, settings, given_up: None })
    }

    /// How long a read waits for an answer, or for the next row of one; five minutes unless this is called. Then it fails, and
    /// may pass.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.server.silence = silence;
        self
    }

    /// `"schema"."table"`, as it stands in messages.
    fn label(&self, table: Table) -> String {
        self.relations.of(table).quoted()
    }

    /// What is said of a table that could not be read.
    fn error(&self, table: Table, failure: &Failure) -> SourceError {
        SourceError {
            table,
            message: format!("table {table}: {}", failure.message),
            detail: format!("table {table} ({}): {}", self.label(table), failure.detail),
            may_pass: failure.may_pass,
            is_too_large: false,
        }
    }

    /// A connection on which the server ends what is asked once nobody waits for it any more.
    fn connect(&self) -> Result<Connection, Failure> {
        let mut connection = self.server.connect()?;
        if let Some(given_up) = &self.given_up {
            connection.interrupt_when(Arc::clone(given_up));
        }
        Ok(connection)
    }

    /// Runs `work` on a connection of its own, in a transaction: a pooler such as PgBouncer may give every other statement to
    /// another session, where what the one before prepared is not known.
    fn on_connection<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut connection = self.connect()?;
        let outcome = connection.execute(BEGIN).and_then(|()| work(&mut connection));
        connection.close(outcome.is_ok());
        outcome
    }

    /// The rows of a scan. Where its keys follow from another table, that is joined if `joins` says so; else the keys are sent.
    fn read_rows(
        &self,
        connection: &mut Connection,
        scan: &Scan,
        joins: Joins,
        sink: &Sink<'_>,
    ) -> Result<ScanStats, Failure> {
        let joined = match (&scan.reach, joins) {
            (ScanReach::Semi { of, .. }, Joins::Allowed) => semi::place(connection, &self.relations, of)?,
            _ => None,
        };
        let placed = match joined {
            Some(joined) => joined,
            None => keys::place(connection, scan.only().map(|(_, keys)| keys.as_ref()), keys::SCAN_KEYS)?,
        };
        self.copy(connection, scan, placed, sink)
    }

    /// The rows that have one of the keys, and those that have none.
    fn copy(
        &self,
        connection: &mut Connection,
        scan: &Scan,
        placed: Placed,
        sink: &Sink<'_>,
    ) -> Result<ScanStats, Failure> {
        let relation = self.relations.of(scan.table);
        let label = relation.quoted();
        let found = catalog::columns(connection, &relation)?
            .ok_or_else(|| Failure::lasting(format!("there is no table {label}")))?;
        let reading = Reading::new(scan, &self.settings, sink);
        let chosen = query::choose(scan, reading.spellings(), &found)
            .map_err(|what| Failure::lasting(format!("{label} {what}")))?;
        let only = reading.only().map(|only| reading.spellings().of_column(only));
        let copy = format!("COPY ({}) TO STDOUT", query::select(&chosen, only, &relation, placed.keys()));
        // It may be long, and is not needed while rows come.
        drop(placed);
        let decoder = Decoder { reading: &reading, label: &label, columns: columns(&reading, &chosen) };
        let mut incoming = connection.copy_out(&copy)?;
        drop(copy);
        stream(&mut |chunk, size| incoming.fetch(chunk, size), &decoder)
    }
}

/// Whether a scan may join the table that its keys follow from. Only in the snapshot in which that table was read: else rows
/// may be gone by now whose keys were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joins {
    Allowed,
    Refused,
}

impl Source for PostgresSource {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        self.on_connection(|connection| self.read_rows(connection, scan, Joins::Refused, sink))
            .map_err(|failure| self.error(scan.table, &failure))
    }

    /// Reading ends once the run is given up.
    fn prepare(&self, _plan: &LoadPlan, run: &GroupRun) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(Some(Box::new(Self { given_up: Some(Arc::clone(&run.given_up)), ..self.clone() })))
    }

    /// The server finds the rows of batches, and sends no others.
    fn divides(&self, _scans: &[Scan]) -> Result<bool, SourceError> {
        Ok(true)
    }

    fn is_on_this_machine(&self) -> bool {
        self.server.is_on_this_machine()
    }

    fn snapshot(&self) -> Option<Box<dyn Source + '_>> {
        Some(Box::new(Snapshot::new(self)))
    }

    fn query_engine(&self) -> Option<&dyn QueryEngine> {
        Some(self)
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        self.on_connection(|connection| catalog::tables(connection, &self.relations)).map_err(|failure| failure.detail)
    }
}

/// How the cells of a column come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    /// As text.
    Text,
    /// As one JSON value, which is text itself perhaps.
    Json,
}

/// A spelling that the table has.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// Which field of a row it is.
    field: usize,
    coming: Coming,
}

/// For each spelling of the scan's columns, where it is in a row of the query; `None`: nowhere.
fn columns(reading: &Reading<'_>, chosen: &[Option<&Found>]) -> Vec<Option<Column>> {
    let mut fields = 0..;
    let spellings = reading.spellings().all().iter().zip(chosen);
    let columns = spellings.map(|(spelling, found)| {
        let coming = coming(reading.scan.columns[spelling.column].kind, (*found)?.shape);
        Some(Column { field: fields.next()?, coming })
    });
    columns.collect()
}

const fn coming(kind: Kind, shape: Shape) -> Coming {
    match (kind, shape) {
        (_, Shape::Json | Shape::Nested)
        // Metadata that is a number stays one.
        | (Kind::Json, Shape::Number | Shape::Bool) => Coming::Json,
        _ => Coming::Text,
    }
}

/// Makes cells of rows.
struct Decoder<'a> {
    reading: &'a Reading<'a>,
    /// The table, for messages.
    label: &'a str,
    /// For each spelling of the scan's columns, where it is.
    columns: Vec<Option<Column>>,
}

impl Decoder<'_> {
    /// Takes a chunk of whole rows apart, a piece for each thread. `before`: how many rows came before it.
    fn chunk(&self, chunk: &[u8], before: u64) -> ScanStats {
        let pieces = pieces(chunk, rayon::current_num_threads());
        let starts = pieces.iter().scan(before, |line, piece| {
            let start = *line;
            *line += lines(piece);
            Some(start)
        });
        let pieces: Vec<(u64, &[u8])> = starts.zip(pieces.iter().copied()).collect();
        pieces.into_par_iter().map(|(start, piece)| self.piece(piece, start)).reduce(ScanStats::default, ScanStats::and)
    }

    fn piece(&self, piece: &[u8], before: u64) -> ScanStats {
        let mut rows = Rows::new(self.reading, self.label);
        let mut fields = Fields::default();
        let mut texts = Texts::new(&self.columns);
        let mut rest = piece;
        let mut line = before;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            line += 1;
            fields.decode(&rest[..end]);
            texts.take(&fields);
            rows.push(line, |at| texts.cell(&fields, at));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        rows.finish()
    }
}

/// The text of cells that come as JSON text.
struct Texts<'a> {
    columns: &'a [Option<Column>],
    /// For each spelling; used only where the JSON is text.
    texts: Vec<Option<String>>,
}

impl<'a> Texts<'a> {
    fn new(columns: &'a [Option<Column>]) -> Self {
        Self { columns, texts: vec![None; columns.len()] }
    }

    fn take(&mut self, fields: &Fields) {
        for (column, text) in self.columns.iter().zip(&mut self.texts) {
            if let Some(Column { field, coming: Coming::Json }) = column {
                let json = fields.get(*field).filter(|json| json.trim_ascii_start().starts_with(b"\""));
                *text = json.and_then(|json| serde_json::from_slice(json).ok());
            }
        }
    }

    fn cell<'c>(&'c self, fields: &'c Fields, at: usize) -> Cell<'c> {
        let Some(Column { field, coming }) = self.columns[at] else { return Cell::Null };
        let Some(bytes) = fields.get(field) else { return Cell::Null };
        if coming == Coming::Text {
            return Cell::Text(bytes);
        }
        match (&self.texts[at], std::str::from_utf8(bytes)) {
            (Some(text), _) => Cell::Text(text.as_bytes()),
            (None, Ok(json)) => Cell::Json(json.trim()),
            (None, Err(_)) => Cell::Text(bytes),
        }
    }
}

/// Fetches and decodes at the same time.
fn stream(fetch: &mut Fetch<'_>, decoder: &Decoder<'_>) -> Result<ScanStats, Failure> {
    let (mut chunk, mut next) = (Vec::new(), Vec::new());
    let mut all = ScanStats { cost: ReadCost { calls: 1, ..ReadCost::default() }, ..ScanStats::default() };
    let mut before = 0;
    let mut more = fill(fetch, &mut chunk, &mut next)?;
    loop {
        // `next` begins with the part of a row that `chunk` ends before.
        let mut rest = Vec::new();
        let (fetched, stats) = rayon::join(
            || if more { fill(fetch, &mut next, &mut rest) } else { Ok(false) },
            || decoder.chunk(&chunk, before),
        );
        all.add(&stats);
        all.cost.bytes += chunk.len() as u64;
        before += lines(&chunk);
        more = fetched?;
        if next.is_empty() {
            return Ok(all);
        }
        std::mem::swap(&mut chunk, &mut next);
        next = rest;
    }
}

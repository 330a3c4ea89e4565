//! The platform's tables in an engine that is asked in SQL: Spark, Databricks, Sail. The engine filters and joins; what it
//! sends is taken by the rules that hold for every source.
//!
//! A [`Transport`] reaches the engine; `statement` writes what it is asked. Not here: odd values (`rows`, `values`).

mod calls;
mod command;
mod config;
mod dialect;
mod engine;
mod spark_connect;
mod staged;
mod staged_table;
mod statement;
mod text_column;
mod transport;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use rayon::prelude::*;

pub use config::{Access, Config, EngineRelations, KIND};
pub use spark_connect::EngineUrl;

use self::calls::Calls;
pub use self::command::Program;
use self::command::{NotAsked, Script, Statements};
use self::spark_connect::SparkConnect;
use self::staged::Staged;
use self::staged_table::{StagedTable, Written};
use self::statement::{Described, Keyless};
use self::transport::{EngineError, LOOK, Statement, Transport, Why, never};
use super::query_engine::QueryEngine;
use super::rows::Reading;
use super::rows::batches::Batches;
use super::seen_keys::SeenKeys;
use super::stage::Stage;
use super::{GivenUp, GroupRun, ReadCost, ScanStats, Settings, Sink, Source, SourceError};
use crate::document::Secret;
use crate::tables::chunk::Chunk;
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::schema::Table;

/// Opens what jobs.toml says; nothing is reached yet.
///
/// # Errors
/// No connection can come of the URL or the token; the message shows nothing of the token.
pub fn open(config: &Config, settings: Settings) -> Result<Arc<dyn Source>, String> {
    let (transport, stager): (Arc<dyn Transport>, _) = match &config.access {
        Access::SparkConnect { url, token } => {
            (Arc::new(SparkConnect::new(url, token.as_ref().map(Secret::reveal))?), Stager::Engine)
        }
        Access::Plan(program) => (Arc::new(NotAsked), Stager::Plan(Arc::new(Script::new(program.clone())))),
        Access::Statements(program) => {
            (Arc::new(NotAsked), Stager::Statements(Arc::new(Statements::new(program.clone()))))
        }
    };
    let Config { relations, stage, .. } = config.clone();
    let (given_up, calls, found) = (never(), Arc::default(), Arc::default());
    Ok(Arc::new(SqlSource { transport, stager, relations, stage, settings, given_up, calls, found }))
}

/// The platform's tables in an engine.
#[derive(Clone)]
struct SqlSource {
    transport: Arc<dyn Transport>,
    stager: Stager,
    relations: EngineRelations,
    /// Where the engine puts them; `None`: they are streamed.
    stage: Option<Stage>,
    settings: Settings,
    /// Whether nobody waits for what is read any more.
    given_up: GivenUp,
    calls: Arc<Calls>,
    /// Which tables were there when all of them were looked for last.
    found: Arc<Mutex<Option<FullLook>>>,
}

/// What stages tables.
#[derive(Clone)]
enum Stager {
    /// The engine, asked over the transport.
    Engine,
    /// A program that gets a plan.
    Plan(Arc<Script>),
    /// A program that gets statements.
    Statements(Arc<Statements>),
}

/// What a look for all tables came to.
struct FullLook {
    at: Instant,
    found: Vec<Table>,
    /// When the engine could write the stage, and what it wrote was found and removed.
    stage_tried: Option<Instant>,
}

/// All tables are looked for this often at most: `/health` asks every few seconds, and a look at a table is a session of the
/// engine. In between one statement shows that the engine answers.
const FULL_LOOK: Duration = Duration::from_mins(1);

/// The stage is tried this often at most once it was well: that is a job of the engine.
const STAGE_LOOK: Duration = Duration::from_mins(15);

impl SqlSource {
    fn try_read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, EngineError> {
        let relation = self.relations.of(scan.table);
        let schema = self.schema(&relation)?;
        let described = Described::new(scan, &relation, &schema).map_err(|what| EngineError::lasting(&what, ""))?;
        if let ScanReach::Semi { column, keys: Some(wanted), of } = &scan.reach
            && let Some(place) = scan.columns.iter().position(|found| found.name.eq_ignore_ascii_case(column))
            && let Some(statement) = self.joined(scan, &described, &of.scan, &|table| self.schema_of(table))?
        {
            let seen = SeenKeys::new(place);
            let take = |chunk: &Chunk| {
                seen.take(chunk);
                sink(chunk);
            };
            let mut stats = self.rows(scan, &described, &statement, &take)?;
            let missing = seen.missing(wanted.as_ref(), &stats);
            if !missing.is_empty() {
                let reach = ScanReach::Keys { column: column.clone(), keys: missing };
                let scan = Scan { reach, learners: None, ..scan.clone() };
                // The rows without a key came with the join.
                let statement = statement::by_keys(&scan, &described, Keyless::LeftOut);
                stats.add(&self.rows(&scan, &described, &statement, sink)?);
            }
            return Ok(stats);
        }
        let mut stats = self.rows(scan, &described, &statement::by_keys(scan, &described, Keyless::Taken), sink)?;
        stats.of_range = described.applies_range(scan);
        Ok(stats)
    }

    fn schema(&self, relation: &str) -> Result<SchemaRef, EngineError> {
        self.transport.schema(relation, &self.given_up)
    }

    fn schema_of(&self, table: Table) -> Result<SchemaRef, EngineError> {
        self.schema(&self.relations.of(table))
    }

    /// The statement of a scan whose keys follow from another table of this engine; `None`: they have to be sent.
    fn joined(
        &self,
        scan: &Scan,
        described: &Described<'_>,
        origin: &Scan,
        schema_of: &dyn Fn(Table) -> Result<SchemaRef, EngineError>,
    ) -> Result<Option<Statement>, EngineError> {
        if !self.relations.tables.contains(&origin.table) {
            return Ok(None);
        }
        let relation = self.relations.of(origin.table);
        let schema = schema_of(origin.table)?;
        let of = Described::new(origin, &relation, &schema).map_err(|what| EngineError::lasting(&what, ""))?;
        Ok(statement::joined(scan, described, origin, &of))
    }

    /// The statement of the rows of a scan; where they are staged, in the order in which they are. `None`: its keys are not known
    /// yet.
    fn statement(
        &self,
        scan: &Scan,
        keyless: Keyless,
        schema_of: &dyn Fn(Table) -> Result<SchemaRef, EngineError>,
    ) -> Result<Option<Statement>, EngineError> {
        let relation = self.relations.of(scan.table);
        let schema = schema_of(scan.table)?;
        let described = Described::new(scan, &relation, &schema).map_err(|what| EngineError::lasting(&what, ""))?;
        let joined = match &scan.reach {
            ScanReach::Semi { of, .. } => self.joined(scan, &described, &of.scan, schema_of)?,
            _ => None,
        };
        if joined.is_none() && scan.only().is_none() && !matches!(scan.reach, ScanReach::Everything) {
            return Ok(None);
        }
        let rows = joined.unwrap_or_else(|| statement::by_keys(scan, &described, keyless));
        Ok(Some(match &self.stage {
            Some(_) => statement::in_order(rows, described.key(scan).as_deref()),
            None => rows,
        }))
    }

    /// Runs a statement and takes its rows, on all cores while the next ones come.
    fn rows(
        &self,
        scan: &Scan,
        described: &Described<'_>,
        statement: &Statement,
        sink: &Sink<'_>,
    ) -> Result<ScanStats, EngineError> {
        log::debug!("statement table={} text={:?}", scan.table, statement.text);
        let reading = Reading::new(scan, &self.settings, sink);
        let label = self.relations.of(scan.table);
        let batches = Batches::new(&reading, described.places(), &label);
        let mut all = ScanStats { cost: ReadCost { calls: 1, ..ReadCost::default() }, ..ScanStats::default() };
        let mut before = 0;
        let mut waiting: Vec<(u64, RecordBatch)> = Vec::new();
        let mut take = |waiting: &mut Vec<(u64, RecordBatch)>| {
            let stats: Result<Vec<ScanStats>, _> =
                waiting.par_drain(..).map(|(before, batch)| batches.take(&batch, before)).collect();
            stats
                .map(|stats| stats.iter().for_each(|stats| all.add(stats)))
                .map_err(|error| EngineError::lasting("has a type that is not known here", &error.to_string()))
        };
        let mut bytes = 0;
        self.transport.query(statement, &self.given_up, &mut |batch| {
            bytes += batch.get_array_memory_size() as u64;
            let rows = batch.num_rows() as u64;
            waiting.push((before, batch));
            before += rows;
            if waiting.len() >= rayon::current_num_threads() { take(&mut waiting) } else { Ok(()) }
        })?;
        take(&mut waiting)?;
        all.cost.bytes = bytes;
        Ok(all)
    }
}

impl SqlSource {
    /// Lets the engine write a row into the stage, looks for it and removes it: what would fail a request, or give it too few
    /// rows, is seen before.
    fn try_stage(&self, stage: &Stage) -> Result<(), String> {
        let Some(table) = self.relations.tables.first() else { return Ok(()) };
        let checks = stage.within("check");
        let own = checks.within(&uuid::Uuid::new_v4().simple().to_string());
        let row = Statement { text: "SELECT 1 AS one".to_owned(), keys: Vec::new(), longest: LOOK };
        let into = format!("{}/{}", own.engine_url(), table.name());
        let written = self.transport.write(&row, &into, &self.given_up);
        let found = written
            .and_then(|rows| StagedTable::find(*table, &[(own.clone(), Written::Rows(rows))], self.settings).map(drop));
        let removed = own.remove();
        checks.remove_if_empty();
        found.map_err(|error| format!("the stage cannot be used: {}", error.detail))?;
        removed.map_err(|error| format!("what the engine writes into the stage cannot be removed: {error}"))
    }

    fn error(&self, table: Table, error: &EngineError) -> SourceError {
        SourceError {
            table,
            message: format!("table {table}: {}", error.message),
            detail: format!("table {table} ({}): {}", self.relations.of(table), error.detail),
            may_pass: error.may_pass,
            is_too_large: false,
        }
    }
}

impl Source for SqlSource {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let _call = self.calls.begin();
        self.try_read(scan, sink).map_err(|error| self.error(scan.table, &error))
    }

    fn prepare(&self, plan: &LoadPlan, run: &GroupRun) -> Result<Option<Box<dyn Source>>, SourceError> {
        let own = Self { given_up: Arc::clone(&run.given_up), ..self.clone() };
        Ok(Some(match &self.stage {
            Some(stage) => Box::new(Staged::of(own, stage, plan, run)?),
            None => Box::new(own),
        }))
    }

    fn statements(&self, plan: &LoadPlan) -> Result<Vec<(Table, String)>, SourceError> {
        if !matches!(self.stager, Stager::Engine) {
            return Ok(Vec::new());
        }
        let text = |scan: &Scan| {
            let statement = self.statement(scan, Keyless::Taken, &|table| self.schema_of(table));
            let statement = statement.map_err(|error| self.error(scan.table, &error)).transpose()?;
            Some(statement.map(|statement| (scan.table, statement.text)))
        };
        plan.scans.iter().filter_map(text).collect()
    }

    fn wait_for_cancelled(&self, patience: Duration) {
        self.calls.wait(patience);
    }

    fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }

    fn query_engine(&self) -> Option<&dyn QueryEngine> {
        matches!(self.stager, Stager::Engine).then_some(self)
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        if !matches!(self.stager, Stager::Engine) {
            // It cannot be asked; those that jobs.toml says.
            let writable = self.stage.as_ref().map_or(Ok(()), Stage::check);
            writable.map_err(|error| format!("the stage cannot be written: {error}"))?;
            return Ok(self.relations.tables.clone());
        }
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(FullLook { at, found, .. }) = last.as_ref()
            && at.elapsed() < FULL_LOOK
        {
            let statement = Statement { text: "SELECT 1 AS one".to_owned(), keys: Vec::new(), longest: LOOK };
            self.transport.query(&statement, &self.given_up, &mut |_| Ok(())).map_err(|error| error.detail)?;
            return Ok(found.clone());
        }
        let mut found = Vec::new();
        for table in &self.relations.tables {
            match self.schema(&self.relations.of(*table)) {
                Ok(_) => found.push(*table),
                Err(error) if error.why == Why::Missing => {}
                Err(error) => return Err(format!("{}: {}", self.relations.of(*table), error.detail)),
            }
        }
        let tried = last.as_ref().and_then(|last| last.stage_tried).filter(|at| at.elapsed() < STAGE_LOOK);
        if let (Some(stage), None) = (&self.stage, tried) {
            self.try_stage(stage)?;
        }
        let stage_tried = Some(tried.unwrap_or_else(Instant::now));
        *last = Some(FullLook { at: Instant::now(), found: found.clone(), stage_tried });
        Ok(found)
    }
}

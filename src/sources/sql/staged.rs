//! Tables that the engine has written as Parquet for one group of requests: one engine job for each table of the plan, then
//! everything that files can do (parts, ranges of learners, resumption) without another question to the engine.
//!
//! Asked again are only learners whom a semi join did not bring; what comes of that stays beside the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow_schema::SchemaRef;

use super::command::{CAP, Statements, portions};
use super::staged_table::{StagedTable, Written};
use super::statement::Keyless;
use super::transport::{EngineError, Statement};
use super::{SqlSource, Stager};
use crate::failpoints;
use crate::sources::seen_keys::SeenKeys;
use crate::sources::stage::Stage;
use crate::sources::{GroupRun, ScanStats, Sink, Source, SourceError};
use crate::tables::chunk::Chunk;
use crate::tables::keys::Keys;
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::schema::Table;

/// What is staged for a group. Dropped, it is removed.
pub(super) struct Staged {
    engine: SqlSource,
    /// Of the claim; other groups of it may have parts of it too.
    of_claim: Stage,
    stage: Stage,
    tables: BTreeMap<Table, StagedTable>,
    /// The columns of tables, where they are learned from the stage.
    schemas: Mutex<BTreeMap<Table, SchemaRef>>,
    /// Of each table, what was asked for later, and the keys that were asked for.
    later: Mutex<BTreeMap<Table, Later>>,
}

#[derive(Default)]
struct Later {
    tables: Vec<Arc<StagedTable>>,
    asked: Vec<Arc<dyn Keys>>,
}

impl Staged {
    /// Lets the engine write the tables of a plan. Those whose keys are not known yet are written when they are.
    pub(super) fn of(engine: SqlSource, stage: &Stage, plan: &LoadPlan, run: &GroupRun) -> Result<Self, SourceError> {
        let of_claim = stage.of_claim(&run.installation, &run.claim);
        let (tables, schemas, later) = (BTreeMap::new(), Mutex::default(), Mutex::default());
        let mut staged = Self { engine, stage: of_claim.fresh(), of_claim, tables, schemas, later };
        let written = staged.write(&staged.stage, &plan.scans, Keyless::Taken)?;
        staged.tables = written.into_iter().map(|table| (table.table, table)).collect();
        Ok(staged)
    }

    /// Writes the rows of scans; of those whose keys are not known yet nothing.
    fn write(&self, stage: &Stage, scans: &[Scan], keyless: Keyless) -> Result<Vec<StagedTable>, SourceError> {
        let _call = self.engine.calls.begin();
        if let (Stager::Statements(program), Some(first)) = (&self.engine.stager, scans.first()) {
            let written = self.by_statements(program, stage, scans, keyless);
            return written.map_err(|error| self.engine.error(first.table, &error));
        }
        let write = |scan: &Scan| {
            self.try_write(stage, scan, keyless).map_err(|error| self.engine.error(scan.table, &error)).transpose()
        };
        scans.iter().filter_map(write).collect()
    }

    fn try_write(&self, stage: &Stage, scan: &Scan, keyless: Keyless) -> Result<Option<StagedTable>, EngineError> {
        let name = scan.table.name();
        let started = Instant::now();
        let written = match &self.engine.stager {
            Stager::Plan(_) if scan.only().is_none() && !matches!(scan.reach, ScanReach::Everything) => {
                return Ok(None);
            }
            Stager::Plan(script) => {
                script.write(scan, keyless, stage, &self.engine.given_up)?;
                Written::Unknown
            }
            Stager::Engine | Stager::Statements(_) => {
                let Some(rows) = self.rows(scan, keyless)? else { return Ok(None) };
                log::debug!("statement table={name} text={:?}", rows.text);
                Written::Rows(self.engine.transport.write(&rows, &place(stage, scan.table), &self.engine.given_up)?)
            }
        };
        failpoints::hit("staged", name);
        let table = StagedTable::find(scan.table, &[(stage.clone(), written)], self.engine.settings)?;
        log_staged(&table, started);
        Ok(Some(table))
    }

    /// Writes the rows of scans by one run of a program, which costs a start of the engine each time.
    fn by_statements(
        &self,
        program: &Statements,
        stage: &Stage,
        scans: &[Scan],
        keyless: Keyless,
    ) -> Result<Vec<StagedTable>, EngineError> {
        let started = Instant::now();
        self.look(program, scans)?;
        let (mut statements, mut tables) = (Vec::new(), Vec::new());
        for scan in scans {
            let mut stages = Vec::new();
            for (number, rows) in self.portions(scan, keyless)?.into_iter().enumerate() {
                let part = if number == 0 { stage.clone() } else { stage.within(&format!("more-{number}")) };
                log::debug!("statement table={} text={:?}", scan.table.name(), rows.text);
                statements.push((rows, place(&part, scan.table)));
                stages.push((part, Written::SomeFile));
            }
            if !stages.is_empty() {
                tables.push((scan.table, stages));
            }
        }
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        program.write(&statements, stage, &self.engine.given_up)?;
        let found = |(table, stages): (Table, Vec<_>)| StagedTable::find(table, &stages, self.engine.settings);
        let found: Vec<StagedTable> = tables.into_iter().map(found).collect::<Result<_, _>>()?;
        for table in &found {
            log_staged(table, started);
        }
        Ok(found)
    }

    /// Learns the columns of the tables that these scans name, as far as they are not known.
    fn look(&self, program: &Statements, scans: &[Scan]) -> Result<(), EngineError> {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = |scan: &Scan| match &scan.reach {
            ScanReach::Semi { of, .. } => Some(of.scan.table),
            _ => None,
        };
        let named = scans.iter().flat_map(|scan| std::iter::once(scan.table).chain(origin(scan)));
        let unknown =
            named.filter(|table| self.engine.relations.tables.contains(table) && !schemas.contains_key(table));
        let unknown: BTreeMap<Table, String> = unknown.map(|table| (table, self.engine.relations.of(table))).collect();
        if !unknown.is_empty() {
            let stage = self.stage.fresh();
            let found = program.schemas(&unknown, &stage, &self.engine.given_up);
            remove(&stage);
            schemas.extend(found?);
        }
        Ok(())
    }

    /// The statements of a scan, none of which has too many keys; none of them brings a row of another. None: its keys are not
    /// known yet.
    fn portions(&self, scan: &Scan, keyless: Keyless) -> Result<Vec<Statement>, EngineError> {
        let Some(rows) = self.rows(scan, keyless)? else { return Ok(Vec::new()) };
        let (true, Some((column, keys))) = (rows.has_keys_of_scan(), scan.only()) else { return Ok(vec![rows]) };
        let of = |(number, keys): (usize, Arc<dyn Keys>)| {
            let reach = ScanReach::Keys { column: column.to_owned().into(), keys };
            // Rows without a key come once.
            let keyless = if number == 0 { keyless } else { Keyless::LeftOut };
            Ok(self.rows(&Scan { reach, ..scan.clone() }, keyless)?.unwrap_or_else(|| rows.clone()))
        };
        portions(keys.as_ref(), CAP).into_iter().enumerate().map(of).collect()
    }

    fn schema_of(&self, table: Table) -> Result<SchemaRef, EngineError> {
        let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        schemas.get(&table).map_or_else(|| self.engine.schema_of(table), |schema| Ok(Arc::clone(schema)))
    }

    fn rows(&self, scan: &Scan, keyless: Keyless) -> Result<Option<Statement>, EngineError> {
        self.engine.statement(scan, keyless, &|table| self.schema_of(table))
    }

    /// Asks for keys that a join did not bring and that were not asked for before.
    fn ask_for(&self, scan: &Scan, column: &str, missing: &Arc<dyn Keys>) -> Result<(), SourceError> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let later = later.entry(scan.table).or_default();
        let is_new = |key: &&str| !later.asked.iter().any(|asked| asked.contains(key));
        let new = crate::tables::keys::keys(missing.iter().filter(is_new));
        if new.is_empty() {
            return Ok(());
        }
        let scan = Scan {
            reach: ScanReach::Keys { column: column.to_owned().into(), keys: Arc::clone(&new) },
            learners: None,
            ..scan.clone()
        };
        // The rows without a key came with the join.
        let written = self.write(&self.stage.fresh(), &[scan], Keyless::LeftOut)?;
        later.tables.extend(written.into_iter().map(Arc::new));
        later.asked.push(new);
        Ok(())
    }

    fn asked_later(&self, table: Table) -> Vec<Arc<StagedTable>> {
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.get(&table).map_or_else(Vec::new, |later| later.tables.clone())
    }

    /// Reads a staged table; where it was joined also what was asked for beside it.
    fn read_staged(&self, table: &StagedTable, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let ScanReach::Semi { column, keys: Some(wanted), .. } = &scan.reach else { return table.read(scan, sink) };
        let Some(place) = scan.columns.iter().position(|found| found.name.eq_ignore_ascii_case(column)) else {
            return table.read(scan, sink);
        };
        let seen = SeenKeys::new(place);
        let take = |chunk: &Chunk| {
            seen.take(chunk);
            sink(chunk);
        };
        let mut stats = table.read(scan, &take)?;
        let mut missing = seen.missing(wanted.as_ref(), &stats);
        if !missing.is_empty() {
            self.ask_for(scan, column, &missing)?;
            for table in self.asked_later(scan.table) {
                let reach = ScanReach::Keys { column: column.clone(), keys: Arc::clone(&missing) };
                stats.add(&table.read(&Scan { reach, ..scan.clone() }, &take)?);
                missing = seen.missing(missing.as_ref(), &stats);
            }
        }
        Ok(stats)
    }
}

impl Source for Staged {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        if let Some(table) = self.tables.get(&scan.table) {
            return self.read_staged(table, scan, sink);
        }
        // Its keys are known only now, and are this part's alone.
        let stage = self.stage.fresh();
        let Some(table) = self.write(&stage, std::slice::from_ref(scan), Keyless::Taken)?.pop() else {
            return self.engine.read(scan, sink);
        };
        let read = table.read(scan, sink);
        remove(&stage);
        read
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        self.engine.tables()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove(&self.stage);
        self.of_claim.remove_if_empty();
    }
}

/// What cannot be removed now is removed when the claim is over.
fn remove(stage: &Stage) {
    if let Err(error) = stage.remove() {
        log::warn!("staged tables cannot be removed yet place={} error={error}", stage.engine_url());
    }
}

/// Where a table goes, as the engine calls it.
fn place(stage: &Stage, table: Table) -> String {
    format!("{}/{}", stage.engine_url(), table.name())
}

fn log_staged(table: &StagedTable, started: Instant) {
    let ((files, bytes), ms) = (table.size(), started.elapsed().as_millis());
    log::info!("staged table={} files={files} bytes={bytes} ms={ms}", table.table.name());
}

//! Tables that the engine has written as Parquet for one group of requests: one engine job for each table of the plan, then
//! everything that files can do (parts, ranges of learners, resumption) without another question to the engine.
//!
//! Asked again are only learners whom a semi join did not bring; what comes of that stays beside the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::SqlSource;
use super::statement::{self, Described, Keyless};
use super::transport::{EngineError, Statement};
use crate::failpoints;
use crate::sources::files::{Config as FilesConfig, CsvDialect, open as open_files, rows_of};
use crate::sources::seen_keys::SeenKeys;
use crate::sources::stage::{Files, Stage};
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
    /// Of each table, what was asked for later, and the keys that were asked for.
    later: Mutex<BTreeMap<Table, Later>>,
}

#[derive(Default)]
struct Later {
    tables: Vec<Arc<StagedTable>>,
    asked: Vec<Arc<dyn Keys>>,
}

/// The files of one table.
struct StagedTable {
    table: Table,
    stage: Stage,
    files: Files,
    source: Arc<dyn Source>,
}

impl Staged {
    /// Lets the engine write the tables of a plan. Those whose keys are not known yet are written when they are.
    pub(super) fn of(engine: SqlSource, stage: &Stage, plan: &LoadPlan, run: &GroupRun) -> Result<Self, SourceError> {
        let of_claim = stage.of_claim(&run.installation, &run.claim);
        let mut staged =
            Self { engine, stage: of_claim.fresh(), of_claim, tables: BTreeMap::new(), later: Mutex::default() };
        for scan in &plan.scans {
            if let Some(table) = staged.write(&staged.stage, scan, Keyless::Taken)? {
                staged.tables.insert(scan.table, table);
            }
        }
        Ok(staged)
    }

    /// Writes the rows of a scan. `None`: its keys are not known yet.
    fn write(&self, stage: &Stage, scan: &Scan, keyless: Keyless) -> Result<Option<StagedTable>, SourceError> {
        let _call = self.engine.calls.begin();
        self.try_write(stage, scan, keyless).map_err(|error| self.engine.error(scan.table, &error))
    }

    fn try_write(&self, stage: &Stage, scan: &Scan, keyless: Keyless) -> Result<Option<StagedTable>, EngineError> {
        let name = scan.table.name();
        let started = std::time::Instant::now();
        let written = match &self.engine.script {
            Some(_) if scan.only().is_none() && !matches!(scan.reach, ScanReach::Everything) => return Ok(None),
            Some(script) => script.write(scan, keyless, stage, &self.engine.given_up).map(|()| None)?,
            None => {
                let Some(rows) = self.rows(scan, keyless)? else { return Ok(None) };
                log::debug!("statement table={name} text={:?}", rows.text);
                let into = format!("{}/{name}", stage.engine_url());
                Some(self.engine.transport.write(&rows, &into, &self.engine.given_up)?)
            }
        };
        failpoints::hit("staged", name);
        let files = stage.files(name).map_err(|error| unreadable(&error.to_string()))?;
        let bytes: u64 = files.values().sum();
        let ms = started.elapsed().as_millis();
        log::info!("staged table={name} files={} bytes={bytes} ms={ms}", files.len());
        if let Some(written) = written {
            let rows = rows_of(stage.location(), scan.table, &files).map_err(|error| unreadable(&error.detail))?;
            if rows != written {
                return Err(elsewhere(written, rows));
            }
        }
        let config = FilesConfig { location: stage.location().clone(), tables: CsvDialect::Rfc4180.into() };
        let source = open_files(&config, self.engine.settings).map_err(|what| EngineError::lasting(&what, ""))?;
        Ok(Some(StagedTable { table: scan.table, stage: stage.clone(), files, source }))
    }

    /// The statement of the rows of a scan, in the order in which they are staged. `None`: its keys are not known yet.
    fn rows(&self, scan: &Scan, keyless: Keyless) -> Result<Option<Statement>, EngineError> {
        let relation = self.engine.relations.of(scan.table);
        let schema = self.engine.schema(&relation)?;
        let described = Described::new(scan, &relation, &schema).map_err(|what| EngineError::lasting(&what, ""))?;
        let rows = match &scan.reach {
            ScanReach::Semi { of, .. } => match self.engine.joined(scan, &described, &of.scan)? {
                Some(joined) => joined,
                None if scan.only().is_none() => return Ok(None),
                None => statement::by_keys(scan, &described, keyless),
            },
            _ => statement::by_keys(scan, &described, keyless),
        };
        Ok(Some(statement::in_order(rows, described.key(scan).as_deref())))
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
        if let Some(table) = self.write(&self.stage.fresh(), &scan, Keyless::LeftOut)? {
            later.tables.push(Arc::new(table));
        }
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

impl StagedTable {
    /// Reads the files, if they are still those that the engine had written when it said that it was done.
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let failed = |what: &str| {
            let message = format!("table {}: its staged files {what}", self.table);
            SourceError { table: self.table, detail: message.clone(), message, may_pass: true }
        };
        let files = self.stage.files(self.table.name());
        let files = files.map_err(|error| failed(&format!("cannot be looked at: {error}")))?;
        if files != self.files {
            return Err(failed("are not those that the engine wrote"));
        }
        if files.is_empty() {
            return Ok(ScanStats::default());
        }
        self.source.read(scan, sink)
    }
}

impl Source for Staged {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        if let Some(table) = self.tables.get(&scan.table) {
            return self.read_staged(table, scan, sink);
        }
        // Its keys are known only now, and are this part's alone.
        let Some(table) = self.write(&self.stage.fresh(), scan, Keyless::Taken)? else {
            return self.engine.read(scan, sink);
        };
        let read = table.read(scan, sink);
        remove(&table.stage);
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

/// A worker of the engine wrote to a disk of its own, say, and the engine did not see it. No report may be made without those rows.
fn elsewhere(written: u64, rows: u64) -> EngineError {
    let message = format!("`stage` has {rows} of {written} rows: every worker must see it (`stage_as`)");
    let told = "the files that the engine says it has written are elsewhere: `stage` must be a directory that exhaustd and every \
                worker of the engine share, or a bucket, and `stage_as` the engine's name for it";
    EngineError::lasting(&message, told)
}

fn unreadable(told: &str) -> EngineError {
    EngineError::passing("the staged files cannot be looked at", told)
}

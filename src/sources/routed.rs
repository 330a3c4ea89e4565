//! Several sources as one: each table is read from the source that has it.

use std::sync::Arc;
use std::time::Duration;

use super::query_engine::QueryEngine;
use super::{GroupRun, ScanStats, Sink, Source, SourceError};
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::schema::Table;

/// Sources by name, each with its tables.
pub struct Routed {
    members: Vec<Member>,
}

/// One of the sources.
#[derive(Clone)]
pub struct Member {
    /// Its name: `source`, or `source.<name>`.
    pub name: String,
    /// The tables that come from it. It may have others, which are not read.
    pub tables: Vec<Table>,
    /// Where they are read.
    pub source: Arc<dyn Source>,
    /// Told of each reading of a table, with its name, and where it failed, whether that may pass.
    pub observer: Option<ReadObserver>,
}

/// Counts readings.
pub type ReadObserver = Arc<dyn Fn(&str, Option<bool>) + Send + Sync>;

impl Member {
    /// Which of its tables are there.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn found(&self) -> Result<Vec<Table>, String> {
        let found = self.source.tables()?;
        Ok(found.into_iter().filter(|table| self.tables.contains(table)).collect())
    }

    /// The same scan by its keys, where they follow from a table that another source has; `None`: it can stay as it is.
    fn with_keys(&self, scan: &Scan) -> Option<Scan> {
        let ScanReach::Semi { column, keys: Some(keys), of } = &scan.reach else { return None };
        let reach = || ScanReach::Keys { column: column.clone(), keys: Arc::clone(keys) };
        (!self.tables.contains(&of.scan.table)).then(|| Scan { reach: reach(), ..scan.clone() })
    }
}

impl Routed {
    /// These sources together. A table that none of them has cannot be read.
    #[must_use]
    pub const fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// The sources.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What answers the queries of reports in SQL in the source of this name.
    #[must_use]
    pub fn engine(&self, name: &str) -> Option<&dyn QueryEngine> {
        self.members.iter().find(|member| member.name == name)?.source.query_engine()
    }

    /// What is said before an error, so that it is known which source it is from; nothing where there is one.
    fn prefix(&self, member: &Member) -> String {
        if self.members.len() > 1 { format!("{}: ", member.name) } else { String::new() }
    }
}

impl Routed {
    /// Reads a scan from the source that has its table: the member at an index, as `source_of` gives it.
    fn read_from<'s>(
        &'s self,
        scan: &Scan,
        sink: &Sink<'_>,
        source_of: impl Fn(usize) -> &'s dyn Source,
    ) -> Result<ScanStats, SourceError> {
        let Some(at) = self.members.iter().position(|member| member.tables.contains(&scan.table)) else {
            let message = format!("table {}: no source has it", scan.table);
            return Err(SourceError {
                table: scan.table,
                detail: message.clone(),
                message,
                may_pass: false,
                is_too_large: false,
            });
        };
        let member = &self.members[at];
        let sent = member.with_keys(scan);
        let read = source_of(at).read(sent.as_ref().unwrap_or(scan), sink);
        if let Some(observer) = &member.observer {
            observer(&member.name, read.as_ref().err().map(|error| error.may_pass));
        }
        read.map_err(|error| error.prefixed(&self.prefix(member)))
    }
}

impl Source for Routed {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        self.read_from(scan, sink, |at| self.members[at].source.as_ref())
    }

    /// Each source is told of its own tables. Sources that prepare nothing stay as they are.
    fn prepare(&self, plan: &LoadPlan, run: &GroupRun) -> Result<Option<Box<dyn Source>>, SourceError> {
        let mut members = self.members.clone();
        let mut is_prepared = false;
        for member in &mut members {
            let own = plan.scans.iter().filter(|scan| member.tables.contains(&scan.table));
            let own = LoadPlan { scans: own.cloned().collect() };
            if own.scans.is_empty() {
                continue;
            }
            let prefix = self.prefix(member);
            let prepared = member.source.prepare(&own, run).map_err(|error| error.prefixed(&prefix))?;
            if let Some(source) = prepared {
                member.source = Arc::from(source);
                is_prepared = true;
            }
        }
        Ok(is_prepared.then(|| Box::new(Self { members }) as Box<dyn Source>))
    }

    fn statements(&self, plan: &LoadPlan) -> Result<Vec<(Table, String)>, SourceError> {
        let mut statements = Vec::new();
        for member in &self.members {
            let own = plan.scans.iter().filter(|scan| member.tables.contains(&scan.table));
            let own = member.source.statements(&LoadPlan { scans: own.cloned().collect() });
            statements.extend(own.map_err(|error| error.prefixed(&self.prefix(member)))?);
        }
        Ok(statements)
    }

    fn wait_for_cancelled(&self, patience: Duration) {
        self.members.iter().for_each(|member| member.source.wait_for_cancelled(patience));
    }

    fn divides(&self, scans: &[Scan]) -> Result<bool, SourceError> {
        for member in &self.members {
            let own: Vec<Scan> = scans.iter().filter(|scan| member.tables.contains(&scan.table)).cloned().collect();
            let divides = || member.source.divides(&own).map_err(|error| error.prefixed(&self.prefix(member)));
            if !own.is_empty() && !divides()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_on_this_machine(&self) -> bool {
        self.members.iter().any(|member| member.source.is_on_this_machine())
    }

    fn snapshot(&self) -> Option<Box<dyn Source + '_>> {
        let snapshots: Vec<_> = self.members.iter().map(|member| member.source.snapshot()).collect();
        snapshots.iter().any(Option::is_some).then(|| Box::new(RoutedSnapshot { routed: self, snapshots }) as _)
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        let mut found = Vec::new();
        for member in &self.members {
            found.extend(member.found().map_err(|error| format!("{}{error}", self.prefix(member)))?);
        }
        Ok(found)
    }
}

/// The snapshots of the sources that have them, and the other sources as they are.
struct RoutedSnapshot<'a> {
    routed: &'a Routed,
    /// One for each member.
    snapshots: Vec<Option<Box<dyn Source + 'a>>>,
}

impl Source for RoutedSnapshot<'_> {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        self.routed.read_from(scan, sink, |at| match &self.snapshots[at] {
            Some(snapshot) => snapshot.as_ref(),
            None => self.routed.members[at].source.as_ref(),
        })
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        self.routed.tables()
    }
}

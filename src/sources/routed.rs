//! Several sources as one: each table is read from the source that has it.

use std::sync::Arc;

use super::{ScanStats, Sink, Source, SourceError};
use crate::tables::plan::{Scan, ScanReach};
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
}

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

    /// What is said before an error, so that it is known which source it is from; nothing where there is one.
    fn prefix(&self, member: &Member) -> String {
        if self.members.len() > 1 { format!("{}: ", member.name) } else { String::new() }
    }
}

impl Source for Routed {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let Some(member) = self.members.iter().find(|member| member.tables.contains(&scan.table)) else {
            let message = format!("table {}: no source has it", scan.table);
            return Err(SourceError { table: scan.table, detail: message.clone(), message, may_pass: false });
        };
        let sent = member.with_keys(scan);
        member.source.read(sent.as_ref().unwrap_or(scan), sink).map_err(|error| {
            let prefix = self.prefix(member);
            SourceError {
                message: format!("{prefix}{}", error.message),
                detail: format!("{prefix}{}", error.detail),
                ..error
            }
        })
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        let mut found = Vec::new();
        for member in &self.members {
            found.extend(member.found().map_err(|error| format!("{}{error}", self.prefix(member)))?);
        }
        Ok(found)
    }
}

//! Rows whose keys follow from another table of the same database: the server joins them, no keys are sent.
//!
//! The tables are read at different moments, so rows of the other table may be gone by now. The keys that were kept and did
//! not come are asked for once more, by themselves. So a join brings more rows than the keys would, never fewer.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use super::catalog::{self, Found};
use super::config::Relations;
use super::connection::Connection;
use super::failure::Failure;
use super::keys::{self, Placed};
use super::query;
use crate::sources::ScanStats;
use crate::sources::spellings::Spellings;
use crate::tables::chunk::{Chunk, Texts};
use crate::tables::keys::{Keys, keys as key_set};
use crate::tables::plan::SemiOrigin;

/// The keys of a semi join, as something to select from. `None`: the server's text is not UTF-8, so that what it compares
/// may differ from what is delivered; the keys are sent.
pub(super) fn place(
    connection: &mut Connection,
    relations: &Relations,
    of: &SemiOrigin,
) -> Result<Option<Placed>, Failure> {
    if !is_utf8(connection)? {
        return Ok(None);
    }
    let SemiOrigin { column, scan } = of;
    let relation = relations.of(scan.table);
    let label = relation.quoted();
    let found: Vec<Found> = catalog::columns(connection, &relation)?
        .ok_or_else(|| Failure::lasting(format!("there is no table {label}")))?;
    let spellings = Spellings::of(scan);
    let chosen = query::choose(scan, &spellings, &found).map_err(|what| Failure::lasting(format!("{label} {what}")))?;
    let position = |name: &str| scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    let text_of = |name: &str| Some(query::key_text(&chosen[spellings.of_column(position(name)?)]));
    let Some(key) = text_of(column) else {
        return Ok(None);
    };
    let placed = keys::place(connection, scan.only().map(|(_, keys)| keys.as_ref()), keys::ORIGIN_KEYS)?;
    let limit = scan.only().and_then(|(name, _)| text_of(name)).map(|of| query::is_among(&of, placed.keys()));
    let range = scan.learners.as_ref().and_then(|of| Some(query::in_range(&text_of(&of.column)?, &of.range)));
    let conditions: Vec<String> = limit.into_iter().chain(range).filter(|condition| !condition.is_empty()).collect();
    let rows = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    Ok(Some(Placed::Joined(format!("(SELECT {key} FROM {label} AS t WHERE {rows})"))))
}

fn is_utf8(connection: &mut Connection) -> Result<bool, Failure> {
    let rows = connection.query("SELECT current_setting('server_encoding') = 'UTF8'", &[])?;
    Ok(rows.iter().any(|row| row.get(0)))
}

/// Which keys came with a join: by two independent hashes, that is 16 bytes a key.
pub(super) struct SeenKeys {
    /// The place of the key among the scan's columns.
    column: usize,
    hashers: (RandomState, RandomState),
    seen: Mutex<HashSet<(u64, u64)>>,
}

impl SeenKeys {
    pub(super) fn new(column: usize) -> Self {
        Self { column, hashers: (RandomState::new(), RandomState::new()), seen: Mutex::default() }
    }

    fn hash(&self, key: &str) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Notes the keys of a chunk.
    pub(super) fn take(&self, chunk: &Chunk) {
        let texts = Texts::of(&chunk.columns()[self.column]);
        let hashes: Vec<(u64, u64)> = chunk.rows().map(|row| self.hash(texts.get(row))).collect();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(hashes);
    }

    /// The keys that did not come, neither with a row that was delivered nor with one that could not be used.
    pub(super) fn missing(&self, wanted: &dyn Keys, stats: &ScanStats) -> Arc<dyn Keys> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(stats.faults.iter().map(|(key, _)| self.hash(key)));
        key_set(wanted.iter().filter(|key| !seen.contains(&self.hash(key))))
    }
}

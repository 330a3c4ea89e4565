//! `content_hierarchy`: the modules of the batches' courses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::batches::{LoadedBatches, LoadedRows};
use super::budget::Budget;
pub use super::modules::Module;
use super::modules::modules;
use super::needs::TableNeed;
use super::table::{LoadedTable, TableLoader};
use crate::tables::chunk::{Chunk, ChunkView};
use crate::tables::plan::{KeySet, Reach, Scan};
use crate::tables::quality::{Fault, KeyFaults};
use crate::tables::schema::content_hierarchy::{HIERARCHY, IDENTIFIER};
use crate::tables::schema::{Column, Table};

/// Why a row of `content_hierarchy` cannot be used.
const BROKEN: &str = "hierarchy is not a tree in JSON";

/// Bytes of text that are not counted: hierarchies come with each part of a load, however small it is made.
const FREE: usize = 32 << 20;

/// The trees of the batches' courses.
#[must_use]
pub fn need() -> TableNeed {
    TableNeed {
        table: Table::ContentHierarchy,
        columns: vec![IDENTIFIER.key(), HIERARCHY.required()],
        reach: Reach::Keys { column: IDENTIFIER, of: KeySet::Courses },
        learner: None,
        loader: Some(Arc::new(HierarchyLoader)),
    }
}

/// The modules of the courses.
#[derive(Debug)]
pub struct Modules(HashMap<usize, Vec<Module>>);

impl Modules {
    /// Those of a course (a content of the catalogue), ordered by identifier.
    #[must_use]
    pub fn of(&self, course: usize) -> &[Module] {
        self.0.get(&course).map_or(&[], Vec::as_slice)
    }
}

impl LoadedRows for Modules {}

#[derive(Debug)]
struct HierarchyLoader;

impl TableLoader for HierarchyLoader {
    fn begin(&self, scan: &Scan, _: &LoadedBatches) -> Box<dyn LoadedTable> {
        Box::new(HierarchyBuilder { columns: scan.columns.clone(), taken: Mutex::default() })
    }
}

#[derive(Debug)]
struct HierarchyBuilder {
    columns: Vec<Column>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By course: the JSON text, needed until duplicates are told apart, and its modules.
    courses: HashMap<usize, (String, Vec<Module>)>,
    duplicates: u64,
    /// By course: rows that do not read.
    broken: HashMap<usize, u64>,
    /// Bytes of text that were to be kept.
    bytes: usize,
}

impl Taken {
    const fn counted(&self) -> usize {
        self.bytes.saturating_sub(FREE)
    }
}

impl HierarchyBuilder {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadedTable for HierarchyBuilder {
    /// A row whose JSON does not read is skipped and counted, as every unusable row is.
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let (identifiers, hierarchies) = (chunk.cells(IDENTIFIER), chunk.cells(HIERARCHY));
        for row in chunk.rows() {
            let Some(course) = loaded.catalog().contents().position(identifiers.get(row)) else { continue };
            let json = hierarchies.get(row);
            let read = modules(json);
            let mut taken = self.taken();
            let Ok(modules) = read else {
                *taken.broken.entry(course).or_default() += 1;
                continue;
            };
            let known = taken.courses.get(&course).map(|(known, _)| json > known.as_str());
            if known != Some(false) {
                let before = taken.counted();
                taken.bytes += json.len();
                if budget.has_room_for_texts(taken.counted() - before) {
                    taken.courses.insert(course, (json.to_owned(), modules));
                }
            }
            taken.duplicates += u64::from(known.is_some());
        }
    }

    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, budget: &Budget) {
        let taken = self.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The texts are dropped.
        budget.release_texts(taken.counted() as u64);
        let modules: HashMap<usize, Vec<Module>> =
            taken.courses.into_iter().map(|(course, (_, modules))| (course, modules)).collect();
        for (quality, batch) in loaded.qualities() {
            let Some(course) = batch.course else { continue };
            if modules.contains_key(&course) {
                quality.rows(Table::ContentHierarchy).usable += 1;
            }
            if let Some(unusable) = taken.broken.get(&course) {
                let first = Some(Fault { file: String::new(), line: 0, reason: BROKEN.to_owned() });
                let faults = KeyFaults { unusable: *unusable, first, ..KeyFaults::default() };
                quality.add_own(Table::ContentHierarchy, &faults);
            }
        }
        loaded.add_unusable(Table::ContentHierarchy, BROKEN, taken.broken.values().sum());
        loaded.add_duplicates(Table::ContentHierarchy, taken.duplicates);
        loaded.add(Table::ContentHierarchy, Modules(modules));
    }
}

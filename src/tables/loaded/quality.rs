//! What was found of each loaded batch: faults that the source counted by key, and rows that could be used.
//!
//! Not here: what follows from it (`worker::verdict`).

use hashbrown::HashMap;

use super::usable::SlotCounts;
use super::{Shared, SharedBuilder, Stage, activity};
use crate::tables::loaded::modules::Module;
use crate::tables::quality::{Fault, Faults, KeyFaults, Quality};
use crate::tables::schema::{Kind, Table};

/// Why a row of `content_hierarchy` cannot be used.
pub const BROKEN_HIERARCHY: &str = "hierarchy is not a tree in JSON";

impl SharedBuilder {
    /// Adds the faults of the table that was read, once all of it was taken.
    pub fn add_faults(&mut self, table: Table, faults: &Faults) {
        let shared = &mut self.shared;
        for (key, faults) in faults.iter() {
            let own: Vec<usize> = match table {
                Table::UserEnrolments | Table::AssessmentAggregator => {
                    shared.slots.by_id.get(key).map(slot).into_iter().collect()
                }
                Table::UserActivityAgg => {
                    let batch = key.strip_prefix(activity::CONTEXT).and_then(|id| shared.slots.by_id.get(id));
                    batch.map(slot).into_iter().collect()
                }
                Table::ContentHierarchy => shared.slots_of_course(key),
                Table::User | Table::CourseBatch | Table::Content => Vec::new(),
            };
            for slot in &own {
                shared.quality[*slot].add_own(table, faults);
            }
            // Of rows of `user` the batch is not known, and rows without a key may belong to any batch.
            if own.is_empty() && (key.is_empty() || table == Table::User) {
                shared.quality.iter_mut().for_each(|quality| quality.add_without_key(table, faults));
            }
        }
    }

    /// Notes how many rows of the table that was read could be used, and begins to count those of the next.
    pub(crate) fn count_usable(&mut self) {
        let Self { needs, shared, .. } = self;
        let slots = shared.slots.batches.len();
        let usable = std::mem::replace(&mut self.usable, SlotCounts::new(slots));
        let table = match &self.stage {
            Stage::Begin => {
                let dates = needs.enrolments.iter().filter(|column| column.kind == Kind::Instant);
                self.dates = dates.map(|column| (column.name.to_string(), SlotCounts::new(slots))).collect();
                return;
            }
            Stage::Enrolments(_) => Table::UserEnrolments,
            Stage::Activity(_) => Table::UserActivityAgg,
            Stage::Attempts(_) => Table::AssessmentAggregator,
            Stage::Hierarchy(_) | Stage::Users(_) | Stage::End | Stage::TooHeavy(_) => return,
        };
        for (quality, usable) in shared.quality.iter_mut().zip(usable.into_counts()).filter(|(_, usable)| *usable > 0) {
            quality.rows(table).usable += usable;
        }
        for (column, readable) in std::mem::take(&mut self.dates) {
            let readable = shared.quality.iter_mut().zip(readable.into_counts());
            for (quality, readable) in readable.filter(|(_, readable)| *readable > 0) {
                quality.values(table, &column).readable += readable;
            }
        }
    }
}

impl Shared {
    /// What was found of a batch; nothing of one that was not loaded.
    #[must_use]
    pub fn quality(&self, batch: usize) -> Quality {
        self.batch(batch).map(|(_, slot)| self.quality[slot].clone()).unwrap_or_default()
    }

    /// The slots of the batches of a course.
    fn slots_of_course(&self, course: &str) -> Vec<usize> {
        let batches = self.slots.batches.iter().enumerate();
        let of_course = |(_, at): &(usize, &usize)| self.catalog.batches()[**at].course_id == course;
        batches.filter(of_course).map(|(slot, _)| slot).collect()
    }

    /// Notes by batch whether its course has a tree that reads.
    pub(crate) fn count_hierarchies(&mut self, modules: &HashMap<usize, Vec<Module>>, broken: &HashMap<usize, u64>) {
        for (quality, at) in self.quality.iter_mut().zip(&self.slots.batches) {
            let Some(course) = self.catalog.batches()[*at].course else { continue };
            if modules.contains_key(&course) {
                quality.rows(Table::ContentHierarchy).usable += 1;
            }
            if let Some(unusable) = broken.get(&course) {
                let reason = BROKEN_HIERARCHY.to_owned();
                let first = Some(Fault { file: String::new(), line: 0, reason });
                let faults = KeyFaults { unusable: *unusable, first, ..KeyFaults::default() };
                quality.add_own(Table::ContentHierarchy, &faults);
            }
        }
    }

    /// Notes by batch how many of its learners are in `user`. A batch without learners wants no rows of that table.
    pub(crate) fn count_learners(&mut self) {
        for (quality, enrolled) in self.quality.iter_mut().zip(&self.enrolled) {
            let known = enrolled.rows.len() as u64 + enrolled.duplicate;
            if known + enrolled.no_user == 0 {
                quality.tables.remove(&Table::User);
            } else {
                quality.rows(Table::User).usable += known;
            }
        }
    }
}

fn slot(number: u32) -> usize {
    number as usize
}

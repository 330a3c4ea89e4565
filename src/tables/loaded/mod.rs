//! The tables of a group's batches in memory, loaded once for all of its requests: a file for each table, and what they have
//! in common.
//!
//! [`needs`] says which tables a report needs and what is read for them, [`loading`] takes them one after the other,
//! [`batches`] is what reports are made of. Not here: how tables are read (`sources`), what a report makes of them
//! (`reports`).

pub mod activity;
pub mod attempts;
mod batches;
mod budget;
pub mod enrolled;
pub mod enrolments;
pub mod hierarchy;
mod learner_index;
pub mod learners;
mod loading;
mod modules;
mod needs;
mod slots;
mod table;

pub use batches::{FoundColumns, LoadedBatches, LoadedRows};
pub use budget::BatchWeights;
pub use learner_index::Rank;
pub use loading::Loading;
pub use needs::{Needs, TableNeed};
pub use slots::Slot;

#[cfg(test)]
mod tests;

//! The platform's tables in memory: their columns ([`schema`]), rows as a source delivers them ([`chunk`]), what is loaded
//! for the reports of a group ([`catalog`], [`loaded`]), and the [`finished`] table that a report returns.
//!
//! Not here: how a source reads a value (`sources`), and what a report says (`reports`).

pub mod catalog;
pub mod chunk;
pub mod dates;
pub(crate) mod decimal;
pub mod finished;
pub mod key_range;
pub mod key_sampler;
pub mod keys;
pub mod loaded;
pub mod plan;
pub mod quality;
pub mod queried;
pub mod schema;
pub mod scores;

//! jobs.toml: read as written, checked as a whole, ready to use.
//!
//! `raw` holds the document with positions and gathers every fault; [`checked`] is what the rest of the program sees.

pub mod checked;
pub mod cron;

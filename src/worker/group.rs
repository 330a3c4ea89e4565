//! The steps of one group of requests, a file each, in the order in which [`super::scan`] takes them: [`accept`],
//! [`divide`], [`catalog`], [`resolve`] (or [`by_rows`]), [`resume`], [`mod@split`], [`load_parts`] (or [`load_query`]), [`generate`], [`store`] (or [`upload`]),
//! [`deliver`], [`write_back`].
//!
//! Beside the steps: what the threads that make files share ([`context`]), which requests have
//! all of their files ([`completion_tracker`]), and the sync before a request is completed ([`sync`]).

pub(super) mod accept;
pub(super) mod batch_table;
pub(super) mod by_rows;
pub(super) mod catalog;
pub(super) mod claimed;
mod completed_rows;
pub(super) mod completion_tracker;
pub(super) mod context;
pub(super) mod deliver;
pub(super) mod divide;
pub(super) mod fenced_write;
pub(super) mod generate;
pub(super) mod load_parts;
mod load_query;
pub(super) mod make_files;
mod query_rows;
pub(super) mod resolve;
pub(super) mod resume;
pub(super) mod split;
pub(super) mod store;
pub(super) mod sync;
pub(super) mod upload;
pub(super) mod write_back;

//! A finished table out: its file format, its checked object key, its store.
//!
//! Not here: what is in a table (`reports`), and when a file is published (`worker`, by the fenced write-back).

pub mod csv;
pub mod format;
pub mod key;
pub mod links;
pub mod store;

pub use format::{Compress, Format, Shape, content_type, write_table};
pub use key::{KeyError, ObjectKey, Origin, PathError, ReportPath};
pub use links::{LinkError, Links, kept_link_key};
pub use store::{Abandoned, Content, FinishedFile, Reports, Store, StoreError, StoredReport, content_disposition};

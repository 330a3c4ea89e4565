//! A finished table out: its file format, its checked object key, its store.
//!
//! Not here: what is in a table (`reports`), and when a file is published (`worker`, by the fenced write-back).

mod format;
mod formats;
pub mod key;
pub mod links;
pub mod protect;
pub mod store;

pub use format::{Compress, CsvOptions, DoesNotFit, FileEncoding, Format, TablePieces, WriteError};
pub use formats::{content_type, write_table};
pub use key::{KeyError, ObjectKey, Origin, PathError, ReportPath, can_name, report_name};
pub use links::{KEY_FILE, LinkError, LinkHost, Links, OwnKey, Target, Withheld, kept_link_key};
pub use protect::{Password, Protection, Zip, write_protected};
pub use store::{
    Abandoned, Content, FinishedFile, Reports, STORE_CALLS, Store, StoreError, StoredReport, content_disposition,
};

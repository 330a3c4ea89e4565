//! A TOML document read key by key: every value with its place, every fault noted, every key declared once.
//!
//! `raw` is the document as written, `key` and `keys` say which keys it may have, `section` reads one table of it. Not
//! here: what any key of jobs.toml means (`config` and, for each kind of source, its own folder).

mod errors;
mod key;
mod keys;
mod raw;
mod secret;
mod section;
mod urls;
mod values;

pub use errors::{ConfigErrors, Fault, Place};
pub(crate) use errors::{Faults, listed, near_miss};
pub use key::{Fallback, Form, Key, Reload, live, restart};
pub use keys::{Entry, Keys};
pub(crate) use raw::{Node, Table, Value, parse, parse_value, place_of_byte};
pub use secret::Secret;
pub(crate) use section::{Section, VARIABLES};
pub(crate) use urls::{POSTGRES, Urls};
pub use values::parse_duration;

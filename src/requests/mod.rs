//! The `job_request` table, and nothing else: what a row is, which states it has, and the [`Queue`] in domain verbs.
//!
//! Two backends stand behind the trait, `postgres` and `sqlite`; one conformance suite (`tests/it/queue.rs`) runs over
//! both. This is the only room that knows diesel. `docs/state-machine.md` draws the states.
//!
//! Not its business: what a request means (`intake`), when to claim and when to give up (`worker`), who may ask (the
//! API). Verbs that look for rows take the jobs' names, all others a key: whether that row belongs to us is for the caller
//! to know.

mod access;
mod audit;
mod backlog;
mod bulk;
mod clock;
mod crashes;
mod daemons;
mod deferred;
mod encryption;
mod err_code;
mod existing;
mod failures;
mod filter;
mod finished;
mod hold;
mod listener;
mod migrations;
mod paging;
mod parts;
mod pauses;
mod postgres;
mod prepared;
mod queue;
mod sqlite;
mod statement_timeout;
mod status;
mod stored;
mod text;
mod times;
mod types;
mod verbs;

pub use access::{Client, Reader};
pub use audit::{AuditQueue, AuditRecord};
pub use backlog::Backlog;
pub use bulk::{Bulk, BulkAct, BulkError, BulkPreview, BulkStep};
pub use clock::{Clock, ManualClock, SystemClock};
pub use crashes::EXCLUSIVE_CRASHES;
pub use daemons::{Daemon, Heartbeat};
pub use encryption::{EncryptionKey, NewEncryption, Protected};
pub use err_code::ErrCode;
pub use filter::{COUNT_LIMIT, Filter, SearchResult, TimeRange};
pub use finished::{Finished, FinishedCursor, FinishedPage};
pub use hold::Hold;
pub use listener::Listener;
pub use paging::{Page, PageCursor, PageEntry, READ_BYTES, ReadSteps};
pub use parts::{BackedOff, MadeRequest, NewPart, PartCounts, PartQueue, PartRow, PartsOverview};
pub use pauses::{Pause, PauseKind, PauseQueue, Paused, Pauses};
pub use postgres::{PostgresOptions, PostgresQueue, open_postgres};
pub use queue::{ClientQueue, Housekeeping, Queue, WorkQueue};
pub use sqlite::{SqliteQueue, open_sqlite};
pub use statement_timeout::StatementTimeout;
pub use status::Status;
pub use times::read_time;
pub use types::{
    Claim, ClaimMode, ClaimOptions, ClaimedPart, ClaimedRequest, Completion, DeferredText, Failure, NewRequest,
    Overview, Pooling, QueueError, RequestKey, RequestProgress, RequestRow, Resubmitted, Submitted, Unclaimable,
    WaitingRequest, WriteBack,
};

/// Connections of a daemon to its database, at most: its calls are few and short.
pub const DAEMON_CONNECTIONS: u32 = 4;

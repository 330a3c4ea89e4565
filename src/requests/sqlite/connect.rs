//! Opening the file: its permissions, the settings of each connection, the pool.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, ManageConnection, NopErrorHandler, Pool};
use diesel::sql_query;
use diesel::sqlite::SqliteConnection;

use super::super::failures;
use super::super::types::QueueError;
use super::functions;

/// How long a call waits for a connection. Longer than the busy time-out, so that a busy file is reported as busy.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The busy time-out comes first, because the statements after it may need it. Eight megabytes of pages are cached, so that a
/// claim finds the inner pages of large indexes. The log is written back every sixteen megabytes: a page that many commits have
/// changed is then written once.
const SESSION: &str = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000; \
    PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000";
/// Switching a new file to WAL does not wait for other processes, whatever the busy time-out is: it is tried again.
const TRIES: u32 = 100;
const APART: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Session;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Session {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        conn.batch_execute(SESSION)
            .and_then(|()| write_ahead(conn))
            .and_then(|()| functions::register(conn))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The file keeps WAL mode, so only its first user switches. A file system that does not support it leaves the old journal,
/// which is slower and otherwise as good.
fn write_ahead(conn: &mut SqliteConnection) -> QueryResult<()> {
    let mut tries = 0;
    loop {
        match sql_query("PRAGMA journal_mode = WAL").execute(conn) {
            Err(error) if tries < TRIES && error.to_string().contains("is locked") => {
                tries += 1;
                thread::sleep(APART);
            }
            other => return other.map(drop),
        }
    }
}

/// The connections of a queue.
pub(super) type Connections = Pool<ConnectionManager<SqliteConnection>>;

/// The file's name for SQLite, and connections to it. The file and the directories above it are created if they are missing.
///
/// # Errors
/// As [`open_sqlite`](super::open_sqlite).
pub(super) fn open(path: &Path, connections: u32) -> Result<(String, Connections), QueueError> {
    let name = path
        .to_str()
        .filter(|name| !name.is_empty() && !name.contains('\0'))
        .ok_or_else(|| QueueError::Refused(format!("{} cannot be the name of a database", path.display())))?;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .map_err(|e| failures::not_writable(&format!("cannot make the directory {}: {e}", directory.display())))?;
    }
    make_private(path);
    try_first(path, name)?;
    let pool = Pool::builder()
        .max_size(connections)
        .min_idle(Some(0))
        .connection_timeout(CONNECTION_TIMEOUT)
        // Unlike a network, a file does not close its connections.
        .test_on_check_out(false)
        .connection_customizer(Box::new(Session))
        .error_handler(Box::new(NopErrorHandler))
        .build_unchecked(ConnectionManager::new(name));
    Ok((name.to_owned(), pool))
}

/// Opens a first connection. The pool does not do it: it would try again for as long as a caller waits.
fn try_first(path: &Path, name: &str) -> Result<(), QueueError> {
    let first =
        ConnectionManager::<SqliteConnection>::new(name).connect().and_then(|mut conn| Session.on_acquire(&mut conn));
    match first.map_err(|error| failures::connecting(&error.to_string())) {
        Err(QueueError::Refused(why)) => Err(QueueError::Refused(format!("{}: {why}", path.display()))),
        Err(QueueError::Unfit(why)) => Err(QueueError::Unfit(format!("{why}: {name}{}", owner(name)))),
        Err(QueueError::Unreachable(_)) if is_denied(path) => {
            Err(failures::not_writable(&format!("{name}: permission denied{}", owner(name))))
        }
        // A full disk, a lock: each call reports it until it is over.
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Creates the file if it is missing, readable by its owner only: SQLite would follow the umask. SQLite's log and index get the
/// same rights. An existing file is not touched: opening and closing it would drop the locks that this process may have on it.
/// If this fails, SQLite fails in the same way when it opens the file, and reports it.
fn make_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Whether this user may not open the file: SQLite has the same message for failures that pass. Checked only where the file
/// could not be opened, because closing it would drop the locks that this process has on it.
fn is_denied(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The owner of the file: usually the reason why another user cannot write it.
pub(super) fn owner(name: &str) -> String {
    std::fs::metadata(name).map_or_else(
        |_| String::new(),
        |file| format!(" (the file belongs to user {}, mode {:04o})", file.uid(), file.mode() & 0o7777),
    )
}

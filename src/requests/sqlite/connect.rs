//! Opening the file: who may read it, what each connection begins with, the pool.

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

/// How long a call waits for a connection. Longer than the busy time-out, so that a busy file is called busy.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The busy time-out comes first: the statements after it may need it.
/// Eight megabytes of pages are kept, so that a claim finds the inner pages of large indexes. The log goes into the file
/// only every sixteen megabytes: that writes pages once which many commits have changed.
const SESSION: &str = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000; \
    PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000";
/// Switching a new file to WAL does not wait for others who are at it, whatever the busy time-out: try again.
const TRIES: u32 = 100;
const APART: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Session;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Session {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        conn.batch_execute(SESSION)
            .and_then(|()| write_ahead(conn))
            .and_then(|()| functions::know_functions(conn))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// WAL is kept in the file, so only its first user switches. A file system that cannot do it leaves the old journal,
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

/// The name of this file as SQLite takes it, and connections to it; the file and the directories above it are made where
/// they are missing.
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
        // A file does not go away under its connection as a network does.
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
        // A full disk, a lock: each call reports it until it has passed.
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Makes the file where there is none, for its owner alone: SQLite's own is as the umask has it, and its log and index get
/// the rights of the file. One that is there is left as it is: to open and close it would drop the locks that this process
/// may have on it. What fails here fails again, and is told, when SQLite opens it.
fn make_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Whether this user may not open the file: SQLite says so in the same words as of what may pass. Asked only where it could not
/// be opened, since closing it again would drop the locks that this process has on it.
fn is_denied(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whose the file is: the usual reason why another user cannot write it.
pub(super) fn owner(name: &str) -> String {
    std::fs::metadata(name).map_or_else(
        |_| String::new(),
        |file| format!(" (the file belongs to user {}, mode {:04o})", file.uid(), file.mode() & 0o7777),
    )
}

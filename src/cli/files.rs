//! Where a request's files are, for people and scripts: `submit` and `status` say it alike.

use super::Ended;
use crate::config::Config;
use crate::config::checked::StorePlace;
use crate::outputs::ObjectKey;
use crate::requests::{Clock, RequestRow, Status, SystemClock};
use crate::worker::open;

/// The files of a COMPLETED request, ordered by batch id: paths on this machine, or links to an object store, signed now;
/// none of any other.
///
/// # Errors
/// The store cannot be opened, or gives nothing to sign with.
pub(super) fn files(config: &Config, row: &RequestRow) -> Result<Vec<String>, Ended> {
    if Status::parse(&row.status) != Some(Status::Completed) {
        return Ok(Vec::new());
    }
    let keys: Vec<ObjectKey> = row.download_urls.iter().filter_map(|key| ObjectKey::parse(key).ok()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if let StorePlace::Objects(_) = config.store.place {
        let signed = open::links(config, "")?.sign(&keys, SystemClock.now());
        return signed.map_err(|error| Ended::Unreachable(error.to_string()));
    }
    let store = open::store(config)?;
    Ok(keys.iter().filter_map(|key| store.path(key)).map(|path| path.display().to_string()).collect())
}

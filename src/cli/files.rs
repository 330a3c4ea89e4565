//! Where a request's files are, as `submit` and `status` print it.

use super::CommandError;
use crate::config::Config;
use crate::config::checked::StorePlace;
use crate::outputs::OwnKey;
use crate::requests::{Clock, RequestRow, Status, SystemClock};
use crate::worker::open;

/// The files of a request, ordered by batch id: paths on this machine, or links to an object store, signed now; none unless
/// it is COMPLETED. Entries of the row that were not made for it are left out, as in the API.
///
/// # Errors
/// The store cannot be opened, or gives nothing to sign with.
pub(super) fn files(config: &Config, row: &RequestRow) -> Result<Vec<String>, CommandError> {
    if Status::parse(&row.status) != Some(Status::Completed) {
        return Ok(Vec::new());
    }
    let own = |text: &String| match OwnKey::parse(text, &row.tag, &row.request_id) {
        Ok(key) => Some(key),
        Err(why) => {
            log::warn!("a download url is withheld request={}/{} url={text:?} reason={why}", row.tag, row.request_id);
            None
        }
    };
    let keys: Vec<OwnKey> = row.download_urls.iter().filter_map(own).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if let StorePlace::Objects(_) = config.store.place {
        let signed = open::links(config, "")?.sign(&keys, SystemClock.now());
        return signed.map_err(|error| CommandError::Unreachable(error.to_string()));
    }
    let store = open::store(config)?;
    Ok(keys.iter().filter_map(|own| store.path(own.key())).map(|path| path.display().to_string()).collect())
}

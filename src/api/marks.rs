//! The marks of encryption keys, which take a good part of a second each: made off tokio's threads, few at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::envelope::{ApiError, ErrorKind};
use super::limits::Limits;
use crate::config::checked::Secret;
use crate::intake::encryption::{self, Kept};
use crate::outputs::Password;
use crate::requests::RequestKey;

/// How long a submission waits for its permit and its mark.
const WAIT: Duration = Duration::from_secs(20);

/// A mark that is wanted: of which key, for which row.
#[derive(Clone, Copy)]
pub(super) struct MarkRequest<'a> {
    /// The name of the caller's API key.
    pub(super) api_key: Option<&'a str>,
    pub(super) secret: Option<&'a Secret>,
    pub(super) row: &'a RequestKey,
    pub(super) key: &'a Password,
    /// How the row's own mark was made, if it has one.
    pub(super) made: Option<&'a str>,
}

/// Tells marks that are being made apart. The key is hashed: it is compared, not kept.
type MarkId = (RequestKey, Option<String>, [u8; 32]);

/// The making of marks, in one process.
#[derive(Default)]
pub(super) struct Marks {
    /// What is being made: the same submission sent many times at once has its mark made once.
    under_way: Mutex<HashMap<MarkId, Weak<OnceCell<Kept>>>>,
}

impl Marks {
    /// Seals and marks a key for a row.
    pub(super) async fn make(&self, limits: &Limits, request: MarkRequest<'_>) -> Result<Kept, ApiError> {
        let MarkRequest { row, key, made, .. } = request;
        let id = (row.clone(), made.map(str::to_owned), Sha256::digest(key.reveal()).into());
        let cell = self.cell(id);
        let making = cell.get_or_try_init(|| make_one(limits, request));
        match tokio::time::timeout(WAIT, making).await {
            Ok(kept) => kept.cloned(),
            Err(_) => Err(ApiError::new(ErrorKind::Unavailable, "an encryption key was not marked in time")),
        }
    }

    fn cell(&self, id: MarkId) -> Arc<OnceCell<Kept>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = under_way.get(&id).and_then(Weak::upgrade) {
            return cell;
        }
        under_way.retain(|_, cell| cell.strong_count() > 0);
        let cell = Arc::default();
        under_way.insert(id, Arc::downgrade(&cell));
        cell
    }
}

async fn make_one(limits: &Limits, request: MarkRequest<'_>) -> Result<Kept, ApiError> {
    let MarkRequest { api_key, secret, row, key, made } = request;
    let takes_long = encryption::takes_long(secret, made);
    let permit = if takes_long { Some(limits.mark(api_key, WAIT).await?) } else { None };
    let (secret, row, key) = (secret.cloned(), row.clone(), key.clone());
    let made = made.map(str::to_owned);
    let making = tokio::task::spawn_blocking(move || {
        // Held until the mark is made, also where the client has gone meanwhile.
        let _permit = permit;
        encryption::keep(secret.as_ref(), &row.tag, &row.request_id, &key, made.as_deref())
    });
    match making.await {
        Ok(kept) => kept.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string())),
        Err(panic) => Err(ApiError::panicked(&panic)),
    }
}

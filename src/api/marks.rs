//! The marks of encryption keys, which take a good part of a second each: made off tokio's threads, few at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::envelope::{Fault, Kind};
use super::keys::Caller;
use crate::config::checked::Secret;
use crate::intake::encryption::{self, Kept};
use crate::outputs::Password;
use crate::requests::RequestKey;

/// How many are made at a time; whatever clients submit, the other processors have other work.
const AT_A_TIME: usize = 2;
/// How long a submission waits for its turn and its mark.
const PATIENCE: Duration = Duration::from_secs(20);

/// For which row, known by a mark that was made how, and of which key (hashed: it is compared, not kept).
type Wanted = (RequestKey, Option<String>, [u8; 32]);

/// The making of marks, in one process.
pub(super) struct Marks {
    turns: Arc<Semaphore>,
    /// What is being made: the same submission sent many times at once has its mark made once.
    under_way: Mutex<HashMap<Wanted, Weak<OnceCell<Kept>>>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)), under_way: Mutex::default() }
    }
}

impl Marks {
    /// Seals and marks a key for a row. `made`: how the row's own mark was made, if it has one.
    pub(super) async fn of(
        &self,
        caller: &Caller,
        secret: Option<&Secret>,
        row: &RequestKey,
        key: &Password,
        made: Option<&str>,
    ) -> Result<Kept, Fault> {
        let wanted = (row.clone(), made.map(str::to_owned), Sha256::digest(key.reveal()).into());
        let cell = self.cell(wanted);
        let making = cell.get_or_try_init(|| self.make(caller, secret, row, key, made));
        match tokio::time::timeout(PATIENCE, making).await {
            Ok(kept) => kept.cloned(),
            Err(_) => Err(Fault::new(Kind::Unavailable, "too many encryption keys wait to be marked")),
        }
    }

    fn cell(&self, wanted: Wanted) -> Arc<OnceCell<Kept>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = under_way.get(&wanted).and_then(Weak::upgrade) {
            return cell;
        }
        under_way.retain(|_, cell| cell.strong_count() > 0);
        let cell = Arc::default();
        under_way.insert(wanted, Arc::downgrade(&cell));
        cell
    }

    async fn make(
        &self,
        caller: &Caller,
        secret: Option<&Secret>,
        row: &RequestKey,
        key: &Password,
        made: Option<&str>,
    ) -> Result<Kept, Fault> {
        // One of each caller's at a time: who submits a thousand waits behind themselves, and others do not.
        let turns = if encryption::takes_long(secret, made) {
            let mut turns = Vec::new();
            for turn in caller.marking().into_iter().chain([Arc::clone(&self.turns)]) {
                let turn = turn.acquire_owned().await;
                turns.push(turn.map_err(|_| Fault::new(Kind::Unavailable, "no more marks are made"))?);
            }
            turns
        } else {
            Vec::new()
        };
        let (secret, row, key) = (secret.cloned(), row.clone(), key.clone());
        let made = made.map(str::to_owned);
        let making = tokio::task::spawn_blocking(move || {
            // Held until it is made, also where the client has gone meanwhile.
            let _turns = turns;
            encryption::keep(secret.as_ref(), &row.tag, &row.request_id, &key, made.as_deref())
        });
        match making.await {
            Ok(kept) => kept.map_err(|error| Fault::new(Kind::Internal, error.to_string())),
            Err(panic) => Err(Fault::new(Kind::Internal, format!("the call broke off: {panic}"))),
        }
    }
}

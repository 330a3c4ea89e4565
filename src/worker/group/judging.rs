//! The first step of a group: each row is judged by itself, and becomes an order.
//!
//! Rows are decoded one after the other, and their text is let go of: a claim of many rows with much text never holds all
//! of it.

use std::collections::BTreeSet;

use super::{Accepted, Group};
use crate::intake::encryption::{self, SealError};
use crate::intake::{self, KeyLength, Order, Refusal, Terms};
use crate::outputs::Password;
use crate::requests::{ClaimedRequest, DeferredText, EXCLUSIVE_CRASHES, EncryptionKey, RequestKey};
use crate::worker::ending::{Ending, Reason, Summary};

/// Metadata fields that contents are read with at a time, besides those that every request needs: each is a column in
/// memory. One request names 55 at most.
const MOST_FIELDS: usize = 64;

impl Group<'_> {
    /// Judges each row by itself; those that are refused end here, and those that crashed their daemon too often.
    pub(in crate::worker) async fn accept(&mut self, summary: &mut Summary) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        let mut oldest_first: Vec<_> =
            self.open.values().map(|request| (request.submitted, request.key.clone())).collect();
        oldest_first.sort_unstable();
        for (_, key) in oldest_first {
            let Some(request) = self.open.get_mut(&key) else { continue };
            let text = request.request_data.take();
            let request = request.clone();
            // Up to there it was in company, and any of them may have done it.
            let crashed_alone = request.crashes.saturating_sub(EXCLUSIVE_CRASHES);
            if crashed_alone >= self.config.worker.max_crashes {
                self.end(&key, Ending::Failed(Reason::crashes(crashed_alone)), summary).await;
                continue;
            }
            let judged = match self.text(&request, text).await {
                Ok(text) => self.order(&request, text.as_deref()).map_err(Ending::Failed),
                Err(ending) => Err(ending),
            };
            match judged {
                Ok(order) => accepted.push(Accepted { request, order }),
                Err(ending) => self.end(&key, ending, summary).await,
            }
        }
        accepted
    }

    /// The `request_data` of a row: as it came with the claim, or read now. One that is too large is not read at all.
    async fn text(&self, request: &ClaimedRequest, text: Option<String>) -> Result<Option<String>, Ending> {
        let (Some(bytes), most) = (request.unread_data, self.config.worker.max_request_data) else { return Ok(text) };
        if bytes > most {
            return Err(Ending::Failed(Reason::refused(&Refusal::TooLarge { bytes, most })));
        }
        let key = request.key.clone();
        let read = self.world.ask(move |queue| queue.deferred_text(&key, DeferredText::RequestData, most)).await;
        read.map_err(|error| {
            log::warn!("request_data cannot be read now, handed back request={} error={error}", request.key);
            Ending::HandedBack
        })
    }

    fn order(&self, request: &ClaimedRequest, request_data: Option<&str>) -> Result<Order, Reason> {
        let password = self.password(request).map_err(Reason::sealed)?;
        let terms = Terms {
            request_data,
            max_request_data: self.config.worker.max_request_data,
            encryption_key: password.as_ref(),
            key_length: KeyLength::Any,
        };
        intake::accept(self.job, terms).map_err(|refusal| Reason::refused(&refusal))
    }

    /// What opens a request's files. None only where there never was one.
    fn password(&self, request: &ClaimedRequest) -> Result<Option<Password>, SealError> {
        let RequestKey { tag, request_id } = &request.key;
        Ok(match &request.encryption_key {
            None => None,
            Some(EncryptionKey::Plain(key)) => Some(Password::new(key.clone())),
            Some(EncryptionKey::Sealed(sealed)) => {
                Some(encryption::open(self.config.secrets_key.as_ref(), tag, request_id, sealed)?)
            }
            Some(EncryptionKey::Wiped) => return Err(SealError::Wiped),
        })
    }

    /// Takes the requests apart into groups that look at a bounded number of metadata fields each, the oldest first. There
    /// is one, unless requests name dozens of fields that others do not.
    pub(in crate::worker) fn parts(self, accepted: Vec<Accepted>) -> Vec<(Self, Vec<Accepted>)> {
        let mut parts: Vec<(BTreeSet<String>, Vec<Accepted>)> = Vec::new();
        for one in accepted {
            let fields: BTreeSet<String> =
                one.order.config.metadata_fields().into_iter().map(str::to_lowercase).collect();
            let fits = |known: &BTreeSet<String>| {
                known.len() + fields.iter().filter(|field| !known.contains(*field)).count() <= MOST_FIELDS
            };
            // The first has what most name; the last has room.
            let last = parts.len().saturating_sub(1);
            match [0, last].into_iter().find(|&at| parts.get(at).is_some_and(|(known, _)| fits(known))) {
                Some(at) => {
                    parts[at].0.extend(fields);
                    parts[at].1.push(one);
                }
                None => parts.push((fields, vec![one])),
            }
        }
        if parts.len() < 2 {
            return vec![(self, parts.pop().map(|(_, accepted)| accepted).unwrap_or_default())];
        }
        let part = |(_, accepted): (_, Vec<Accepted>)| {
            let own = |one: &Accepted| self.open.get(&one.request.key).cloned();
            let open = accepted.iter().filter_map(own).map(|request| (request.key.clone(), request));
            (self.with(open.collect()), accepted)
        };
        parts.into_iter().map(part).collect()
    }
}

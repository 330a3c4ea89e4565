//! The first step of a group: each row is judged by itself.
//!
//! Rows are judged one after the other, and the text of each is dropped then: a claim of many rows with long texts never
//! holds all of them.

use std::sync::Arc;

use crate::config::Config;
use crate::config::checked::Job;
use crate::intake::encryption::{self, SealError};
use crate::intake::{self, KeyLength, Order, Refusal, Terms};
use crate::outputs::Password;
use crate::requests::{ClaimedRequest, DeferredText, EXCLUSIVE_CRASHES, EncryptionKey, RequestKey};
use crate::worker::AppContext;
use crate::worker::outcome::{HandBack, Outcome};
use crate::worker::request_error::RequestError;

/// A request whose row is in order.
pub(in crate::worker) struct Accepted {
    /// The row, without its `request_data`.
    pub(in crate::worker) request: Arc<ClaimedRequest>,
    /// What the row asks for.
    pub(in crate::worker) order: Order,
}

/// Judges one row and takes its `request_data` out of it.
///
/// # Errors
/// How the request ends: it is wrong, it crashed its daemon too often, or its text cannot be read now.
pub(in crate::worker) async fn accept(
    app: &AppContext,
    config: &Config,
    job: &Job,
    request: &mut ClaimedRequest,
) -> Result<Order, Outcome> {
    let text = request.request_data.take();
    // Up to there other requests were in work beside it, and any of them may have crashed the process.
    let crashed_alone = request.crashes.saturating_sub(EXCLUSIVE_CRASHES);
    if crashed_alone >= config.worker.max_crashes {
        return Err(Outcome::Failed(RequestError::crashes(crashed_alone)));
    }
    let text = request_data(app, config.worker.max_request_data, request, text).await?;
    order(config, job, request, text.as_deref()).map_err(Outcome::Failed)
}

/// The `request_data` of a row: as it came with the claim, or read now. One that is too large is not read at all.
async fn request_data(
    app: &AppContext,
    most: u64,
    request: &ClaimedRequest,
    text: Option<String>,
) -> Result<Option<String>, Outcome> {
    let Some(bytes) = request.unread_data else { return Ok(text) };
    if bytes > most {
        return Err(Outcome::Failed(RequestError::refused(&Refusal::TooLarge { bytes, most })));
    }
    let key = request.key.clone();
    let read = app.ask(move |queue| queue.deferred_text(&key, DeferredText::RequestData, most)).await;
    read.map_err(|error| {
        log::warn!("request_data cannot be read now, handed back request={} error={error}", request.key);
        Outcome::HandedBack(HandBack::Unfinished)
    })
}

fn order(
    config: &Config,
    job: &Job,
    request: &ClaimedRequest,
    request_data: Option<&str>,
) -> Result<Order, RequestError> {
    let password = password(config, request).map_err(RequestError::sealed)?;
    let terms = Terms {
        request_data,
        max_request_data: config.worker.max_request_data,
        encryption_key: password.as_ref(),
        key_length: KeyLength::Any,
        is_limited: request.allowed_channels.is_some(),
    };
    intake::accept(job, terms).map_err(|refusal| RequestError::refused(&refusal))
}

/// The password of a request's files. `None` only where the row never had one.
fn password(config: &Config, request: &ClaimedRequest) -> Result<Option<Password>, SealError> {
    let RequestKey { tag, request_id } = &request.key;
    Ok(match &request.encryption_key {
        None => None,
        Some(EncryptionKey::Plain(key)) => Some(Password::new(key.clone())),
        Some(EncryptionKey::Sealed(sealed)) => {
            Some(encryption::open(config.secrets_key.as_ref(), tag, request_id, sealed)?)
        }
        Some(EncryptionKey::Wiped) => return Err(SealError::Wiped),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::test_app::TestApp;

    async fn judged(test: &TestApp, mut request: ClaimedRequest) -> Result<Order, Outcome> {
        let judged = accept(&test.app, &test.config(), &test.job(), &mut request).await;
        assert_eq!(request.request_data, None, "its text is dropped");
        judged
    }

    fn message(judged: Result<Order, Outcome>) -> String {
        let Err(Outcome::Failed(error)) = judged else { panic!("{judged:?}") };
        assert!(!error.may_pass);
        error.message
    }

    #[tokio::test]
    async fn each_row_is_judged_by_itself() {
        let test = TestApp::new();
        let long = format!(r#"{{"batchFilter": ["{}"]}}"#, "b".repeat(5000));
        let (claim, _lease) = test.claim(&[("1", r#"{"batchId": "b"}"#), ("2", "{}"), ("3", &long)]);
        let [good, wrong, long] = <[ClaimedRequest; 3]>::try_from(claim.requests).unwrap();
        assert!(judged(&test, good.clone()).await.is_ok());
        assert!(message(judged(&test, wrong).await).contains("batchFilters"));
        assert_eq!((&long.request_data, long.unread_data), (&None, Some(5021)), "it did not come with the claim");
        assert!(judged(&test, long.clone()).await.is_ok());
        let most = test.config().worker.max_request_data;
        let too_large = ClaimedRequest { unread_data: Some(most + 1), ..long };
        assert!(message(judged(&test, too_large).await).contains("too large"));
        let crashed = |crashes| ClaimedRequest { crashes, ..good.clone() };
        assert!(judged(&test, crashed(EXCLUSIVE_CRASHES + 4)).await.is_ok());
        assert!(message(judged(&test, crashed(EXCLUSIVE_CRASHES + 5)).await).contains("crashed the worker 5 times"));
        let wiped = ClaimedRequest { encryption_key: Some(EncryptionKey::Wiped), ..good };
        assert!(message(judged(&test, wiped).await).contains("wiped"), "no plain file is made in its place");
    }
}

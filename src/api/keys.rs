//! Who calls, and what they may: keys, the tags and channels that they cover, their rates.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::envelope::{Fault, Kind};
use crate::config::checked::ApiKey;
use crate::requests::Reader;

/// Every key there is, by its hash. Looking up a hash tells nothing about a key.
#[derive(Debug)]
pub(super) struct Keys(HashMap<[u8; 32], Arc<KnownKey>>);

#[derive(Debug)]
struct KnownKey {
    name: String,
    reader: Reader,
    rate: Option<DefaultDirectRateLimiter>,
    open_requests: Option<u32>,
    /// One submission of a key at a time, where its open requests are limited: counting and inserting are two steps.
    submitting: Mutex<()>,
}

/// Somebody who may call.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<Arc<KnownKey>>);

impl Keys {
    pub(super) fn new(keys: &[ApiKey]) -> Self {
        let known = |key: &ApiKey| {
            let rate = key.per_minute.and_then(NonZeroU32::new).map(|n| RateLimiter::direct(Quota::per_minute(n)));
            let tags = if key.tags.iter().any(|tag| tag == "*") { Vec::new() } else { key.tags.clone() };
            let mut channels = key.channels.clone();
            channels.sort();
            channels.dedup();
            let everywhere = channels.is_empty() || channels.iter().any(|channel| channel == "*");
            let known = KnownKey {
                name: key.name.clone(),
                reader: Reader { tags, channels: (!everywhere).then_some(channels) },
                rate,
                open_requests: key.open_requests,
                submitting: Mutex::default(),
            };
            (key.sha256, Arc::new(known))
        };
        Self(keys.iter().map(known).collect())
    }

    /// Whether calls need a key.
    pub(super) fn needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// Who calls, within their rate. Without any key configured everybody may: the API is on loopback then.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        if !self.needed() {
            return Ok(Caller(None));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().as_bytes())
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(axum::http::HeaderValue::as_bytes));
        let Some(given) = given else {
            return Err(Fault::new(
                Kind::Unauthorized,
                "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
            ));
        };
        let hash: [u8; 32] = Sha256::digest(given).into();
        let Some(known) = self.0.get(&hash) else {
            return Err(Fault::new(Kind::Unauthorized, "the key is not known"));
        };
        if let Some(Err(until)) = known.rate.as_ref().map(RateLimiter::check) {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Fault::too_many("over the key's calls per minute", seconds));
        }
        Ok(Caller(Some(Arc::clone(known))))
    }
}

impl Caller {
    /// For the log.
    pub(super) fn name(&self) -> &str {
        self.0.as_ref().map_or("none", |key| &key.name)
    }

    /// Which rows they may see.
    pub(super) fn reader(&self) -> Reader {
        self.0.as_ref().map_or_else(Reader::everything, |key| key.reader.clone())
    }

    /// Refuses a tag that the key does not cover.
    pub(super) fn covers_tag(&self, tag: &str) -> Result<(), Fault> {
        let covered = self.0.as_ref().is_none_or(|key| key.reader.covers_tag(tag));
        if covered { Ok(()) } else { Err(Fault::new(Kind::Forbidden, "the key does not cover this tag")) }
    }

    /// The channel of a submission: a key with channels must name one that it covers; if it has just one, that is it.
    pub(super) fn channel(&self, given: Option<String>) -> Result<Option<String>, Fault> {
        let Some(channels) = self.0.as_ref().and_then(|key| key.reader.channels.as_ref()) else { return Ok(given) };
        match (given, channels.as_slice()) {
            (None, [only]) if !only.contains(['*', '?']) => Ok(Some(only.clone())),
            (None, _) => Err(Fault::bad("requestedChannel is empty: the key covers certain channels, name one")),
            (Some(channel), _) if self.0.as_ref().is_some_and(|key| key.reader.covers_channel(&channel)) => {
                Ok(Some(channel))
            }
            (Some(_), _) => Err(Fault::new(Kind::Forbidden, "the key does not cover this channel")),
        }
    }

    /// How many open requests they may have, and the turn that a submission has to wait for.
    pub(super) fn open_limit(&self) -> Option<(u32, &Mutex<()>)> {
        let key = self.0.as_ref()?;
        Some((key.open_requests?, &key.submitting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: ApiKey) -> Keys {
        Keys::new(&[key])
    }

    fn key() -> ApiKey {
        ApiKey {
            name: "tenant".to_owned(),
            sha256: Sha256::digest(b"hush").into(),
            tags: vec!["client-*".to_owned()],
            channels: Vec::new(),
            per_minute: None,
            open_requests: None,
        }
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let keys = keys(key());
        for headers in
            [with("authorization", "Bearer hush"), with("authorization", "bearer  hush"), with("x-api-key", "hush")]
        {
            assert_eq!(keys.caller(&headers).unwrap().name(), "tenant");
        }
        let refused = [
            with("authorization", "Bearer hus"),
            with("authorization", "Basic hush"),
            with("x-api-key", ""),
            HeaderMap::new(),
        ];
        for headers in refused {
            assert_eq!(keys.caller(&headers).unwrap_err().kind, Kind::Unauthorized, "{headers:?}");
        }
        assert_eq!(Keys::new(&[]).caller(&HeaderMap::new()).unwrap().reader(), Reader::everything());
    }

    #[test]
    fn a_key_covers_its_tags_and_channels_only() {
        let caller = |channels: &[&str]| {
            let channels = channels.iter().map(|c| (*c).to_owned()).collect();
            keys(ApiKey { channels, ..key() }).caller(&with("x-api-key", "hush")).unwrap()
        };
        let all = caller(&[]);
        assert_eq!(all.covers_tag("client-1"), Ok(()));
        assert_eq!(all.covers_tag("other").unwrap_err().kind, Kind::Forbidden);
        assert_eq!(all.channel(None), Ok(None));
        assert_eq!(caller(&["c1"]).channel(None), Ok(Some("c1".to_owned())));
        assert_eq!(caller(&["c1", "c2"]).channel(None).unwrap_err().kind, Kind::BadRequest);
        assert_eq!(caller(&["c*"]).channel(Some("c9".to_owned())), Ok(Some("c9".to_owned())));
        assert_eq!(caller(&["c1"]).channel(Some("c2".to_owned())).unwrap_err().kind, Kind::Forbidden);
    }

    #[test]
    fn calls_over_the_rate_are_told_when_to_come_back() {
        let keys = keys(ApiKey { per_minute: Some(2), ..key() });
        let headers = with("x-api-key", "hush");
        assert!(keys.caller(&headers).is_ok() && keys.caller(&headers).is_ok());
        let fault = keys.caller(&headers).unwrap_err();
        assert_eq!(fault, Fault::too_many("over the key's calls per minute", 30));
    }
}

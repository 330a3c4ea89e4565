//! Who calls, and what they may: keys, the tags and channels that they cover, their rates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::envelope::{ApiError, ErrorKind};
use super::rate::RecentCalls;
use crate::config::Live;
use crate::config::checked::{ApiKey, Config, Role};
use crate::requests::{Client, Clock, Reader};

/// The keys of the configuration in force. A change of jobs.toml counts from the next call on.
pub(super) struct Keys {
    config: Live,
    clock: Arc<dyn Clock>,
    known: RwLock<Arc<KeySet>>,
}

/// Every key of one configuration, by its hash. Looking up a hash tells nothing about a key.
struct KeySet {
    of: Arc<Config>,
    keys: HashMap<[u8; 32], Arc<KeyEntry>>,
}

#[derive(Debug)]
struct KeyEntry {
    name: String,
    role: Role,
    reader: Reader,
    per_minute: Option<u32>,
    open_requests: Option<u32>,
    not_after: Option<DateTime<Utc>>,
    /// Kept through changes of the configuration.
    calls: Arc<Mutex<RecentCalls>>,
}

/// A client that may call, with its key; `None` where no keys are configured.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<Arc<KeyEntry>>);

impl KeyEntry {
    fn new(key: &ApiKey, calls: Arc<Mutex<RecentCalls>>) -> Self {
        let tags = if key.tags.iter().any(|tag| tag == "*") { Vec::new() } else { key.tags.clone() };
        let mut channels = key.channels.clone();
        channels.sort();
        channels.dedup();
        let everywhere = channels.is_empty() || channels.iter().any(|channel| channel == "*");
        Self {
            name: key.name.clone(),
            role: key.role,
            reader: Reader { tags, channels: (!everywhere).then_some(channels) },
            per_minute: key.per_minute,
            open_requests: key.open_requests,
            not_after: key.not_after,
            calls,
        }
    }
}

impl KeySet {
    /// The keys of a configuration; of those that were there before the recent calls still count.
    fn new(config: Arc<Config>, before: Option<&Self>) -> Self {
        let keys = config.api.iter().flat_map(|api| &api.keys);
        let known = |key: &ApiKey| {
            let calls = before.and_then(|before| before.keys.get(&key.sha256)).map(|entry| Arc::clone(&entry.calls));
            (key.sha256, Arc::new(KeyEntry::new(key, calls.unwrap_or_default())))
        };
        Self { keys: keys.map(known).collect(), of: config }
    }
}

impl Keys {
    pub(super) fn new(config: Live, clock: Arc<dyn Clock>) -> Self {
        let known = RwLock::new(Arc::new(KeySet::new(config.get(), None)));
        Self { config, clock, known }
    }

    fn known(&self) -> Arc<KeySet> {
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        if Arc::ptr_eq(&known.of, &self.config.get()) {
            return known;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Read again under the lock: of two calls that come here the second may have the newer configuration.
        let config = self.config.get();
        if !Arc::ptr_eq(&known.of, &config) {
            *known = Arc::new(KeySet::new(config, Some(known.as_ref())));
        }
        Arc::clone(&known)
    }

    /// Whether calls need a key.
    pub(super) fn needed(&self) -> bool {
        self.config.get().api.as_ref().is_none_or(|api| api.keyed)
    }

    /// Who calls, within the rate of their key. Where no keys are configured every client may call: the API is on loopback
    /// then.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let caller = self.identify(headers)?;
        if let Some((key, most)) = caller.0.as_ref().and_then(|key| Some((key, key.per_minute?))) {
            let mut calls = key.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.take(most, Instant::now()).map_err(|wait| {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                ApiError::too_many("over the key's calls per minute", seconds)
            })?;
        }
        Ok(caller)
    }

    /// Who calls; it does not count as a call.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if !self.needed() {
            return Ok(Caller(None));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().as_bytes())
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(axum::http::HeaderValue::as_bytes));
        let Some(given) = given else {
            return Err(ApiError::new(
                ErrorKind::Unauthorized,
                "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
            ));
        };
        let hash: [u8; 32] = Sha256::digest(given).into();
        let Some(key) = self.known().keys.get(&hash).cloned() else {
            return Err(ApiError::new(ErrorKind::Unauthorized, "the key is not known"));
        };
        // Only told to callers who have the key.
        if key.not_after.is_some_and(|last| self.clock.now() > last) {
            return Err(ApiError::new(ErrorKind::Unauthorized, "the key has expired"));
        }
        Ok(Caller(Some(key)))
    }
}

impl Caller {
    /// For the log.
    pub(super) fn name(&self) -> &str {
        self.0.as_ref().map_or("none", |key| &key.name)
    }

    /// What they may do. Where no keys are configured only this machine calls, and may everything.
    pub(super) fn role(&self) -> Role {
        self.0.as_ref().map_or(Role::Admin, |key| key.role)
    }

    /// Which rows they may see.
    pub(super) fn reader(&self) -> Reader {
        self.0.as_ref().map_or_else(Reader::everything, |key| key.reader.clone())
    }

    /// Refuses a tag that the key does not cover.
    pub(super) fn covers_tag(&self, tag: &str) -> Result<(), ApiError> {
        let covered = self.0.as_ref().is_none_or(|key| key.reader.covers_tag(tag));
        if covered { Ok(()) } else { Err(ApiError::new(ErrorKind::Forbidden, "the key does not cover this tag")) }
    }

    /// The channel of a submission: a key with channels must name one that it covers; if it has just one, that is it.
    pub(super) fn channel(&self, given: Option<String>) -> Result<Option<String>, ApiError> {
        let Some(channels) = self.0.as_ref().and_then(|key| key.reader.channels.as_ref()) else { return Ok(given) };
        match (given, channels.as_slice()) {
            (None, [only]) if !only.contains(['*', '?']) => Ok(Some(only.clone())),
            (None, _) => Err(ApiError::bad("requestedChannel is empty: the key covers certain channels, name one")),
            (Some(channel), _) if self.0.as_ref().is_some_and(|key| key.reader.covers_channel(&channel)) => {
                Ok(Some(channel))
            }
            (Some(_), _) => Err(ApiError::new(ErrorKind::Forbidden, "the key does not cover this channel")),
        }
    }

    /// Which rows they see, and how many of them may be open.
    pub(super) fn client(&self) -> Client {
        Client { reader: self.reader(), open_requests: self.0.as_ref().and_then(|key| key.open_requests) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, check};
    use crate::requests::ManualClock;

    fn config(keys: &str) -> Config {
        let nothing: Environment = std::iter::empty::<(String, String)>().collect();
        let text = format!("[api]\nlisten = \"127.0.0.1:1\"\n{keys}");
        check(&text, Path::new("jobs.toml"), &nothing, crate::reports::registry()).unwrap()
    }

    fn section(more: &str) -> String {
        let sha256 = Sha256::digest(b"hush").iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        format!("[[api.keys]]\nname = \"tenant\"\nsha256 = \"{sha256}\"\ntags = [\"client-*\"]\n{more}\n")
    }

    fn begin() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn of(text: &str) -> (Keys, Live, Arc<ManualClock>) {
        let (live, clock) = (Live::new(config(text)), Arc::new(ManualClock::new(begin())));
        (Keys::new(live.clone(), Arc::clone(&clock) as Arc<dyn Clock>), live, clock)
    }

    fn keys(more: &str) -> Keys {
        of(&section(more)).0
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    fn hush() -> HeaderMap {
        with("x-api-key", "hush")
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let keys = keys("");
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
            assert_eq!(keys.caller(&headers).unwrap_err().kind, ErrorKind::Unauthorized, "{headers:?}");
        }
        assert_eq!(of("").0.caller(&HeaderMap::new()).unwrap().reader(), Reader::everything());
    }

    #[test]
    fn a_key_covers_its_tags_and_channels_only() {
        let caller = |channels: &str| keys(&format!("channels = {channels}")).caller(&hush()).unwrap();
        let all = caller("[\"*\"]");
        assert_eq!(all.covers_tag("client-1"), Ok(()));
        assert_eq!(all.covers_tag("other").unwrap_err().kind, ErrorKind::Forbidden);
        assert_eq!(all.channel(None), Ok(None));
        assert_eq!(caller("[\"c1\"]").channel(None), Ok(Some("c1".to_owned())));
        assert_eq!(caller("[\"c1\", \"c2\"]").channel(None).unwrap_err().kind, ErrorKind::BadRequest);
        assert_eq!(caller("[\"c*\"]").channel(Some("c9".to_owned())), Ok(Some("c9".to_owned())));
        assert_eq!(caller("[\"c1\"]").channel(Some("c2".to_owned())).unwrap_err().kind, ErrorKind::Forbidden);
    }

    #[test]
    fn calls_over_the_rate_are_told_when_to_come_back() {
        let keys = keys("per_minute = 2");
        assert!(keys.caller(&hush()).is_ok() && keys.caller(&hush()).is_ok());
        let fault = keys.caller(&hush()).unwrap_err();
        assert_eq!(fault, ApiError::too_many("over the key's calls per minute", 60));
    }

    #[test]
    fn a_key_is_refused_after_its_end() {
        let (keys, _, clock) = of(&section("not_after = 2026-03-01"));
        assert!(keys.caller(&hush()).is_ok());
        clock.advance(std::time::Duration::from_secs(12 * 3600 - 1));
        assert!(keys.caller(&hush()).is_ok(), "the last second of its last day");
        clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(keys.caller(&hush()).unwrap_err(), ApiError::new(ErrorKind::Unauthorized, "the key has expired"));
        assert_eq!(keys.caller(&with("x-api-key", "hus")).unwrap_err().message, "the key is not known");
    }

    /// From the next call on; what a key has called already still counts.
    #[test]
    fn a_change_of_keys_takes_effect() {
        let (keys, live, _) = of("");
        assert!(keys.caller(&HeaderMap::new()).is_ok());
        assert!(live.replace(&config(&section("per_minute = 3"))).in_force);
        assert_eq!(keys.caller(&HeaderMap::new()).unwrap_err().kind, ErrorKind::Unauthorized);
        assert!(keys.caller(&hush()).is_ok() && keys.caller(&hush()).is_ok());
        assert!(live.replace(&config(&section("per_minute = 2"))).in_force);
        assert_eq!(keys.caller(&hush()).unwrap_err().kind, ErrorKind::TooMany, "two calls were made");
        assert!(live.replace(&config(&section("channels = [\"c\"]"))).in_force);
        assert_eq!(keys.caller(&hush()).unwrap().reader().channels, Some(vec!["c".to_owned()]));
        assert!(live.replace(&config("")).in_force);
        for headers in [hush(), HeaderMap::new()] {
            assert_eq!(keys.caller(&headers).unwrap_err().kind, ErrorKind::Unauthorized, "no key is left");
        }
    }
}

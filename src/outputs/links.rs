//! Signed download links: of a local store by a scheme of our own (`local`), of an object store by its own: presigned
//! URLs of S3, SAS of Azure, signed URLs of Google.
//!
//! They are made when somebody reads a status; rows hold keys. Which of them are signed is in `targets`. Not here:
//! serving a local file (`api`).

mod local;
mod targets;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::key::ObjectKey;
use super::store::StoreError;
use crate::objects::Bucket;

pub use local::{KEY_FILE, LinkError, kept_link_key};
pub use targets::{LinkHost, OwnKey, Target, Withheld};

/// Makes and checks links.
#[derive(Clone, Debug)]
pub struct Links {
    scheme: Scheme,
    holds: Duration,
}

#[derive(Clone, Debug)]
enum Scheme {
    Local(local::Links),
    Remote(Bucket),
}

impl Links {
    /// Links under `base` (a URL without a slash at its end) that hold this long, signed with this key.
    #[must_use]
    pub fn local(link_key: &[u8], base: &str, holds: Duration) -> Self {
        Self { scheme: Scheme::Local(local::Links::new(link_key, base)), holds }
    }

    /// Links to objects of this bucket that hold this long. Signed with credentials that end before, they end with them.
    #[must_use]
    pub const fn remote(bucket: Bucket, holds: Duration) -> Self {
        Self { scheme: Scheme::Remote(bucket), holds }
    }

    /// Whether making links may take the time of a round trip, or of public-key cryptography.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        matches!(self.scheme, Scheme::Remote(_))
    }

    /// The links of these files as of `now`, in their order. Blocks where it [may wait](Links::may_wait); the time counts
    /// there from the moment of signing.
    ///
    /// # Errors
    /// The object store gives nothing to sign with.
    pub fn sign(&self, keys: &[OwnKey], now: DateTime<Utc>) -> Result<Vec<String>, StoreError> {
        match &self.scheme {
            Scheme::Local(links) => Ok(keys.iter().map(|own| links.link(own.key(), self.expires(now))).collect()),
            Scheme::Remote(_) if keys.is_empty() => Ok(Vec::new()),
            Scheme::Remote(bucket) => {
                let keys: Vec<&str> = keys.iter().map(|own| own.key().as_str()).collect();
                bucket.sign(&keys, self.holds).map_err(|error| StoreError::remote("sign links", error))
            }
        }
    }

    /// When links made `now` end: on a whole second.
    #[must_use]
    pub fn expires(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let end = now + TimeDelta::from_std(self.holds).unwrap_or(TimeDelta::MAX);
        DateTime::from_timestamp(end.timestamp(), 0).unwrap_or(end)
    }

    /// Checks the parts of a link to a local store (the key percent-decoded); the file that it opens.
    ///
    /// # Errors
    /// [`LinkError`]; the signature is looked at first, so that an altered time is not called expired.
    pub fn open(
        &self,
        key: &str,
        expires: Option<&str>,
        signature: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<ObjectKey, LinkError> {
        match &self.scheme {
            Scheme::Local(links) => links.open(key, expires, signature, now),
            Scheme::Remote(_) => Err(LinkError::Altered),
        }
    }
}

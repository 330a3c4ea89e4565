//! Signed download links of a local store: `/files/{key}?expires={epoch seconds}&signature={hex}`.
//!
//! The signature is HMAC-SHA-256 over key and time. Without the link key nobody can make one, change one or prolong
//! one.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use tempfile::NamedTempFile;

use super::super::key::ObjectKey;
use super::super::store::make_directories;

/// A key in a URL's path: its slashes stay, its percent signs are encoded once more.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'-');

/// The name of a made link key's file in the store's directory. No report can have it: keys have at least two segments.
pub const KEY_FILE: &str = ".link-key";
/// Bytes of a made link key.
const KEY_BYTES: usize = 32;
/// The longest that a link holds. `[store] signed_url_ttl` is at most as much, so a later end was not made here.
const LONGEST: TimeDelta = TimeDelta::days(7);

/// Makes and checks links.
#[derive(Clone)]
pub(super) struct Links {
    mac: Hmac<Sha256>,
    base: String,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its time is over.
    #[error("the link has expired: read the request's status again for a new one")]
    Expired,
    /// It ends later than any link that is made here.
    #[error("the link ends more than seven days from now: read the request's status again for a new one")]
    TooLong,
    /// It was not made here, or was changed.
    #[error("the link is not valid")]
    Altered,
}

impl Links {
    /// Links under `base` (a URL without a slash at its end), signed with this key.
    pub(super) fn new(link_key: &[u8], base: &str) -> Self {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mac = Hmac::new_from_slice(link_key).expect("a key of any length");
        Self { mac, base: base.to_owned() }
    }

    /// The link of a file that holds until then.
    pub(super) fn link(&self, key: &ObjectKey, until: DateTime<Utc>) -> String {
        let expires = until.timestamp().to_string();
        let signature = hex(&self.over(key.as_str(), &expires).finalize().into_bytes());
        let path = utf8_percent_encode(key.as_str(), PATH);
        format!("{}/files/{path}?expires={expires}&signature={signature}", self.base)
    }

    /// Checks a link's parts (the key percent-decoded); the file that it opens.
    ///
    /// # Errors
    /// [`LinkError`]; the signature is looked at first, so that an altered time is not called expired.
    pub(super) fn open(
        &self,
        key: &str,
        expires: Option<&str>,
        signature: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<ObjectKey, LinkError> {
        let expires = expires.ok_or(LinkError::Altered)?;
        let signature = signature.and_then(unhex).ok_or(LinkError::Altered)?;
        // Compares in constant time.
        self.over(key, expires).verify_slice(&signature).map_err(|_| LinkError::Altered)?;
        let until: i64 = expires.parse().map_err(|_| LinkError::Altered)?;
        if now.timestamp() > until {
            return Err(LinkError::Expired);
        }
        if until > (now + LONGEST).timestamp() {
            return Err(LinkError::TooLong);
        }
        // Who has the link key can sign anything: only reports are ever given out.
        let key = ObjectKey::parse(key).map_err(|_| LinkError::Altered)?;
        if key.is_hidden() || key.origin().is_none() { Err(LinkError::Altered) } else { Ok(key) }
    }

    fn over(&self, key: &str, expires: &str) -> Hmac<Sha256> {
        // Neither part can hold a line end and be signed: keys have no control characters.
        self.mac.clone().chain_update(key).chain_update(b"\n").chain_update(expires)
    }
}

/// The link key kept in the store's directory, mode 0600; made at the first start. All processes on one store share it.
///
/// # Errors
/// The file cannot be read or made, or holds something else.
pub fn kept_link_key(store: &Path) -> io::Result<Vec<u8>> {
    let file = store.join(KEY_FILE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.and_then(|text| read_key(&text)),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    make_directories(store)?;
    // Temporary files are private to their owner from the start, and stay so.
    let mut made = NamedTempFile::new_in(store)?;
    made.write_all(hex(&key).as_bytes())?;
    made.as_file().sync_data()?;
    match made.persist_noclobber(&file) {
        // Another process was first: its key counts.
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => fs::read_to_string(&file).and_then(|text| read_key(&text)),
    }
}

fn read_key(text: &str) -> io::Result<Vec<u8>> {
    unhex(text.trim())
        .filter(|key| key.len() == KEY_BYTES)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a link key: remove the file, and one is made"))
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]));
    bytes.iter().flat_map(digits).collect()
}

/// Reads lower-case hexadecimal digits: links have one spelling.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://127.0.0.1:8080";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn links() -> Links {
        Links::new(b"key", BASE)
    }

    fn parts(link: &str) -> (String, String, String) {
        let rest = link.strip_prefix("http://127.0.0.1:8080/files/").unwrap();
        let (path, query) = rest.split_once('?').unwrap();
        let (expires, signature) = query.split_once('&').unwrap();
        let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
        let value = |pair: &str| pair.split_once('=').unwrap().1.to_owned();
        (path, value(expires), value(signature))
    }

    /// The signature as Python computes it:
    /// `hmac.new(b"key", b"r/a%2Fb/1/c/reports-b.csv\n1060", hashlib.sha256).hexdigest()`.
    #[test]
    fn a_link_is_what_another_program_computes() {
        let key = ObjectKey::parse("r/a%2Fb/1/c/reports-b.csv").unwrap();
        assert_eq!(
            links().link(&key, at(1060)),
            "http://127.0.0.1:8080/files/r/a%252Fb/1/c/reports-b.csv?expires=1060&signature=\
             97613f172ded8fc8d91d9c995503360e9c3ddf39e6f2b769762b91c41bf69721"
        );
    }

    #[test]
    fn a_link_opens_its_file_until_it_expires() {
        let key = ObjectKey::parse("é %/t/1/0123456789abcdef/reports-b.csv").unwrap();
        let (path, expires, signature) = parts(&links().link(&key, at(1060)));
        let open = |now| links().open(&path, Some(&expires), Some(&signature), at(now));
        assert_eq!(open(1060), Ok(key));
        assert_eq!(open(1061), Err(LinkError::Expired));
    }

    #[test]
    fn whatever_is_changed_the_link_opens_nothing() {
        let key = ObjectKey::parse("r/t/1/c/reports-b.csv").unwrap();
        let (path, expires, signature) = parts(&links().link(&key, at(1060)));
        let other = links().over(&path, "9999").finalize().into_bytes();
        for (path, expires, signature) in [
            ("r/t/1/c/reports-c.csv", Some(expires.as_str()), Some(signature.as_str())),
            (&path, Some("9999"), Some(&signature)),
            (&path, Some(&expires), Some(&hex(&other))),
            (&path, Some(&expires), Some(&signature.to_uppercase())),
            (&path, Some(&expires), Some(&signature[..62])),
            (&path, Some(&expires), Some("")),
            (&path, Some(&expires), None),
            (&path, None, Some(&signature)),
            (&path, Some(" 1060"), Some(&signature)),
        ] {
            assert_eq!(links().open(path, expires, signature, at(1000)), Err(LinkError::Altered), "{path}");
        }
    }

    #[test]
    fn a_valid_signature_opens_nothing_but_reports() {
        let open = |key: &str, expires: i64| {
            let expires = expires.to_string();
            let signature = hex(&links().over(key, &expires).finalize().into_bytes());
            links().open(key, Some(&expires), Some(&signature), at(1000))
        };
        let report = "r/t/1/0123456789abcdef/reports-b.csv";
        assert_eq!(open(report, 1060), Ok(ObjectKey::parse(report).unwrap()));
        for key in
            ["../x", "/x", ".link-key", "r/.t/1/0123456789abcdef/reports-b.csv", "jobs.toml", "r/t/1/c/reports-b.csv"]
        {
            assert_eq!(open(key, 1060), Err(LinkError::Altered), "{key}");
        }
        let week = 7 * 24 * 3600;
        assert!(open(report, 1000 + week).is_ok());
        assert_eq!(open(report, 1001 + week), Err(LinkError::TooLong));
        assert_eq!(open(report, i64::MAX), Err(LinkError::TooLong));
    }

    #[test]
    fn a_kept_key_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("reports");
        let key = kept_link_key(&store).unwrap();
        assert_eq!(key.len(), KEY_BYTES);
        assert_eq!(kept_link_key(&store).unwrap(), key);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(store.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(store.join(KEY_FILE), "short").unwrap();
        assert!(kept_link_key(&store).unwrap_err().to_string().contains("not a link key"));
    }
}

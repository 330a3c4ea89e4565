//! The encryption key of a request, which is the password of its files: which keys are accepted, how a key is sealed in its
//! row, and the mark by which the same key is recognised after it was wiped.
//!
//! Keys derived from `[secrets] key` are its HMAC-SHA256 over their purpose. It is a secret of the operator and not a
//! person's password, so it is not stretched. Keys are sealed with XChaCha20-Poly1305 under a random nonce; tag and request
//! id are authenticated with it, so that a sealed key opens in its own row only.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use ring::pbkdf2;
use sha2::Sha256;

use super::{KeyLength, Refusal};
use crate::config::checked::Secret;
use crate::outputs::Password;

/// The fewest characters of an encryption key.
pub const SHORTEST_KEY: usize = 8;
/// The most: what the table's column holds.
pub const LONGEST_KEY: usize = 50;

/// What a sealed key begins with: how it is sealed.
const SEALED: &str = "v1:";
const NONCE: usize = 24;
/// What a mark begins with: how it is made.
const KEYED: &str = "hmac1:";
const SALTED: &str = "pbkdf2-2:";
/// Marks of earlier versions, which stay valid.
const SALTED_BEFORE: &str = "pbkdf2-1:";
/// Slows down a reader of the table who tries to guess keys by their marks: a mark is kept for years after its file. OWASP's
/// number of rounds for PBKDF2-HMAC-SHA256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
const ROUNDS_BEFORE: NonZeroU32 = NonZeroU32::new(50_000).unwrap();

/// Why an encryption key cannot be read from its row, or not be written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// This process has no secret; another one may have it.
    #[error("encryptionKey is sealed, and this daemon has no [secrets] key to open it")]
    NoSecret,
    /// Sealed under another secret, for another row, or altered.
    #[error("encryptionKey does not open: sealed under another [secrets] key, or altered; submit it again")]
    DoesNotOpen,
    /// The request has ended since.
    #[error("encryptionKey was wiped when the request ended: submit it again with the key")]
    Wiped,
    /// The system has no random numbers.
    #[error("encryptionKey cannot be sealed: no random numbers")]
    NoRandom,
}

impl SealError {
    /// Whether trying again later may help: an operator can configure the secret, and another daemon may have it.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::NoSecret | Self::NoRandom)
    }
}

/// What a row keeps of an encryption key.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key sealed, where `[secrets] key` is configured. Otherwise the row has to hold it plain.
    pub sealed: Option<String>,
    /// Its marks. The first is the one to write. The second is made in the way of the row's own mark, where that is another
    /// way: the row may be older than `[secrets] key`, or from an earlier version.
    pub marks: Vec<String>,
}

/// Whether [`keep`] takes long: tenths of a second of processor time instead of microseconds.
#[must_use]
pub fn takes_long(secret: Option<&Secret>, made: Option<&str>) -> bool {
    secret.is_none()
        || made.is_some_and(|made| [SALTED, SALTED_BEFORE].iter().any(|way| way.trim_end_matches(':') == made))
}

/// Seals and marks a key for one row. `made`: how the row's present mark was made, which is its text before the last colon.
///
/// # Errors
/// No random numbers.
pub fn keep(
    secret: Option<&Secret>,
    tag: &str,
    request_id: &str,
    key: &Password,
    made: Option<&str>,
) -> Result<Kept, SealError> {
    let row = row(tag, request_id);
    let salted = |way: &str, rounds| format!("{way}{}", BASE64.encode(salted_mark(&row, key, rounds)));
    let sealed = secret.map(|secret| seal(secret, &row, key)).transpose()?;
    let first = secret.map_or_else(|| salted(SALTED, ROUNDS), |secret| keyed_mark(secret, &row, key));
    let is_made = |way: &str| made.is_some_and(|made| made == way.trim_end_matches(':'));
    let second = if is_made(SALTED) && secret.is_some() {
        Some(salted(SALTED, ROUNDS))
    } else {
        is_made(SALTED_BEFORE).then(|| salted(SALTED_BEFORE, ROUNDS_BEFORE))
    };
    Ok(Kept { sealed, marks: std::iter::once(first).chain(second).collect() })
}

/// Opens what [`keep`] sealed for this row.
///
/// # Errors
/// It does not open, or there is nothing to open it with.
pub fn open(secret: Option<&Secret>, tag: &str, request_id: &str, sealed: &str) -> Result<Password, SealError> {
    let secret = secret.ok_or(SealError::NoSecret)?;
    let opened = || {
        let bytes = BASE64.decode(sealed.strip_prefix(SEALED)?).ok()?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE)?;
        let row = row(tag, request_id);
        let plain =
            cipher(secret).decrypt(&XNonce::try_from(nonce).ok()?, Payload { msg: ciphertext, aad: &row }).ok()?;
        String::from_utf8(plain).ok().map(Password::new)
    };
    opened().ok_or(SealError::DoesNotOpen)
}

/// Whether a key can protect a file.
///
/// # Errors
/// It is too short, too long, or has characters that cannot be typed or do not fit into every column.
pub(super) fn judge(key: &Password, length: KeyLength) -> Result<(), Refusal> {
    let characters = key.reveal().chars().count();
    let is_good = match length {
        KeyLength::Submitted => (SHORTEST_KEY..=LONGEST_KEY).contains(&characters),
        KeyLength::Any => characters > 0,
    };
    if !is_good {
        return Err(Refusal::KeyLength);
    }
    // The last one stands for bytes that were not UTF-8: the client's key is not known then.
    if key.reveal().contains(|c: char| c.is_control() || c == '\u{fffd}') {
        Err(Refusal::KeyCharacters)
    } else {
        Ok(())
    }
}

fn seal(secret: &Secret, row: &[u8], key: &Password) -> Result<String, SealError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
    let sealed = cipher(secret)
        .encrypt(&XNonce::from(nonce), Payload { msg: key.reveal().as_bytes(), aad: row })
        .map_err(|_| SealError::NoRandom)?;
    Ok(format!("{SEALED}{}", BASE64.encode([nonce.as_slice(), &sealed].concat())))
}

fn cipher(secret: &Secret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&derive(secret, "encryption_key_sealed").into())
}

fn derive(secret: &Secret, purpose: &str) -> [u8; 32] {
    mac(secret.reveal().as_bytes(), &[b"exhaustd v1 ", purpose.as_bytes()])
}

fn mac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Under another secret the same key has another mark. So the mark names the secret: marks of two secrets are not compared.
fn keyed_mark(secret: &Secret, row: &[u8], key: &Password) -> String {
    let keyed = mac(&derive(secret, "encryption_mark"), &[row, key.reveal().as_bytes()]);
    let [a, b, c, d, ..] = derive(secret, "name of the secret");
    format!("{KEYED}{}:{}", BASE64.encode([a, b, c, d]), BASE64.encode(keyed))
}

/// The row's key is the salt: it is unique.
fn salted_mark(row: &[u8], key: &Password, rounds: NonZeroU32) -> [u8; 32] {
    let salt = [b"exhaustd encryption_mark ".as_slice(), row].concat();
    let mut mark = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, key.reveal().as_bytes(), &mut mark);
    mark
}

/// A row's key as bytes, unambiguously.
fn row(tag: &str, request_id: &str) -> Vec<u8> {
    format!("{} {tag} {request_id} ", tag.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_sealed_key_opens_in_its_row_under_its_secret_only() {
        let ours = secret("sixteen characters or more");
        let key = password("hush-hush · 漢字");
        let sealed = keep(Some(&ours), "t", "1", &key, None).unwrap().sealed.unwrap();
        assert!(sealed.starts_with("v1:") && sealed.is_ascii(), "{sealed}");
        assert_eq!(open(Some(&ours), "t", "1", &sealed), Ok(key.clone()));
        assert_ne!(keep(Some(&ours), "t", "1", &key, None).unwrap().sealed, Some(sealed.clone()), "a fresh nonce");
        let unopened = Err(SealError::DoesNotOpen);
        assert_eq!(open(Some(&secret("sixteen characters or less")), "t", "1", &sealed), unopened);
        for (tag, id) in [("t", "2"), ("u", "1"), ("t ", "1"), ("", "t 1")] {
            assert_eq!(open(Some(&ours), tag, id, &sealed), unopened, "moved to {tag:?} {id:?}");
        }
        for at in SEALED.len()..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(Some(&ours), "t", "1", &String::from_utf8(altered).unwrap()), unopened, "byte {at}");
        }
        for broken in ["", "v1:", "v2:", "v1:AAAA", "hush-hush", &sealed[3..], &sealed[..sealed.len() - 4]] {
            assert_eq!(open(Some(&ours), "t", "1", broken), unopened, "{broken:?}");
        }
        assert_eq!(open(None, "t", "1", &sealed), Err(SealError::NoSecret));
    }

    /// Computed by Python: `hmac`, `hashlib.pbkdf2_hmac`.
    #[test]
    fn marks_are_what_others_compute() {
        let ours = secret("sixteen characters or more");
        let marks = |secret: Option<&Secret>, id: &str, made: Option<&str>| {
            keep(secret, "t", id, &password("hush-hush"), made).unwrap().marks
        };
        assert_eq!(marks(None, "1", None), [MARK]);
        assert_eq!(marks(Some(&ours), "1", None), [HMAC_MARK]);
        // As the row's own mark is made, so that the two can be compared.
        assert_eq!(marks(None, "1", Some("pbkdf2-1")), [MARK, MARK_BEFORE]);
        assert_eq!(marks(None, "1", Some("pbkdf2-2")), [MARK]);
        assert_eq!(marks(Some(&ours), "1", Some("pbkdf2-1")), [HMAC_MARK, MARK_BEFORE]);
        assert_eq!(marks(Some(&ours), "1", Some("pbkdf2-2")), [HMAC_MARK, MARK]);
        for made in ["hmac1:d5oT0w==", "hmac1:AAAAAA==", "unknown", ""] {
            assert_eq!(marks(Some(&ours), "1", Some(made)), [HMAC_MARK], "{made}");
        }
        assert_ne!(marks(Some(&ours), "2", None), [HMAC_MARK], "another row");
        assert_ne!(marks(None, "2", None), [MARK], "another row");
        assert_eq!(keep(None, "t", "1", &password("hush-hush"), None).unwrap().sealed, None);
        for (secret, made, long) in [
            (None, None, true),
            (Some(&ours), None, false),
            (Some(&ours), Some("hmac1:d5oT0w=="), false),
            (Some(&ours), Some("pbkdf2-1"), true),
            (Some(&ours), Some("pbkdf2-2"), true),
        ] {
            assert_eq!(takes_long(secret, made), long, "{made:?}");
        }
    }

    const HMAC_MARK: &str = "hmac1:d5oT0w==:o8ALmxyHf5gjhK14gsUsVToRJHVtdRZ7BccZ8N7Am7Y=";
    const MARK: &str = "pbkdf2-2:44EHXoxysTvXrehUIlTRYz2oDWP8ZyR/T1dHpCrRH+U=";
    const MARK_BEFORE: &str = "pbkdf2-1:D6LJt+PGOZ+8BlDavF8s7S7nHG7cvOELJaWSIyVrNgQ=";

    #[test]
    fn a_key_has_eight_to_fifty_characters_of_text() {
        for (key, judged) in [
            ("", Err(Refusal::KeyLength)),
            ("seven-7", Err(Refusal::KeyLength)),
            ("eight--8", Ok(())),
            ("        ", Ok(())),
            ("漢字漢字漢字漢字", Ok(())),
            (&"é".repeat(50), Ok(())),
            (&"e".repeat(51), Err(Refusal::KeyLength)),
            ("with\nline ends", Err(Refusal::KeyCharacters)),
            ("with\0nothing", Err(Refusal::KeyCharacters)),
            ("not \u{fffd} known", Err(Refusal::KeyCharacters)),
        ] {
            assert_eq!(judge(&password(key), KeyLength::Submitted), judged, "{key:?}");
            // A row may bring any, as long as it can be typed.
            let of_row = if judged == Err(Refusal::KeyLength) && !key.is_empty() { Ok(()) } else { judged };
            assert_eq!(judge(&password(key), KeyLength::Any), of_row, "{key:?}");
        }
    }
}

//! Passwords for the files of requests, as rows hold them: plain or sealed while the request is open, and wiped by the
//! statement that ends it. A mark stays: it tells whether another password is the same one, without revealing it.
//!
//! Not here: which passwords are accepted, how they are sealed and marked (`intake`).

use std::fmt;

/// A password for the files of a request, as its row holds it. Never shown: `Debug` prints which kind it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum EncryptionKey {
    /// `encryption_key`
    Plain(String),
    /// `encryption_key_sealed`
    Sealed(String),
    /// The request had a password and has ended since.
    Wiped,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(***)",
            Self::Sealed(_) => "Sealed(***)",
            Self::Wiped => "Wiped",
        })
    }
}

impl EncryptionKey {
    /// The password of a row; `None` where all three columns are empty. A sealed password comes first: we never write both.
    pub(super) fn of(plain: Option<String>, sealed: Option<String>, mark: Option<String>) -> Option<Self> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (plain, sealed) = (filled(plain).map(Self::Plain), filled(sealed).map(Self::Sealed));
        sealed.or(plain).or_else(|| filled(mark).map(|_| Self::Wiped))
    }

    fn plain(&self) -> Option<&str> {
        if let Self::Plain(key) = self { Some(key) } else { None }
    }

    fn sealed(&self) -> Option<&str> {
        if let Self::Sealed(key) = self { Some(key) } else { None }
    }
}

/// The password of a submission.
#[derive(Clone, Debug)]
pub struct NewEncryption {
    /// The password.
    pub key: EncryptionKey,
    /// Marks of the password, `SCHEME:VALUE`. The first one is written; a row with any of them has the same password. A row
    /// with a mark of another scheme may have the same password or another one.
    pub marks: Vec<String>,
}

/// Whether a row has a password, for those who must not see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protected {
    /// It has none and never had one.
    #[default]
    No,
    /// It has one.
    Yes,
    /// It had one, and the request has ended since.
    Wiped,
}

/// The columns that a submission writes: password, sealed password, mark.
pub(super) fn columns_of(new: Option<&NewEncryption>) -> [Option<&str>; 3] {
    let Some(NewEncryption { key, marks }) = new else { return [None; 3] };
    [key.plain(), key.sealed(), marks.first().map(String::as_str)]
}

/// The scheme of a mark: what stands before its last colon.
pub(super) fn scheme(mark: &str) -> &str {
    mark.rsplit_once(':').map_or(mark, |(scheme, _)| scheme)
}

/// What each statement that ends a request sets: the password is wiped and its mark stays. A password that others wrote has
/// no mark, and gets `unknown`. With a plain password the list of stored files is wiped too, because it is derived from the
/// password (`worker::checkpoint::fingerprint`).
macro_rules! wipe_password {
    () => {
        "encryption_key = NULL, encryption_key_sealed = NULL,
        encryption_mark = CASE WHEN encryption_key <> '' OR encryption_key_sealed <> ''
            THEN coalesce(encryption_mark, 'unknown') ELSE encryption_mark END,
        processed_batches = CASE WHEN encryption_key <> '' THEN NULL ELSE processed_batches END"
    };
}

/// Whether a row can be resubmitted as it is: it never had a password, or still has it.
macro_rules! has_its_password {
    () => {
        "(coalesce(encryption_mark, '') = '' OR encryption_key <> '' OR encryption_key_sealed <> '')"
    };
}

/// The column `protected`; `$of` is the prefix of the table's columns.
macro_rules! protected {
    ($of:literal) => {
        concat!(
            "CASE WHEN ",
            $of,
            "encryption_key <> '' OR ",
            $of,
            "encryption_key_sealed <> '' THEN 'yes' WHEN ",
            $of,
            "encryption_mark <> '' THEN 'wiped' END AS protected"
        )
    };
}

pub(super) use {has_its_password, protected, wipe_password};

//! Passwords for requests' files, as rows hold them: plain or sealed while the request is open, wiped by the very
//! statement that ends it. A mark stays behind, which tells another password from the same one and gives none away.
//!
//! Not here: what a good password is, how it is sealed and marked (`intake`).

use std::fmt;

/// A password for the files of a request, as its row holds it. Never shown: `Debug` prints which kind it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum EncryptionKey {
    /// `encryption_key`
    Plain(String),
    /// `encryption_key_sealed`
    Sealed(String),
    /// Neither any more: the request had one, and has ended since.
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
    /// What a row has; nothing is no password. Sealed comes first: then the other is none of ours.
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

/// What a submission brings for protected files.
#[derive(Clone, Debug)]
pub struct NewEncryption {
    /// The password.
    pub key: EncryptionKey,
    /// What the password is known by: the first is written, and any of them means the same password. `HOW:WHAT`, and a
    /// mark that was made in another way than all of these says nothing about it.
    pub marks: Vec<String>,
}

/// What a row says of its password to those who must not see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protected {
    /// There is none, and never was.
    #[default]
    No,
    /// It is there.
    Yes,
    /// It was, and the request has ended since.
    Wiped,
}

/// The columns of a submission: password, sealed password, mark.
pub(super) fn columns_of(new: Option<&NewEncryption>) -> [Option<&str>; 3] {
    let Some(NewEncryption { key, marks }) = new else { return [None; 3] };
    [key.plain(), key.sealed(), marks.first().map(String::as_str)]
}

/// How a mark was made: what stands before its last colon.
pub(super) fn make(mark: &str) -> &str {
    mark.rsplit_once(':').map_or(mark, |(make, _)| make)
}

/// What ends a request beside its status: the password goes, its mark stays; of one that others wrote nobody knows what it
/// was. With a plain password goes what was noted of
/// stored files, which was made with it (`worker::checkpoint::fingerprint`).
macro_rules! wiped {
    () => {
        "encryption_key = NULL, encryption_key_sealed = NULL,
        encryption_mark = CASE WHEN encryption_key <> '' OR encryption_key_sealed <> ''
            THEN coalesce(encryption_mark, 'unknown') ELSE encryption_mark END,
        processed_batches = CASE WHEN encryption_key <> '' THEN NULL ELSE processed_batches END"
    };
}

/// Whether a row can be tried again as it is: it never had a password, or still has it.
macro_rules! still_has_its_key {
    () => {
        "(coalesce(encryption_mark, '') = '' OR encryption_key <> '' OR encryption_key_sealed <> '')"
    };
}

/// What `protected` is read from, the columns' table being `$of`.
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

pub(super) use {protected, still_has_its_key, wiped};

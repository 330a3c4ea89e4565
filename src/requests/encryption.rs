//! Passwords for requests' files, as rows hold them: plain or sealed while the request is open, wiped by the very
//! statement that ends it. A mark stays behind, which tells another password from the same one and gives none away.
//!
//! Not here: what a good password is, how it is sealed and marked (`intake`).

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Nullable};

use super::reading::Client;
use super::stored::{Loose, StoredText, text};
use super::types::{NewRequest, RequestRow, Status, Submitted};

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

/// How a row's mark was made.
pub(super) fn made(row: Option<StoredText>) -> Option<String> {
    let mark = row.and_then(StoredText::into_text).filter(|mark| !mark.is_empty())?;
    Some(make(&mark).to_owned())
}

/// How a mark was made: what stands before its last colon.
fn make(mark: &str) -> &str {
    mark.rsplit_once(':').map_or(mark, |(make, _)| make)
}

/// What ends a request beside its status: the password goes, its mark stays; of one that others wrote nobody knows what it
/// was. With a plain password goes what was noted of
/// stored files, which was made with it (`worker::ledger::made_as`).
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

/// What a row that has a submission's key is judged by.
#[derive(QueryableByName)]
pub(super) struct StoredKeeping {
    #[diesel(sql_type = Nullable<Binary>)]
    status: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    mark: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    protected: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    requested_channel: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    allowed_channels: Option<Loose>,
}

/// What a row that has a submission's key means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the same request, which has failed: it may be tried again.
    Failed,
    /// The answer, with nothing to be done.
    Settled(Submitted),
}

impl StoredKeeping {
    pub(super) fn standing(self, request: &NewRequest, client: &Client) -> Standing {
        let has_failed = self.status.as_ref().is_some_and(|status| status.as_str() == Status::Failed.as_str());
        let row = RequestRow {
            tag: request.key.tag.clone(),
            requested_channel: self.requested_channel.as_ref().map(|text| text.as_str().to_owned()),
            allowed_channels: self.allowed_channels.as_ref().map(|text| text.as_str().to_owned()),
            ..RequestRow::default()
        };
        if !client.reader.sees(&row) {
            return Standing::Settled(Submitted::Hidden);
        }
        if !self.agrees_with(request.encryption.as_ref()) {
            return Standing::Settled(Submitted::OtherKey);
        }
        if has_failed { Standing::Failed } else { Standing::Settled(Submitted::Exists) }
    }

    /// Whether the row is a submission's with this password, or with none. A password that others wrote is not known by
    /// any mark, and one with a mark that was made in another way not by this one: it is replaced where the request has
    /// failed, and is another one everywhere else.
    fn agrees_with(self, given: Option<&NewEncryption>) -> bool {
        let (mark, protected) = (text(self.mark).filter(|mark| !mark.is_empty()), read_protected(self.protected));
        let Some(given) = given else { return protected == Protected::No };
        match mark {
            Some(mark) if given.marks.iter().any(|other| make(other) == make(&mark)) => given.marks.contains(&mark),
            _ => protected != Protected::No && text(self.status).as_deref() == Some(Status::Failed.as_str()),
        }
    }
}

pub(super) fn read_protected(value: Option<Loose>) -> Protected {
    match text(value).as_deref() {
        Some("yes") => Protected::Yes,
        Some(_) => Protected::Wiped,
        None => Protected::No,
    }
}

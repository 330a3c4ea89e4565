//! What a row that already has a submission's key means for that submission: the same request, one that has failed and may
//! be tried again, or one that the client must not change.

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Nullable};

use super::encryption::{NewEncryption, Protected, make};
use super::reading::Client;
use super::status::Status;
use super::stored::{LenientText, read_protected, text};
use super::types::{NewRequest, RequestRow, Submitted};

/// What a row that has a submission's key is judged by.
#[derive(QueryableByName)]
pub(super) struct StoredExisting {
    #[diesel(sql_type = Nullable<Binary>)]
    status: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    mark: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    protected: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    requested_channel: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    allowed_channels: Option<LenientText>,
}

/// What a row that has a submission's key means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is the same request, which has failed: it may be tried again.
    Failed,
    /// The answer, with nothing to be done.
    Answer(Submitted),
}

impl StoredExisting {
    pub(super) fn existing(self, request: &NewRequest, client: &Client) -> Existing {
        let has_failed = self.status.as_ref().is_some_and(|status| status.as_str() == Status::Failed.as_str());
        let row = RequestRow {
            tag: request.key.tag.clone(),
            requested_channel: self.requested_channel.as_ref().map(|text| text.as_str().to_owned()),
            allowed_channels: self.allowed_channels.as_ref().map(|text| text.as_str().to_owned()),
            ..RequestRow::default()
        };
        if !client.reader.sees(&row) {
            return Existing::Answer(Submitted::Hidden);
        }
        if !self.agrees_with(request.encryption.as_ref()) {
            return Existing::Answer(Submitted::OtherKey);
        }
        if has_failed { Existing::Failed } else { Existing::Answer(Submitted::Exists) }
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

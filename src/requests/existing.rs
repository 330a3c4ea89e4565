//! What an existing row with the key of a submission means for that submission: it is the same request, it has failed and may
//! be tried again, or the client must not change it.

use super::access::Client;
use super::encryption::{NewEncryption, Protected, scheme};
use super::status::Status;
use super::stored::{LenientText, read_protected, stored_row, text};
use super::types::{NewRequest, RequestRow, Submitted};

stored_row! {
    /// The columns of an existing row that decide about a submission with its key.
    StoredExisting {
        status, mark, protected, requested_channel, allowed_channels,
    }
}

/// What an existing row means for a submission with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is the same request, which has failed: it may be tried again.
    Failed,
    /// The answer; nothing is to be changed.
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

    /// Whether the row has the password of the submission, or neither has one. Where the marks cannot be compared (others
    /// wrote the password without a mark, or the mark has another scheme), the password of a FAILED row is replaced, and any
    /// other row counts as having another password.
    fn agrees_with(self, given: Option<&NewEncryption>) -> bool {
        let (mark, protected) = (text(self.mark).filter(|mark| !mark.is_empty()), read_protected(self.protected));
        let Some(given) = given else { return protected == Protected::No };
        match mark {
            Some(mark) if given.marks.iter().any(|other| scheme(other) == scheme(&mark)) => given.marks.contains(&mark),
            _ => protected != Protected::No && text(self.status).as_deref() == Some(Status::Failed.as_str()),
        }
    }
}

//! What a store fails with, and whether it may pass.

use std::io;

use crate::objects::{self, ObjectError};

/// Why a file could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} in the store: {cause}")]
pub struct StoreError {
    action: &'static str,
    /// The key or directory concerned, for operators.
    pub place: String,
    cause: Cause,
    pub(super) extent: Extent,
}

/// How much of a store fails alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Perhaps only what was asked about this key.
    Key,
    /// One file is not there: others are not concerned.
    OneFile,
    /// Something else is where a file should be.
    NoFile,
    /// The same would have failed under any key.
    AnyKey,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Local(io::Error),
    #[error(transparent)]
    Remote(objects::Cause),
}

impl StoreError {
    pub(super) fn new(action: &'static str, place: &dyn std::fmt::Display, cause: io::Error) -> Self {
        Self { action, place: place.to_string(), cause: Cause::Local(cause), extent: Extent::Key }
    }

    pub(in super::super) fn remote(action: &'static str, error: ObjectError) -> Self {
        let extent = if error.cause.is_of_the_store() { Extent::AnyKey } else { Extent::Key };
        Self { action, place: error.place, cause: Cause::Remote(error.cause), extent }
    }

    pub(super) fn whatever_the_key(self) -> Self {
        Self { extent: Extent::AnyKey, ..self }
    }

    pub(super) fn no_file(self) -> Self {
        Self { extent: Extent::NoFile, ..self }
    }

    pub(super) fn of_one_file(self) -> Self {
        Self { extent: Extent::OneFile, ..self }
    }

    /// Whether something else is where a file should be: a directory, or a symbolic link on the way to it.
    #[must_use]
    pub fn is_no_file(&self) -> bool {
        self.extent == Extent::NoFile
    }

    /// Whether it is that one file is not there.
    #[must_use]
    pub fn is_of_one_file(&self) -> bool {
        self.extent == Extent::OneFile
    }

    /// Whether the store says no to what it is asked (credentials, a name, a size), and not that it cannot do it now.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, InvalidFilename, InvalidInput, PermissionDenied, ReadOnlyFilesystem};
        match &self.cause {
            Cause::Local(cause) => matches!(
                cause.kind(),
                FileTooLarge | InvalidFilename | InvalidInput | PermissionDenied | ReadOnlyFilesystem
            ),
            Cause::Remote(cause) => cause.is_refusal(),
        }
    }

    /// Whether trying again later may help: a full, unreachable or locked store, and one that refuses the credentials, is
    /// put right by its operator, a name that it does not take is not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match &self.cause {
            Cause::Local(cause) => {
                !matches!(cause.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput)
            }
            Cause::Remote(cause) => cause.may_pass(),
        }
    }
}

//! Why a row group could not be read.

use std::io;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// Why a row group could not be read.
pub(super) enum Failure {
    Io(io::Error),
    Parquet(ParquetError),
    /// Something is larger than anything may be; as it follows the file's name.
    TooLarge(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Parquet(error.into())
    }
}

/// A row group has fewer rows than the file says.
pub(super) fn fewer_rows(read: usize, all: usize) -> Failure {
    Failure::Parquet(ParquetError::EOF(format!("{read} rows of {all} are there")))
}

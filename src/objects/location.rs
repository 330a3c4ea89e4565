//! `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`.

use std::fmt;

/// Which kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    /// Amazon S3, and servers that speak its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) cloud: Cloud,
    pub(super) bucket: String,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
}

/// Why a URL names no place. The text names no part of the URL: people put secrets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It begins with something else.
    #[error("object stores are s3://bucket/prefix, az://container/prefix or gs://bucket/prefix")]
    Scheme,
    /// `s3://` or `s3:///prefix`
    #[error("the URL names no bucket; write for example s3://bucket/prefix")]
    NoBucket,
    /// `s3://key:secret@bucket`
    #[error("credentials do not belong in the URL: they come from the environment or the cloud's own files")]
    Credentials,
    /// `s3://bucket?region=…`
    #[error("the URL must not hold `?` or `#`: region and endpoint come from the environment, such as AWS_REGION")]
    Query,
    /// `s3://bucket:9000`
    #[error("a bucket's name has letters, digits, `.`, `_` and `-`; an endpoint comes from the environment")]
    Bucket,
    /// `s3://bucket/a//b`, `s3://bucket/../b`
    #[error("the prefix must not have empty segments, `.`, `..` or control characters")]
    Prefix,
}

impl Location {
    /// The schemes of object stores.
    pub const SCHEMES: [&'static str; 3] = ["s3", "az", "gs"];

    /// Reads a URL. The prefix is taken as it is, without percent-decoding.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let (scheme, rest) = url.split_once("://").ok_or(LocationError::Scheme)?;
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "az" => Cloud::Azure,
            "gs" => Cloud::Google,
            _ => return Err(LocationError::Scheme),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(LocationError::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(LocationError::Query);
        }
        if bucket.is_empty() {
            return Err(LocationError::NoBucket);
        }
        if !bucket.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) || bucket.starts_with('.') {
            return Err(LocationError::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_odd = |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control);
        if rest.ends_with("//") || !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err(LocationError::Prefix);
        }
        Ok(Self { cloud, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl Location {
    /// A place inside this one. `below`: segments with a slash between them.
    #[must_use]
    pub fn within(&self, below: &str) -> Self {
        let prefix = if self.prefix.is_empty() { below.to_owned() } else { format!("{}/{below}", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// What the names of its cloud's variables begin with.
    pub(super) const fn variables(&self) -> &'static str {
        match self.cloud {
            Cloud::S3 => "AWS_",
            Cloud::Azure => "AZURE_",
            Cloud::Google => "GOOGLE_",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.cloud {
            Cloud::S3 => "s3",
            Cloud::Azure => "az",
            Cloud::Google => "gs",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_a_prefix() {
        for (url, cloud, bucket, prefix, shown) in [
            ("s3://b", Cloud::S3, "b", "", "s3://b"),
            ("s3://b/", Cloud::S3, "b", "", "s3://b"),
            ("s3://my.bucket-1/a/b c%2F/", Cloud::S3, "my.bucket-1", "a/b c%2F", "s3://my.bucket-1/a/b c%2F"),
            ("az://reports/x", Cloud::Azure, "reports", "x", "az://reports/x"),
            ("gs://b_1/é", Cloud::Google, "b_1", "é", "gs://b_1/é"),
        ] {
            let location = Location::parse(url).unwrap();
            assert_eq!((location.cloud, location.bucket.as_str(), location.prefix.as_str()), (cloud, bucket, prefix));
            assert_eq!(location.to_string(), shown);
        }
    }

    #[test]
    fn what_names_none_is_told_without_showing_it() {
        for (url, error) in [
            ("reports", LocationError::Scheme),
            ("file://reports", LocationError::Scheme),
            ("S3://reports", LocationError::Scheme),
            ("s3://", LocationError::NoBucket),
            ("s3:///prefix", LocationError::NoBucket),
            ("s3://key:hunter2@bucket/x", LocationError::Credentials),
            ("s3://bucket?region=x", LocationError::Query),
            ("az://c/p?sv=hunter2", LocationError::Query),
            ("s3://bucket/p#x", LocationError::Query),
            ("s3://127.0.0.1:9000/bucket", LocationError::Bucket),
            ("s3://../x", LocationError::Bucket),
            ("s3://b/a//b", LocationError::Prefix),
            ("s3://b//", LocationError::Prefix),
            ("s3://b/../c", LocationError::Prefix),
            ("s3://b/a\nb", LocationError::Prefix),
        ] {
            assert_eq!(Location::parse(url), Err(error), "{url:?}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}

//! A bucket, or a part of one, and what can be done with its objects.

pub(super) mod fetch;
mod upload;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMultipartOptions,
    PutOptions, PutPayload,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::location::Cloud;
use super::open::{self, Client};
use super::sas::AccountKey;
use super::{BucketConfig, Cause, Location, ObjectError, wait};
pub use upload::Upload;

/// What stays as it is in a link.
const LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'~').remove(b'-');
/// Objects that are looked at, or prefixes that are listed, at a time.
const LOOKS: usize = 32;

/// A place in an object store, opened. Keys are relative to the place's prefix; clones share connections.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    account_key: Option<Arc<AccountKey>>,
    signs_nothing: Option<&'static str>,
    location: Location,
}

/// Clients know credentials.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.location)
    }
}

/// An object, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key, relative to the place's prefix.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// The checksum that was noted when it was stored; lists do not tell it.
    pub crc32: Option<u32>,
}

/// What a client that gets the object is told of it.
#[derive(Clone, Debug)]
pub struct Headers {
    /// `Content-Type`
    pub content_type: &'static str,
    /// `Content-Disposition`
    pub content_disposition: String,
    /// A checksum of its bytes, where it is known before they are sent: noted with it, for [`Bucket::look`].
    pub crc32: Option<u32>,
}

/// The name of the checksum among an object's own metadata, such as `x-amz-meta-crc32`.
const CRC32: Attribute = Attribute::Metadata(Cow::Borrowed("crc32"));

impl Headers {
    fn attributes(self) -> Attributes {
        let crc32 = self.crc32.map(|crc32| (CRC32, format!("{crc32:08x}")));
        let headers = [
            (Attribute::ContentType, self.content_type.to_owned()),
            (Attribute::ContentDisposition, self.content_disposition),
        ];
        headers.into_iter().chain(crc32).collect()
    }
}

impl Bucket {
    /// Opens it; reaches nothing.
    ///
    /// # Errors
    /// What the environment says of it makes no sense.
    pub fn open(place: &BucketConfig) -> Result<Self, ObjectError> {
        let Client { store, signer, account_key, signs_nothing } = open::client(&place.location, &place.settings)
            .map_err(|what| ObjectError {
                action: "open",
                place: place.location.to_string(),
                cause: Cause::Settings(what),
            })?;
        Ok(Self { store, signer, account_key, signs_nothing, location: place.location.clone() })
    }

    /// Where it is.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Stores an object whole, over whatever has this key.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>, headers: Headers) -> Result<(), ObjectError> {
        let action = "store";
        let path = self.path(action, key)?;
        let options = PutOptions { attributes: headers.attributes(), ..PutOptions::default() };
        wait(self.store.put_opts(&path, PutPayload::from(bytes.into()), options)).map_err(failed(action, key))?;
        Ok(())
    }

    /// Begins an object that is sent in parts. It is there once it is completed.
    pub fn begin(&self, key: &str, headers: Headers) -> Result<Upload, ObjectError> {
        let action = "store";
        let path = self.path(action, key)?;
        let options = PutMultipartOptions { attributes: headers.attributes(), ..PutMultipartOptions::default() };
        let upload = wait(self.store.put_multipart_opts(&path, options)).map_err(failed(action, key))?;
        Ok(Upload::new(key, self.clone(), upload))
    }

    /// Looks at an object; `None`: there is none.
    pub fn look(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        wait(self.looking(key))
    }

    /// Looks at many objects, in their order.
    #[must_use]
    pub fn look_at_all(&self, keys: &[&str]) -> Vec<Result<Option<Object>, ObjectError>> {
        wait(futures_util::stream::iter(keys.iter().map(|key| self.looking(key))).buffered(LOOKS).collect())
    }

    async fn looking(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        let path = self.path("look at", key)?;
        let headers = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&path, headers).await {
            Ok(found) => {
                let crc32 = found.attributes.get(&CRC32).and_then(|crc32| u32::from_str_radix(crc32, 16).ok());
                Ok(self.object(&found.meta).map(|object| Object { crc32, ..object }))
            }
            // Of a missing bucket a HEAD says no more than of a missing object.
            Err(error) => match ObjectError::of("look at", key, &error) {
                ObjectError { cause: Cause::NotThere, .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// The bytes of an object from `range.start` up to, without, `range.end`.
    pub fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let action = "read";
        let path = self.path(action, key)?;
        wait(self.store.get_range(&path, range)).map_err(failed(action, key))
    }

    /// Copies an object on the store's side, headers too, over whatever has the other key.
    pub fn copy(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        let action = "copy to";
        let (source, target) = (self.path(action, from)?, self.path(action, to)?);
        wait(self.store.copy(&source, &target)).map_err(failed(action, to))
    }

    /// Removes an object; that there is none is no error.
    pub fn remove(&self, key: &str) -> Result<(), ObjectError> {
        let action = "remove";
        let path = self.path(action, key)?;
        match wait(self.store.delete(&path)).map_err(failed(action, key)) {
            Err(ObjectError { cause: Cause::NotThere, .. }) => Ok(()),
            other => other,
        }
    }

    /// Every object below a prefix (whole segments; empty: all of the place), page by page.
    pub fn list(&self, below: &str) -> Result<Listing, ObjectError> {
        let path = if below.is_empty() { self.root() } else { self.path("list", below) }?;
        let prefix = Some(path).filter(|path| !path.as_ref().is_empty());
        Ok(Listing { bucket: self.clone(), objects: self.store.list(prefix.as_ref()) })
    }

    /// Whether links can be signed with what the environment gives; reaches nothing.
    ///
    /// # Errors
    /// They never can: the credentials are of a kind that signs nothing.
    pub fn can_sign(&self) -> Result<(), ObjectError> {
        self.signs_nothing.map_or(Ok(()), |why| {
            let cause = Cause::Settings(why.to_owned());
            Err(ObjectError { action: "sign links to", place: self.location.to_string(), cause })
        })
    }

    /// Links under which anybody can get these objects for so long. May ask the cloud for a key to sign with, once for
    /// all of them.
    pub fn sign(&self, keys: &[&str], holds: Duration) -> Result<Vec<String>, ObjectError> {
        let action = "sign links to";
        self.can_sign()?;
        let paths = keys.iter().map(|key| self.path(action, key).and_then(|path| self.to_be_signed(action, path)));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let signed = wait(self.signer.signed_urls(reqwest::Method::GET, &paths, holds));
        let signed = signed.map_err(|error| ObjectError::of(action, &self.location, &error))?;
        let right = |link| match &self.account_key {
            Some(key) => key.signed(link),
            None => link,
        };
        Ok(signed.into_iter().map(|link| String::from(right(link))).collect())
    }

    /// The crate puts names for Google into links as they are: what a URL has to encode, percent signs first of all, is
    /// encoded here.
    fn to_be_signed(&self, action: &'static str, path: Path) -> Result<Path, ObjectError> {
        match self.location.cloud {
            Cloud::Google => parsed(action, path.as_ref(), &utf8_percent_encode(path.as_ref(), LINK).to_string()),
            Cloud::S3 | Cloud::Azure => Ok(path),
        }
    }

    fn root(&self) -> Result<Path, ObjectError> {
        parsed("list", &self.location.prefix, &self.location.prefix)
    }

    fn path(&self, action: &'static str, key: &str) -> Result<Path, ObjectError> {
        match self.location.prefix.as_str() {
            "" => parsed(action, key, key),
            prefix => parsed(action, key, &format!("{prefix}/{key}")),
        }
    }

    /// `None`: it is not below the prefix.
    fn object(&self, found: &ObjectMeta) -> Option<Object> {
        let name = found.location.as_ref();
        let key = match self.location.prefix.as_str() {
            "" => name,
            prefix => name.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Some(Object { key: key.to_owned(), bytes: found.size, modified: found.last_modified.into(), crc32: None })
    }
}

/// The name as it is: nothing of it is encoded once more.
fn parsed(action: &'static str, key: &str, name: &str) -> Result<Path, ObjectError> {
    Path::parse(name).map_err(|error| ObjectError {
        action,
        place: key.to_owned(),
        cause: Cause::Impossible(error.to_string()),
    })
}

fn failed(action: &'static str, key: &str) -> impl FnOnce(Error) -> ObjectError {
    move |error| ObjectError::of(action, key, &error)
}

/// Objects one after the other. After an error nothing more comes.
pub struct Listing {
    bucket: Bucket,
    objects: BoxStream<'static, Result<ObjectMeta, Error>>,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listing({})", self.bucket.location)
    }
}

impl Iterator for Listing {
    type Item = Result<Object, ObjectError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match wait(self.objects.next())? {
                Ok(found) => {
                    if let Some(object) = self.bucket.object(&found) {
                        return Some(Ok(object));
                    }
                }
                Err(error) => {
                    self.objects = futures_util::stream::empty().boxed();
                    return Some(Err(ObjectError::of("list", &self.bucket.location, &error)));
                }
            }
        }
    }
}

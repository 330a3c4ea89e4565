//! Reading: what a place holds, name by name, and bytes of objects that come while their reader does something else.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::{Error, GetOptions, GetRange, ObjectStore as _};
use tokio::task::JoinHandle;

use super::super::{Cause, ObjectError, spawn, wait};
use super::{Bucket, LOOKS, failed};

/// How often an answer may break off.
const TRIES: usize = 4;

/// What has a name right below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Other names are below it.
    Prefix,
    /// An object.
    Object {
        /// Its length.
        bytes: u64,
        /// What tells one version of it from another, if the store says so.
        etag: Option<String>,
    },
}

/// Some bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// They themselves, all that were asked for.
    pub bytes: Bytes,
    /// Of which version they are, if the store says so.
    pub etag: Option<String>,
}

/// Bytes on their way. Dropped, they are not fetched any further.
#[derive(Debug)]
pub struct Fetch {
    key: String,
    task: JoinHandle<Result<Fetched, ObjectError>>,
}

impl Fetch {
    /// Waits for them.
    pub fn wait(mut self) -> Result<Fetched, ObjectError> {
        wait(&mut self.task).unwrap_or_else(|error| {
            let cause = Cause::Unreachable(error.to_string());
            Err(ObjectError { action: "read", place: self.key.clone(), cause })
        })
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bucket {
    /// The names right below a prefix (whole segments; empty: the place itself), all pages of them. A prefix that has
    /// nothing below it is no error: nothing tells that from one that is not there.
    pub fn names(&self, below: &str) -> Result<BTreeMap<String, Named>, ObjectError> {
        wait(self.list_names(below))
    }

    /// The same for several prefixes, in their order, side by side.
    ///
    /// # Errors
    /// With the place of the prefix among these whose names could not be had; then no more are asked for.
    pub fn names_of(&self, below: &[&str]) -> Result<Vec<BTreeMap<String, Named>>, (usize, ObjectError)> {
        let list = |(at, prefix)| async move { self.list_names(prefix).await.map_err(|error| (at, error)) };
        let lists = futures_util::stream::iter(below.iter().copied().enumerate().map(list));
        wait(lists.buffered(LOOKS).try_collect())
    }

    async fn list_names(&self, below: &str) -> Result<BTreeMap<String, Named>, ObjectError> {
        let path = if below.is_empty() { self.root() } else { self.path("list", below) }?;
        let prefix = Some(&path).filter(|path| !path.as_ref().is_empty());
        let found = again(|| self.store.list_with_delimiter(prefix)).await;
        let found = found.map_err(|error| ObjectError::of("list", &self.location, &error))?;
        let mut names = BTreeMap::new();
        // An object with the prefix's own name is a folder as some programs mark it: `user/`, without a byte.
        for object in found.objects.into_iter().filter(|object| object.location != path) {
            if let Some(name) = object.location.filename() {
                let (bytes, etag) = (object.size, object.e_tag.map(quoted));
                names.insert(name.to_owned(), Named::Object { bytes, etag });
            }
        }
        for prefix in found.common_prefixes {
            if let Some(name) = prefix.filename() {
                names.insert(name.to_owned(), Named::Prefix);
            }
        }
        Ok(names)
    }

    /// Begins to fetch the bytes from `range.start` up to, without, `range.end`, of this version if one is named; those
    /// of any other are refused.
    pub fn fetch(&self, key: &str, range: Range<u64>, etag: Option<String>) -> Result<Fetch, ObjectError> {
        let action = "read";
        let path = self.path(action, key)?;
        let (store, name) = (self.store.clone(), key.to_owned());
        let task = spawn(async move {
            let length = range.end - range.start;
            let options =
                GetOptions { range: Some(GetRange::Bounded(range)), if_match: etag.clone(), ..GetOptions::default() };
            let answer = again(|| async {
                let answer = store.get_opts(&path, options.clone()).await?;
                let found = answer.meta.e_tag.clone().map(quoted);
                Ok((found, answer.bytes().await?))
            });
            let (found, bytes) = answer.await.map_err(failed(action, &name))?;
            // Not every server looks at the condition.
            let is_other = etag.is_some() && found.is_some() && etag != found;
            if is_other || bytes.len() as u64 != length {
                return Err(ObjectError { action, place: name, cause: Cause::Changed });
            }
            Ok(Fetched { bytes, etag: found })
        });
        Ok(Fetch { key: key.to_owned(), task })
    }
}

/// Asks once more where a connection broke in the middle of an answer, which the client itself does for some only.
async fn again<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> Result<T, Error> {
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if broke(&error) => (),
            other => return other,
        }
    }
    ask().await
}

fn broke(error: &Error) -> bool {
    let causes = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let mut kinds = causes.filter_map(|error| error.downcast_ref::<HttpError>()).map(HttpError::kind);
    kinds.any(|kind| !matches!(kind, HttpErrorKind::Connect | HttpErrorKind::Timeout | HttpErrorKind::Request))
}

/// As it stands in headers: Azure's lists leave out the quotes.
fn quoted(etag: String) -> String {
    if etag.ends_with('"') { etag } else { format!("\"{etag}\"") }
}

//! A place in an object store. A file is kept in memory while it is small and sent in parts beyond that; either way it
//! is there at once and whole, when it is published.

use std::io::{self, Write};

use bytes::Bytes;
use crc32fast::Hasher;

use super::super::formats::content_type;
use super::super::key::{ObjectKey, REPORT};
use super::{Content, StoreError, StoredReport, content_disposition};
use crate::objects::{Bucket, Cause, Headers, Listing, Object, ObjectError, Upload};

/// What is sent at a time; a file up to this length goes whole. All parts have this length, which some servers want, so
/// a file has at most 10,000 times as much: S3 takes no more parts.
const PART: usize = 8 << 20;
/// Parts of a file.
const PARTS: u64 = 10_000;

/// What [`Remote::check`] writes. It stays: removing it may be forbidden, and several daemons may look for it.
const PROBE: &str = ".exhaustd-probe";

/// A place in an object store that holds finished files.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    bucket: Bucket,
}

/// A file being written.
#[derive(Debug)]
pub(super) struct NewFile {
    key: ObjectKey,
    bucket: Bucket,
    /// What is not sent yet, at most one part.
    buffer: Vec<u8>,
    /// `None`: it may still go whole.
    upload: Option<Upload>,
    bytes: u64,
    crc32: Hasher,
    fault: Option<ObjectError>,
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct FinishedFile {
    /// The key under which it was begun.
    key: ObjectKey,
    content: Content,
    body: Body,
    /// Bytes that are in memory.
    held: u64,
    /// Where it is in the store, as far as that is needed to copy it from there: the first place, and the last one.
    copies_of: Vec<ObjectKey>,
    /// It is under the key under which it was begun, and nobody has asked for that.
    is_left_over: bool,
}

#[derive(Debug)]
enum Body {
    Whole(Bytes),
    /// Never `None`, but while they are put together.
    Parts(Option<Upload>),
    /// The parts were put together, or lost.
    Sent,
}

impl Remote {
    pub(super) const fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    pub(super) fn create(&self, key: &ObjectKey) -> NewFile {
        NewFile {
            key: key.clone(),
            bucket: self.bucket.clone(),
            buffer: Vec::new(),
            upload: None,
            bytes: 0,
            crc32: Hasher::new(),
            fault: None,
        }
    }

    /// The first time the file is sent, then the store copies it. Its headers are those of the first: all files of a batch
    /// are called the same.
    pub(super) fn publish(&self, file: &mut FinishedFile, key: &ObjectKey) -> Result<(), StoreError> {
        let failed = |error| StoreError::remote("store a file", error);
        if let Body::Parts(upload) = &mut file.body {
            let upload = upload.take();
            file.body = Body::Sent;
            // Parts cannot be renamed: they become a file under the key under which it was begun, and others get copies.
            upload.map_or(Ok(()), Upload::complete).map_err(|error| {
                let error = failed(error);
                if file.key == *key { error } else { error.of_one_file() }
            })?;
            file.is_left_over = true;
            file.copies_of.push(file.key.clone());
        }
        if file.is_left_over && file.key == *key {
            file.is_left_over = false;
            return Ok(());
        }
        while let Some(from) = file.copies_of.last() {
            match self.bucket.copy(from.as_str(), key.as_str()) {
                // Somebody removed it, perhaps with the request that it was for.
                Err(ObjectError { cause: Cause::NotThere, .. }) => drop(file.copies_of.pop()),
                Err(error) => return Err(StoreError::remote("copy a file", error)),
                Ok(()) => {
                    file.copies_of.truncate(1);
                    file.copies_of.push(key.clone());
                    return Ok(());
                }
            }
        }
        let Body::Whole(bytes) = &file.body else {
            let cause = Cause::NotThere;
            let gone = ObjectError { action: "copy", place: file.key.to_string(), cause };
            return Err(StoreError::remote("copy a file", gone).of_one_file());
        };
        let headers = Headers { crc32: Some(file.content.crc32), ..headers(key) };
        self.bucket.put(key.as_str(), bytes.clone(), headers).map_err(failed)?;
        file.copies_of.push(key.clone());
        Ok(())
    }

    pub(super) fn discard(&self, file: &FinishedFile) {
        if file.is_left_over
            && let Err(error) = self.bucket.remove(file.key.as_str())
        {
            log::warn!("a file that nobody wants any more could not be removed error={error}");
        }
    }

    /// Whether the objects have the lengths and checksums; what cannot be looked at is not there. A small object tells its
    /// checksum, also of a copy. One that went in parts was begun before it was known, and is read.
    pub(super) fn has(&self, files: &[(&ObjectKey, Content)]) -> Vec<bool> {
        let keys: Vec<&str> = files.iter().map(|(key, _)| key.as_str()).collect();
        let found = self.bucket.look_at_all(&keys);
        let is = |(&(key, content), found): (&(&ObjectKey, Content), Result<Option<Object>, ObjectError>)| {
            let object = found.ok().flatten().filter(|object| object.bytes == content.bytes);
            object.is_some_and(|object| object.crc32.or_else(|| self.crc32(key, object.bytes)) == Some(content.crc32))
        };
        files.iter().zip(found).map(is).collect()
    }

    /// The checksum of an object of this length, two parts of it in memory at a time; `None`: it cannot be read.
    fn crc32(&self, key: &ObjectKey, bytes: u64) -> Option<u32> {
        let fetch = |start: u64| {
            let range = start..bytes.min(start + PART as u64);
            (!range.is_empty()).then(|| self.bucket.fetch(key.as_str(), range, None)).transpose()
        };
        let (mut crc32, mut start) = (Hasher::new(), 0);
        let mut next = fetch(start).ok()?;
        while let Some(part) = next {
            start += PART as u64;
            next = fetch(start).ok()?;
            crc32.update(&part.wait().ok()?.bytes);
        }
        Some(crc32.finalize())
    }

    /// Writes a small object, and looks at it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let headers = Headers { content_type: "text/plain", content_disposition: "attachment".to_owned(), crc32: None };
        let probed = self.bucket.put(PROBE, b"probe".to_vec(), headers).and_then(|()| self.bucket.look(PROBE));
        match probed.map_err(|error| StoreError::remote("write", at(&self.bucket, error)))? {
            Some(_) => Ok(()),
            None => Err(StoreError::remote(
                "write",
                ObjectError {
                    action: "look at",
                    place: self.bucket.location().to_string(),
                    cause: Cause::Answered("that what was just written is not there".to_owned()),
                },
            )),
        }
    }

    pub(super) fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let found = self.bucket.look(key.as_str()).map_err(|error| StoreError::remote("look at a file", error))?;
        Ok(found.map(|object| object.bytes))
    }

    pub(super) fn remove(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let removed = self.bucket.look(key.as_str()).and_then(|found| match found {
            Some(object) => self.bucket.remove(key.as_str()).map(|()| Some(object.bytes)),
            None => Ok(None),
        });
        removed.map_err(|error| StoreError::remote("remove a file", error))
    }

    pub(super) fn reports(&self) -> Reports {
        let (objects, fault) = match self.bucket.list("") {
            Ok(objects) => (Some(objects), None),
            Err(error) => (None, Some(StoreError::remote("list files", error))),
        };
        Reports { objects, fault }
    }
}

/// Of the whole place, not of one key in it.
fn at(bucket: &Bucket, error: ObjectError) -> ObjectError {
    ObjectError { place: bucket.location().to_string(), ..error }
}

fn headers(key: &ObjectKey) -> Headers {
    Headers { content_type: content_type(key.as_str()), content_disposition: content_disposition(key), crc32: None }
}

impl NewFile {
    /// Sends the buffer as the next part.
    fn send(&mut self) -> Result<(), ObjectError> {
        if self.bytes > PARTS * PART as u64 {
            let cause = Cause::TooLarge("a file of more than 80 GiB");
            return Err(ObjectError { action: "store", place: self.key.to_string(), cause });
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.bucket.begin(self.key.as_str(), headers(&self.key))?),
        };
        upload.part(std::mem::take(&mut self.buffer))
    }

    pub(super) fn finish(mut self) -> Result<FinishedFile, StoreError> {
        if let Some(fault) = self.fault.take() {
            return Err(StoreError::remote("write a file", fault));
        }
        if self.upload.is_some() {
            self.send().map_err(|error| StoreError::remote("write a file", error))?;
        }
        let Self { key, buffer, upload, bytes, crc32, .. } = self;
        // Parts under way are counted where they are sent.
        let held = if upload.is_some() { 0 } else { buffer.capacity() as u64 };
        let body = upload.map_or_else(|| Body::Whole(Bytes::from(buffer)), |upload| Body::Parts(Some(upload)));
        let content = Content { bytes, crc32: crc32.finalize() };
        Ok(FinishedFile { key, content, body, held, copies_of: Vec::new(), is_left_over: false })
    }

    pub(super) fn failed(&self, cause: io::Error) -> StoreError {
        match &self.fault {
            Some(fault) => StoreError::remote("write a file", fault.clone()),
            None => StoreError::new("write a file", &self.key, cause),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(fault) = &self.fault {
            return Err(io::Error::other(fault.to_string()));
        }
        // Only when more comes: a file of exactly one part goes whole, and the last part is never empty.
        if self.buffer.len() == PART
            && !bytes.is_empty()
            && let Err(error) = self.send()
        {
            let told = io::Error::other(error.to_string());
            self.fault = Some(error);
            return Err(told);
        }
        let written = &bytes[..bytes.len().min(PART - self.buffer.len())];
        self.buffer.extend_from_slice(written);
        self.bytes += written.len() as u64;
        self.crc32.update(written);
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FinishedFile {
    pub(super) const fn content(&self) -> Content {
        self.content
    }

    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    /// Waits until all of it has arrived.
    pub(super) fn arrived(&mut self) -> Result<(), StoreError> {
        match &mut self.body {
            Body::Parts(Some(upload)) => upload.arrived().map_err(|error| StoreError::remote("write a file", error)),
            _ => Ok(()),
        }
    }

    pub(super) const fn is_spent(&self) -> bool {
        matches!(self.body, Body::Sent) && self.copies_of.is_empty()
    }
}

/// Reports, page by page.
#[derive(Debug)]
pub(super) struct Reports {
    objects: Option<Listing>,
    fault: Option<StoreError>,
}

impl Iterator for Reports {
    type Item = Result<StoredReport, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.fault.take() {
            return Some(Err(fault));
        }
        for object in self.objects.as_mut()? {
            let object = match object {
                Ok(object) => object,
                Err(error) => return Some(Err(StoreError::remote("list files", error))),
            };
            // Other things may be there, other people's among them.
            let is_report = object.key.rsplit('/').next().is_some_and(|name| name.starts_with(REPORT));
            let key = ObjectKey::parse(&object.key).ok().filter(|_| is_report);
            if let Some((key, origin)) = key.and_then(|key| key.origin().map(|origin| (key, origin))) {
                return Some(Ok(StoredReport { key, origin, bytes: object.bytes, modified: object.modified }));
            }
        }
        None
    }
}

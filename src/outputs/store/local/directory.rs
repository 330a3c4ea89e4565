//! Directories of a store by descriptor. Each step leads from one that is open into one below it, and never through a
//! symbolic link, whatever others change meanwhile. Only the root may be reached through one: that is the operator's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How often a directory is made that somebody else removes: retention removes those that it finds empty.
const TRIES: u32 = 10;
/// Of a directory that is made, under the umask.
const DIRECTORY: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);

/// A directory that is open.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// The root of a store.
    pub(super) fn root(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// A directory in this one.
    pub(super) fn below(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(directory) => Ok(Self(directory)),
            Err(error) => Err(self.why(name, error)),
        }
    }

    /// A directory in this one, made if there is none.
    pub(super) fn made_below(&self, name: &str) -> io::Result<Self> {
        for _ in 0..TRIES {
            match self.below(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
            match fs::mkdirat(&self.0, name, DIRECTORY) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.below(name)
    }

    /// A file in this one, open for reading.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        // Without NONBLOCK a pipe in the place of a file would never open.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, name, flags, Mode::empty()).map_err(|error| self.why(name, error))?;
        let file = File::from(file);
        if file.metadata()?.is_file() { Ok(file) } else { Err(InTheWay::NoFile.into()) }
    }

    /// The length of a file in this one.
    pub(super) fn length(&self, name: &str) -> io::Result<u64> {
        let found = fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => u64::try_from(found.st_size).map_err(io::Error::other),
            FileType::Symlink => Err(InTheWay::Link.into()),
            _ => Err(InTheWay::NoFile.into()),
        }
    }

    /// Removes a file.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes a directory that is empty.
    pub(super) fn remove_directory(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives the file at a path a second name, in this directory. An existing one is never replaced.
    pub(super) fn link(&self, from: &Path, name: &str) -> io::Result<()> {
        Ok(fs::linkat(CWD, from, &self.0, name, AtFlags::empty())?)
    }

    /// Gives the file at a path a name in this directory. It may lose the other one with it: `true`. An existing file is
    /// never replaced.
    pub(super) fn take(&self, from: &Path, name: &str) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        match fs::renameat_with(CWD, from, &self.0, name, fs::RenameFlags::NOREPLACE) {
            // Some file systems cannot do both at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            moved => return Ok(moved.map(|()| true)?),
        }
        self.link(from, name).map(|()| false)
    }

    /// Makes its entries survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.0)?)
    }

    /// What stands in the way: of a symbolic link systems say one thing or another.
    fn why(&self, name: &str, error: Errno) -> io::Error {
        let is_link = || {
            fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
        };
        match error {
            Errno::NOTDIR | Errno::LOOP | Errno::MLINK if is_link() => InTheWay::Link.into(),
            error => error.into(),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is where a file, or a directory that leads to it, should be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum InTheWay {
    #[error("a symbolic link is not followed")]
    Link,
    #[error("it is no file")]
    NoFile,
}

impl From<InTheWay> for io::Error {
    fn from(what: InTheWay) -> Self {
        Self::other(what)
    }
}

/// Whether something else is where a file, or a directory that leads to it, should be.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
        || error.get_ref().and_then(|it| it.downcast_ref::<InTheWay>()).is_some()
}

/// Whether a file system that refuses a second name in this way may have no such thing, or no more of them.
pub(super) fn cannot_link(error: &io::Error) -> bool {
    let no_links = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::XDEV, Errno::MLINK, Errno::NOSYS];
    error.raw_os_error().is_some_and(|code| no_links.iter().any(|errno| errno.raw_os_error() == code))
}

//! Several descriptors behind one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// A descriptor that is readable when one of a set is.
#[derive(Debug)]
pub(crate) struct ReadySet(Epoll);

impl ReadySet {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // It can only fail for a descriptor that is not in the set.
        let _ = self.0.delete(fd);
    }
}

impl AsFd for ReadySet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

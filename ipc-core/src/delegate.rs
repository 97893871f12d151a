//! Reading and writing that is somebody else's: of a whole channel its halves', of a channel of any
//! kind that kind's, and without a deadline that with one.
//!
//! `$to` is a macro that turns a call into the other's: `to!(self, read(buf))`. What is on the way of each
//! message carries `$hot`: `#[inline]` where the other is known, nothing where it is one of several, whose
//! code would come three times over and no longer be inlined into the callers of one.

/// Implements [`Read`](std::io::Read) and [`Inbound`](crate::Inbound).
macro_rules! delegate_inbound {
    ($kind:ident, $to:ident $(, #[$hot:meta])?) => {
        impl std::io::Read for $kind {
            $(#[$hot])?
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                $to!(self, read(buf))
            }
        }

        impl $crate::Inbound for $kind {
            fn inbound(&self) -> std::os::fd::BorrowedFd<'_> {
                $to!(self, inbound())
            }

            $(#[$hot])?
            fn read_deadline(
                &mut self,
                buf: &mut [u8],
                deadline: $crate::Deadline,
            ) -> std::io::Result<usize> {
                $to!(self, read_deadline(buf, deadline))
            }

            fn read_with_fds(
                &mut self,
                buf: &mut [u8],
                fds: &mut Vec<std::os::fd::OwnedFd>,
                deadline: $crate::Deadline,
            ) -> std::io::Result<usize> {
                $to!(self, read_with_fds(buf, fds, deadline))
            }

            fn arm_inbound(&mut self) -> std::io::Result<$crate::Readiness> {
                $to!(self, arm_inbound())
            }

            $(#[$hot])?
            fn poll_inbound(&mut self) -> Option<bool> {
                $to!(self, poll_inbound())
            }
        }
    };
}

/// Implements [`Write`](std::io::Write) and [`Outbound`](crate::Outbound).
macro_rules! delegate_outbound {
    ($kind:ident, $to:ident $(, #[$hot:meta])?) => {
        impl std::io::Write for $kind {
            $(#[$hot])?
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                $to!(self, write(buf))
            }

            $(#[$hot])?
            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                $to!(self, write_vectored(bufs))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                $to!(self, flush())
            }
        }

        impl $crate::Outbound for $kind {
            fn outbound(&self) -> std::os::fd::BorrowedFd<'_> {
                $to!(self, outbound())
            }

            fn is_doorbell(&self) -> bool {
                $to!(self, is_doorbell())
            }

            $(#[$hot])?
            fn write_deadline(
                &mut self,
                bufs: &[std::io::IoSlice<'_>],
                deadline: $crate::Deadline,
            ) -> std::io::Result<usize> {
                $to!(self, write_deadline(bufs, deadline))
            }

            fn write_with_fds(
                &mut self,
                bufs: &[std::io::IoSlice<'_>],
                fds: &[std::os::fd::BorrowedFd<'_>],
                deadline: $crate::Deadline,
            ) -> std::io::Result<usize> {
                $to!(self, write_with_fds(bufs, fds, deadline))
            }

            #[inline]
            fn in_place(&mut self) -> std::io::Result<Option<$crate::Reservation<'_>>> {
                $to!(self, in_place())
            }

            fn arm_outbound(&mut self) -> std::io::Result<$crate::Readiness> {
                $to!(self, arm_outbound())
            }

            fn shutdown(&mut self) -> std::io::Result<()> {
                $to!(self, shutdown())
            }
        }
    };
}

/// Implements [`Read`](std::io::Read) of a half by its `read_deadline`, until its `deadline`.
macro_rules! read_by_deadline {
    ($half:ident) => {
        impl std::io::Read for $half {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let deadline = self.deadline();
                self.read_deadline(buf, deadline)
            }
        }
    };
}

/// Implements [`Write`](std::io::Write) of a half by its `write_deadline`, until its `deadline`.
macro_rules! write_by_deadline {
    ($half:ident) => {
        impl std::io::Write for $half {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                let deadline = self.deadline();
                self.write_deadline(&[std::io::IoSlice::new(buf)], deadline)
            }

            #[inline]
            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                let deadline = self.deadline();
                self.write_deadline(bufs, deadline)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// The reading half of a channel.
macro_rules! to_reader {
    ($channel:tt, $($call:tt)+) => {
        $channel.reader.$($call)+
    };
}

/// The writing half of a channel.
macro_rules! to_writer {
    ($channel:tt, $($call:tt)+) => {
        $channel.writer.$($call)+
    };
}

pub(crate) use {
    delegate_inbound, delegate_outbound, read_by_deadline, to_reader, to_writer, write_by_deadline,
};

//! What the selector can wait for.

use std::fmt::Debug;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use ipc_core::{
    AnyChannel, AnyReader, AnyWriter, Inbound, Outbound, Pipe, PipeReader, PipeWriter, Port,
    Readiness, Ring, RingReader, RingWriter, Socket, SocketReader, SocketWriter,
};

/// What a handler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Bytes, or their end, can be read; a port has somebody to accept.
    Read,
    /// There is room to write.
    Write,
    /// Something out of the ordinary: urgent data of a TCP socket.
    Exception,
}

/// How the system reports a channel's readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// For as long as there is something: a handler may read a little and return.
    #[default]
    Level,
    /// Once per change: a handler reads until nothing is left, or answers
    /// [`Control::Again`](crate::Control::Again).
    Edge,
}

/// Something that a [`Selector`](crate::Selector) can own and wait for.
///
/// Implemented for the channels and ports of `ipc-core`, the ducts of `ipc-marshal`, the sockets of
/// the standard library and, by [`Descriptor`], for anything with a descriptor. The defaults suit
/// whatever lives in the kernel and buffers nothing in the process.
pub trait Source: 'static {
    /// Whether the kernel knows all there is to know about readiness, so that the `arm` methods,
    /// [`pending`](Self::pending) and [`try_flush`](Self::try_flush) need not be asked after every
    /// handler.
    const IN_KERNEL: bool = false;

    /// The descriptor to wait on for reading, and for exceptions.
    fn inbound(&self) -> Option<BorrowedFd<'_>>;

    /// The descriptor to wait on for writing. May be the same one.
    fn outbound(&self) -> Option<BorrowedFd<'_>>;

    /// Whether the descriptors are only a doorbell and readiness is in shared memory: the selector
    /// then waits on both for reading only, and lets the `arm` methods say what a ring meant.
    fn is_doorbell(&self) -> bool {
        false
    }

    /// Whether something can be read, where that is in shared memory: the selector looks in every turn
    /// and for a while before it sleeps, and arms only then. `None` for everything else.
    fn poll_inbound(&mut self) -> Option<bool> {
        None
    }

    /// Says that the selector is about to sleep. [`Readiness::Ready`] when something can be read
    /// already, be it in shared memory or in a buffer of the process.
    ///
    /// # Errors
    ///
    /// What the system says; the selector then treats the source as ready.
    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        Ok(Readiness::Armed)
    }

    /// Says that the selector is about to sleep until there is room.
    ///
    /// # Errors
    ///
    /// What the system says; the selector then treats the source as ready.
    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        Ok(Readiness::Armed)
    }

    /// How many bytes were accepted and not yet handed to the system. While there are any, the
    /// selector calls [`try_flush`](Self::try_flush) whenever there is room.
    fn pending(&self) -> usize {
        0
    }

    /// Whether handlers for writing should run. By default when nothing is pending any more.
    fn has_room(&self) -> bool {
        self.pending() == 0
    }

    /// Hands over as much as there is room for.
    ///
    /// # Errors
    ///
    /// What the system says; running out of room is not an error. After an error the source must
    /// have nothing pending, or the selector will ask again for ever.
    fn try_flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! kernel_source {
    ($($name:ty),* $(,)?) => {$(
        impl Source for $name {
            const IN_KERNEL: bool = true;

            fn inbound(&self) -> Option<BorrowedFd<'_>> {
                Some(self.as_fd())
            }

            fn outbound(&self) -> Option<BorrowedFd<'_>> {
                Some(self.as_fd())
            }
        }
    )*};
}

kernel_source!(
    OwnedFd,
    Port,
    TcpListener,
    TcpStream,
    UdpSocket,
    UnixDatagram,
    UnixListener,
    UnixStream,
);

macro_rules! channel_source {
    ($in_kernel:literal: $($name:ty),* $(,)?) => {$(
        impl Source for $name {
            const IN_KERNEL: bool = $in_kernel;

            fn inbound(&self) -> Option<BorrowedFd<'_>> {
                Some(Inbound::inbound(self))
            }

            fn outbound(&self) -> Option<BorrowedFd<'_>> {
                Some(Outbound::outbound(self))
            }

            fn is_doorbell(&self) -> bool {
                Outbound::is_doorbell(self)
            }

            fn poll_inbound(&mut self) -> Option<bool> {
                Inbound::poll_inbound(self)
            }

            fn arm_inbound(&mut self) -> io::Result<Readiness> {
                Inbound::arm_inbound(self)
            }

            fn arm_outbound(&mut self) -> io::Result<Readiness> {
                Outbound::arm_outbound(self)
            }
        }
    )*};
}

channel_source!(true: Pipe, Socket);
channel_source!(false: AnyChannel, Ring);

macro_rules! reader_source {
    ($in_kernel:literal: $($name:ty),* $(,)?) => {$(
        impl Source for $name {
            const IN_KERNEL: bool = $in_kernel;

            fn inbound(&self) -> Option<BorrowedFd<'_>> {
                Some(Inbound::inbound(self))
            }

            fn outbound(&self) -> Option<BorrowedFd<'_>> {
                None
            }

            fn poll_inbound(&mut self) -> Option<bool> {
                Inbound::poll_inbound(self)
            }

            fn arm_inbound(&mut self) -> io::Result<Readiness> {
                Inbound::arm_inbound(self)
            }
        }
    )*};
}

reader_source!(true: PipeReader, SocketReader);
reader_source!(false: AnyReader, RingReader);

macro_rules! writer_source {
    ($in_kernel:literal: $($name:ty),* $(,)?) => {$(
        impl Source for $name {
            const IN_KERNEL: bool = $in_kernel;

            fn inbound(&self) -> Option<BorrowedFd<'_>> {
                None
            }

            fn outbound(&self) -> Option<BorrowedFd<'_>> {
                Some(Outbound::outbound(self))
            }

            fn is_doorbell(&self) -> bool {
                Outbound::is_doorbell(self)
            }

            fn arm_outbound(&mut self) -> io::Result<Readiness> {
                Outbound::arm_outbound(self)
            }
        }
    )*};
}

writer_source!(true: PipeWriter, SocketWriter);
writer_source!(false: AnyWriter, RingWriter);

/// Makes a [`Source`] of anything that has a descriptor.
#[derive(Debug)]
pub struct Descriptor<T>(pub T);

impl<T: AsFd + Debug + 'static> Source for Descriptor<T> {
    const IN_KERNEL: bool = true;

    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

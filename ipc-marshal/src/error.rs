//! What can go wrong with a message, by operation.

use std::any::type_name;
use std::fmt;
use std::io;

use thiserror::Error;

/// A value could not be turned into bytes: its `Serialize` refused, or the format cannot hold it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{codec} cannot encode {type_name}: {message}")]
pub struct EncodeError {
    codec: &'static str,
    type_name: &'static str,
    message: String,
}

impl EncodeError {
    /// An error of `codec` while encoding a `T`.
    pub fn new<T: ?Sized>(codec: &'static str, message: impl fmt::Display) -> Self {
        Self {
            codec,
            type_name: type_name::<T>(),
            message: message.to_string(),
        }
    }
}

/// A payload is not what the codec writes for the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{codec} cannot decode {type_name}{}: {message}", at(.position))]
pub struct DecodeError {
    codec: &'static str,
    type_name: &'static str,
    position: Option<usize>,
    message: String,
}

fn at(position: &Option<usize>) -> String {
    position.map_or_else(String::new, |byte| format!(" at byte {byte}"))
}

impl DecodeError {
    /// An error of `codec` while decoding a `T`, at `position` bytes into the payload if the codec
    /// tells.
    pub fn new<T: ?Sized>(
        codec: &'static str,
        position: Option<usize>,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            codec,
            type_name: type_name::<T>(),
            position,
            message: message.to_string(),
        }
    }

    /// The name of the codec.
    pub fn codec(&self) -> &'static str {
        self.codec
    }

    /// The type that was asked for, as the compiler spells it.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// How many bytes into the payload the error was found, where the codec tells.
    pub fn position(&self) -> Option<usize> {
        self.position
    }
}

/// The bytes are not frames of the framing that was expected. The stream cannot be trusted after
/// it: every later receive answers the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame is longer than the limit.
    #[error("frame of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// What the frame's header claims.
        size: u64,
        /// The limit.
        max: usize,
    },
    /// The bytes ended inside a frame.
    #[error("the stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// How many bytes are known to be missing; at least one.
        missing: usize,
    },
    /// The first byte of a frame is wrong.
    #[error("frame begins with {got:#04x} where {expected:#04x} is expected")]
    WrongMark {
        /// The byte that begins every frame.
        expected: u8,
        /// What came instead.
        got: u8,
    },
    /// A length that is negative and has no meaning.
    #[error("frame has the length {0}")]
    NegativeLength(i32),
    /// A kind of frame that this version does not know.
    #[error("frame is of the unknown kind {0}")]
    UnknownKind(u8),
    /// Flags that this version does not know, or that mean nothing on this kind of frame.
    #[error("frame carries the unknown flags {0:#010b}")]
    UnknownFlags(u8),
    /// The frame was damaged on its way.
    #[error("frame has the checksum {got:#010x} where {expected:#010x} is expected")]
    Checksum {
        /// What the bytes that arrived give.
        expected: u32,
        /// What the frame says.
        got: u32,
    },
    /// This framing has no place for what the frame should carry.
    #[error("this framing cannot carry {0}")]
    Unsupported(&'static str),
}

/// The peer is not one that this duct can talk to: found before the first message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What arrived is not a hand-shake.
    #[error("the peer sent no hand-shake")]
    Missing,
    /// The peer sent a hand-shake that was not expected, or a second one.
    #[error("the peer sent a hand-shake that was not expected")]
    Unexpected,
    /// The hand-shake is too short or says what it cannot.
    #[error("the peer's hand-shake is malformed")]
    Malformed,
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks version {theirs}, this end {ours}")]
    Version {
        /// This end's version.
        ours: u16,
        /// The peer's version.
        theirs: u16,
    },
    /// The peer uses another codec.
    #[error("the peer uses the codec {theirs}, this end {ours}")]
    Codec {
        /// This end's codec.
        ours: String,
        /// The peer's codec, by name where it is known here.
        theirs: String,
    },
    /// The peer's messages have another schema.
    #[error("the peer's schema is {theirs:#018x}, this end's {ours:#018x}")]
    Schema {
        /// This end's schema hash.
        ours: u64,
        /// The peer's schema hash.
        theirs: u64,
    },
    /// One end sends checksums and the other cannot verify them.
    #[error("the peer lacks a capability that this end needs: {0}")]
    Capability(&'static str),
}

/// One end could not show the other that it knows the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The peer's answer is not one of someone who knows the key.
    #[error("the peer does not know the key")]
    WrongKey,
    /// The peer says that of us.
    #[error("the peer rejected the key")]
    Rejected,
    /// The peer sent something else than a challenge or an answer.
    #[error("the peer does not authenticate itself")]
    Malformed,
    /// The peer wants a digest that is not known here, or one that is not accepted.
    #[error("the peer uses the digest {0}, which is not accepted")]
    Digest(String),
}

/// An error of making a duct: [`Duct::connect`](crate::Duct::connect),
/// [`Duct::accept`](crate::Duct::accept) and [`Duct::greet`](crate::Duct::greet).
#[derive(Debug, Error)]
pub enum ConnectError {
    /// There is no channel, for the reason that the system gives.
    #[error("no connection")]
    Io(#[from] io::Error),
    /// The peer did not say its part of the hand-shake or the authentication in time.
    #[error("timed out in the hand-shake")]
    Timeout,
    /// The peer closed its end or died in the hand-shake: perhaps it refused us.
    #[error("the peer disconnected in the hand-shake")]
    Disconnected,
    /// The peer was refused.
    #[error("hand-shake failed")]
    Handshake(#[source] HandshakeError),
    /// One end does not know the key, or does not ask for it.
    #[error("authentication failed")]
    Auth(#[source] AuthError),
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Io(error) => error,
            ConnectError::Timeout => io::ErrorKind::TimedOut.into(),
            ConnectError::Disconnected => io::ErrorKind::UnexpectedEof.into(),
            ConnectError::Handshake(error) => Self::new(io::ErrorKind::InvalidData, error),
            ConnectError::Auth(error) => Self::new(io::ErrorKind::PermissionDenied, error),
        }
    }
}

/// An error of [`Duct::send`](crate::Duct::send), `send_timeout` and `send_deadline`, and of the
/// same methods of [`Sender`](crate::Sender). Every variant owns the value that was not sent.
#[derive(Error)]
pub enum SendError<T> {
    /// The peer closed its end or died.
    #[error("the peer has disconnected")]
    Disconnected(T),
    /// Out of time: the peer does not read fast enough. Nothing of the value was sent.
    #[error("timed out waiting for room")]
    Timeout(T),
    /// The value's frame is longer than this end may send or the peer accepts.
    #[error("message of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The value.
        value: T,
        /// The encoded size, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The codec cannot encode the value.
    #[error("message cannot be encoded")]
    Encode {
        /// The value.
        value: T,
        /// Why.
        source: EncodeError,
    },
    /// The peer was refused, or refused us, before the first message.
    #[error("hand-shake failed")]
    Handshake {
        /// The value.
        value: T,
        /// Why.
        source: HandshakeError,
    },
    /// The system refused for another reason.
    #[error("channel failed")]
    Io {
        /// The value.
        value: T,
        /// Why.
        source: io::Error,
    },
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Disconnected(value)
            | Self::Timeout(value)
            | Self::TooLarge { value, .. }
            | Self::Encode { value, .. }
            | Self::Handshake { value, .. }
            | Self::Io { value, .. } => value,
        }
    }
}

/// An error of [`Duct::try_send`](crate::Duct::try_send) and
/// [`Sender::try_send`](crate::Sender::try_send). Every variant owns the value that was not sent.
#[derive(Error)]
pub enum TrySendError<T> {
    /// There is no room now, an earlier frame is still on its way, or another thread is sending.
    #[error("no room for the message")]
    Full(T),
    /// The peer closed its end or died.
    #[error("the peer has disconnected")]
    Disconnected(T),
    /// The value's frame is longer than this end may send or the peer accepts.
    #[error("message of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The value.
        value: T,
        /// The encoded size, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The codec cannot encode the value.
    #[error("message cannot be encoded")]
    Encode {
        /// The value.
        value: T,
        /// Why.
        source: EncodeError,
    },
    /// The peer was refused, or refused us, before the first message.
    #[error("hand-shake failed")]
    Handshake {
        /// The value.
        value: T,
        /// Why.
        source: HandshakeError,
    },
    /// The system refused for another reason.
    #[error("channel failed")]
    Io {
        /// The value.
        value: T,
        /// Why.
        source: io::Error,
    },
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value)
            | Self::Disconnected(value)
            | Self::TooLarge { value, .. }
            | Self::Encode { value, .. }
            | Self::Handshake { value, .. }
            | Self::Io { value, .. } => value,
        }
    }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Timeout(value) => Self::Full(value),
            SendError::Disconnected(value) => Self::Disconnected(value),
            SendError::TooLarge { value, size, max } => Self::TooLarge { value, size, max },
            SendError::Encode { value, source } => Self::Encode { value, source },
            SendError::Handshake { value, source } => Self::Handshake { value, source },
            SendError::Io { value, source } => Self::Io { value, source },
        }
    }
}

/// An error of [`Duct::send_acked`](crate::Duct::send_acked).
#[derive(Error)]
pub enum AckError<T> {
    /// The value was not sent, and comes back.
    #[error("message was not sent")]
    Send(#[source] SendError<T>),
    /// The value was sent, and the peer did not receive it in time. It may still do so.
    #[error("timed out waiting for the acknowledgement")]
    Timeout,
    /// The value was sent, and the peer closed its end or died before it received it, as far as is
    /// known.
    #[error("the peer disconnected before it acknowledged the message")]
    Disconnected,
    /// The peer received the message and could not decode it.
    #[error("the peer could not decode the message")]
    Refused,
    /// The peer sent more messages before the acknowledgement than the payload limit has room for.
    /// They can be received.
    #[error("too many messages came before the acknowledgement")]
    Full,
    /// What came instead of the acknowledgement is an error.
    #[error("no acknowledgement came")]
    Recv(#[source] RecvError),
}

/// An error of [`Duct::recv`](crate::Duct::recv), `recv_timeout` and `recv_deadline`, and of the
/// same methods of [`Receiver`](crate::Receiver).
#[derive(Debug, Error)]
pub enum RecvError {
    /// The peer closed its end or died, and every message it sent has been received.
    #[error("the peer has disconnected")]
    Disconnected,
    /// Out of time. What has arrived of the next message is kept.
    #[error("timed out waiting for a message")]
    Timeout,
    /// The peer closed its end or died inside a frame.
    #[error("the peer disconnected {missing} bytes before the end of a frame")]
    Truncated {
        /// How many bytes are known to be missing; at least one.
        missing: usize,
    },
    /// The peer announced a frame longer than the limit. The duct cannot be received from again.
    #[error("frame of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// What the frame's header claims, in bytes.
        size: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// The peer does not speak this framing. The duct cannot be received from again.
    #[error("the peer broke the framing")]
    Protocol(#[source] FrameError),
    /// The payload is not a value of the type. The frame is gone; the next may be received.
    #[error("message cannot be decoded")]
    Decode(#[source] DecodeError),
    /// The peer was refused before its first message.
    #[error("hand-shake failed")]
    Handshake(#[source] HandshakeError),
    /// The message came with a number of descriptors that the call does not take. They are closed
    /// and the message is gone; the next may be received.
    #[error("message carries {got} descriptors where {expected} are expected")]
    Descriptors {
        /// How many the call takes.
        expected: usize,
        /// How many the message carries.
        got: usize,
    },
    /// The system refused for another reason.
    #[error("channel failed")]
    Io(#[source] io::Error),
}

impl From<FrameError> for RecvError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { size, max } => Self::TooLarge { size, max },
            FrameError::Truncated { missing } => Self::Truncated { missing },
            other => Self::Protocol(other),
        }
    }
}

/// An error of [`Duct::try_recv`](crate::Duct::try_recv) and
/// [`Receiver::try_recv`](crate::Receiver::try_recv).
#[derive(Debug, Error)]
pub enum TryRecvError {
    /// No whole message is there yet.
    #[error("no message is there")]
    Empty,
    /// The peer closed its end or died, and every message it sent has been received.
    #[error("the peer has disconnected")]
    Disconnected,
    /// The peer closed its end or died inside a frame.
    #[error("the peer disconnected {missing} bytes before the end of a frame")]
    Truncated {
        /// How many bytes are known to be missing; at least one.
        missing: usize,
    },
    /// The peer announced a frame longer than the limit. The duct cannot be received from again.
    #[error("frame of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// What the frame's header claims, in bytes.
        size: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// The peer does not speak this framing. The duct cannot be received from again.
    #[error("the peer broke the framing")]
    Protocol(#[source] FrameError),
    /// The payload is not a value of the type. The frame is gone; the next may be received.
    #[error("message cannot be decoded")]
    Decode(#[source] DecodeError),
    /// The peer was refused before its first message.
    #[error("hand-shake failed")]
    Handshake(#[source] HandshakeError),
    /// The message came with a number of descriptors that the call does not take. They are closed
    /// and the message is gone; the next may be received.
    #[error("message carries {got} descriptors where {expected} are expected")]
    Descriptors {
        /// How many the call takes.
        expected: usize,
        /// How many the message carries.
        got: usize,
    },
    /// The system refused for another reason.
    #[error("channel failed")]
    Io(#[source] io::Error),
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Timeout => Self::Empty,
            RecvError::Disconnected => Self::Disconnected,
            RecvError::Truncated { missing } => Self::Truncated { missing },
            RecvError::TooLarge { size, max } => Self::TooLarge { size, max },
            RecvError::Protocol(source) => Self::Protocol(source),
            RecvError::Decode(source) => Self::Decode(source),
            RecvError::Handshake(source) => Self::Handshake(source),
            RecvError::Descriptors { expected, got } => Self::Descriptors { expected, got },
            RecvError::Io(source) => Self::Io(source),
        }
    }
}

/// Shows an error whose value need not be showable.
fn debug_without_value(
    name: &str,
    error: &dyn fmt::Display,
    source: Option<&dyn fmt::Debug>,
    out: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(out, "{name}({error}")?;
    if let Some(source) = source {
        write!(out, ": {source:?}")?;
    }
    out.write_str(")")
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source: Option<&dyn fmt::Debug> = match self {
            Self::Disconnected(_) | Self::Timeout(_) | Self::TooLarge { .. } => None,
            Self::Encode { source, .. } => Some(source),
            Self::Handshake { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
        };
        debug_without_value("SendError", self, source, out)
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source: Option<&dyn fmt::Debug> = match self {
            Self::Full(_) | Self::Disconnected(_) | Self::TooLarge { .. } => None,
            Self::Encode { source, .. } => Some(source),
            Self::Handshake { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
        };
        debug_without_value("TrySendError", self, source, out)
    }
}

impl<T> fmt::Debug for AckError<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source: Option<&dyn fmt::Debug> = match self {
            Self::Timeout | Self::Disconnected | Self::Refused | Self::Full => None,
            Self::Send(source) => Some(source),
            Self::Recv(source) => Some(source),
        };
        debug_without_value("AckError", self, source, out)
    }
}

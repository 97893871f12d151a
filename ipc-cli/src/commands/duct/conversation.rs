//! One peer, from the hand-shake to its end.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use crossbeam_channel::{Receiver as Channel, select};
use ipc_core::{AnyChannel, Deadline};
use ipc_marshal::{
    AnyCodec, AuthKey, AuthRole, Duct, DuctOptions, Framing, Receiver, RecvError, SendError, Sender,
};
use serde_json::Value;

use super::lines::{Faults, Lines};
use super::payload;
use crate::output::Output;

/// How long a peer may take for the hand-shake and the authentication.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long standard input may be silent after the peer has sent its last: it may still receive, or
/// be gone, and only a message would tell.
const GRACE: Duration = Duration::from_millis(500);

/// How long a send waits for room before it looks whether there is still a conversation.
const PATIENCE: Duration = Duration::from_millis(200);

/// What every conversation of this run has in common.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) framing: Framing,
    pub(super) codec: AnyCodec,
    pub(super) key: Option<AuthKey>,
    pub(super) faults: Faults,
    /// What is sent; with `None`, everything is sent back.
    pub(super) values: Option<Lines>,
    /// A value whose peer was gone when its turn came: it is for the next.
    pub(super) unsent: Mutex<Option<Value>>,
    /// Set when standard output cannot be written to, which ends everything.
    pub(super) mute: AtomicBool,
}

impl Terms {
    /// Talks to the peer behind `channel` until it is gone. Blocks.
    ///
    /// # Errors
    ///
    /// When the peer is refused or does not keep to the framing, and when standard output cannot be
    /// written to.
    pub(super) fn converse(&self, channel: AnyChannel, role: AuthRole) -> Result<()> {
        let mut duct: Duct<(), (), AnyCodec> = DuctOptions::new()
            .codec(self.codec)
            .framing(self.framing)
            .handshake(true)
            .send_timeout(PATIENCE)
            .from_channel(channel);
        match &self.key {
            Some(key) => duct.authenticate(key, role, Deadline::after(HANDSHAKE))?,
            None => duct.greet(HANDSHAKE)?,
        }
        match &self.values {
            None => self.echo(duct),
            Some(lines) => self.exchange(duct, lines),
        }
    }

    fn echo(&self, mut duct: Duct<(), (), AnyCodec>) -> Result<()> {
        loop {
            let received = duct.recv_with(Deadline::Never, |message| message.bytes().to_vec());
            let Some(payload) = or_end(received)? else {
                return Ok(());
            };
            self.print(&payload)?;
            match duct.send_bytes(&payload, Deadline::Never) {
                Ok(()) => {}
                Err(SendError::Disconnected(())) => return Ok(()),
                Err(error) => return Err(error).context("cannot send a message back"),
            }
        }
    }

    /// Sends on one thread and receives on this one, so that neither waits for the other.
    fn exchange(&self, duct: Duct<(), (), AnyCodec>, lines: &Lines) -> Result<()> {
        let (sender, receiver) = duct.split().context("cannot split the duct")?;
        let (told, over) = crossbeam_channel::bounded(0);
        let broken = AtomicBool::new(false);
        thread::scope(|scope| {
            let broken = &broken;
            let sending = scope.spawn(move || self.send_values(sender, lines, &over, broken));
            let received = self.print_all(receiver);
            // Relaxed: the other thread acts on it soon enough.
            broken.store(received.is_err(), Ordering::Relaxed);
            // Closing it tells the other thread.
            drop(told);
            let sent = sending.join().expect("sending does not panic");
            received.and(sent)
        })
    }

    fn print_all(&self, mut receiver: Receiver<(), AnyCodec>) -> Result<()> {
        loop {
            let received =
                receiver.recv_with(Deadline::Never, |message| self.print(message.bytes()));
            match or_end(received)? {
                None => return Ok(()),
                Some(printed) => printed?,
            }
        }
    }

    /// Prints a message; one that is none of the codec's is reported instead.
    fn print(&self, payload: &[u8]) -> Result<()> {
        let value = payload::decode(self.codec, payload);
        match value {
            Ok(value) => {
                let mut output = Output::open()?;
                let written = output.line(value).and_then(|()| output.flush());
                if written.is_err() {
                    // Relaxed: read after this conversation is over.
                    self.mute.store(true, Ordering::Relaxed);
                }
                written
            }
            Err(error) => {
                let length = payload.len();
                let what = format!("cannot read a message of {length} bytes");
                self.faults.report(&error.context(what));
                Ok(())
            }
        }
    }

    /// Sends what standard input has until it ends, the peer is gone or the conversation is broken,
    /// and then ends the sending direction.
    fn send_values(
        &self,
        sender: Sender<(), AnyCodec>,
        lines: &Lines,
        over: &Channel<()>,
        broken: &AtomicBool,
    ) -> Result<()> {
        let unsent = || self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = unsent().take();
        while !broken.load(Ordering::Relaxed) {
            let value = match next.take() {
                Some(value) => value,
                None => match next_value(lines, over) {
                    Some(value) => value,
                    None => break,
                },
            };
            let payload = match payload::encode(self.codec, &value) {
                Ok(payload) => payload,
                Err(error) => {
                    self.faults.report(&error.context("cannot send a line"));
                    continue;
                }
            };
            match sender.send_bytes(&payload, Deadline::after(PATIENCE)) {
                Ok(()) => {}
                Err(SendError::Timeout(())) if !broken.load(Ordering::Relaxed) => {
                    // Nothing of it was sent: the peer is slow.
                    next = Some(value);
                }
                Err(SendError::Disconnected(()) | SendError::Timeout(())) => {
                    *unsent() = Some(value);
                    return Ok(());
                }
                Err(error @ SendError::TooLarge { .. }) => {
                    let error = Error::new(error).context("cannot send a line");
                    self.faults.report(&error);
                }
                Err(error) => return Err(error).context("cannot send a line"),
            }
        }
        flush(&sender, broken)
    }
}

/// Writes the rest of the last message, which a peer may be slow to read.
fn flush(sender: &Sender<(), AnyCodec>, broken: &AtomicBool) -> Result<()> {
    while !broken.load(Ordering::Relaxed) {
        match sender.flush() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            flushed => return flushed.context("cannot send the last line"),
        }
    }
    Ok(())
}

/// The next value to send, until there are no more or the peer seems to be gone.
fn next_value(lines: &Lines, over: &Channel<()>) -> Option<Value> {
    select! {
        recv(lines.values) -> value => return value.ok(),
        recv(over) -> _ => {}
    }
    lines.next_within(GRACE)
}

/// What was received, or nothing when the peer has closed its end.
fn or_end<T>(received: Result<T, RecvError>) -> Result<Option<T>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(RecvError::Disconnected) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

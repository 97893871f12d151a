//! The arbiter's side: who may do what.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc_core::{Address, Channel, Deadline, Port};
use ipc_marshal::{AuthKey, AuthRole, Duct, DuctOptions, Receiver, RecvError, Sender};

use super::call::{Call, Count, Known};
use super::client::Reference;
use super::wire::{Request, Response, SCHEMA};
use crate::{Access, Actor, Arbiter, Proxy};

/// How long a stranger may take to prove that it knows the key.
const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a listener and its connections look whether they shall end.
const LOOK: Duration = Duration::from_millis(250);

/// How an arbiter is reached by other programs.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    key: Option<AuthKey>,
    connections_max: usize,
    in_flight_max: usize,
    payload_len_max: usize,
}

impl Default for RemoteOptions {
    /// No key, 64 connections, 1024 messages under way per connection, 64 KiB per message.
    fn default() -> Self {
        Self {
            key: None,
            connections_max: 64,
            in_flight_max: 1024,
            payload_len_max: 64 << 10,
        }
    }
}

impl RemoteOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Callers must know this key. Both sides prove it by HMAC-SHA-256 over the other's random
    /// challenge; it never travels. What follows is neither encrypted nor signed.
    #[must_use]
    pub fn key(mut self, key: AuthKey) -> Self {
        self.key = Some(key.sha256_only());
        self
    }

    /// How many connections there may be, half-open ones included.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count;
        self
    }

    /// How many messages of one connection may be under way; more are answered with
    /// [`Full`](AskError::Full).
    #[must_use]
    pub fn in_flight_max(mut self, count: usize) -> Self {
        self.in_flight_max = count;
        self
    }

    /// The longest message, in bytes. Longer ones end the connection before they are read.
    #[must_use]
    pub fn payload_len_max(mut self, bytes: usize) -> Self {
        self.payload_len_max = bytes;
        self
    }
}

/// A place where other programs reach the actors of an arbiter. Dropping it closes it and all its
/// connections, within half a second.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Arbiter {
    /// Lets other programs reach this arbiter's actors by name at `address`.
    ///
    /// Who may do what: over TCP a key is required, even on the loopback interface, and a caller that
    /// knows it has [`Access::Authenticated`]. Over a unix socket callers of the same user have
    /// [`Access::Peer`], after proving the key if there is one; those of other users are refused
    /// without a key and have [`Access::Authenticated`] with it. Messages are registered with
    /// [`Access::Peer`] unless another level is named, so over TCP nothing but `ping`, `echo` and
    /// `info` works before somebody has decided that it shall.
    ///
    /// Each connection has two threads, so that a caller that is slow, silent or hostile holds up
    /// nobody else.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for TCP without a key, else what the system
    /// says.
    pub fn listen(&self, address: &Address, options: RemoteOptions) -> io::Result<Listener> {
        let local = !matches!(address, Address::Tcp(_));
        if !local && options.key.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "actors are not reachable over TCP without a key",
            ));
        }
        let mut port = Port::bind(address)?;
        let address = port.address().clone();
        let end = Arc::new(AtomicBool::new(false));
        let (arbiter, ended) = (self.clone(), Arc::clone(&end));
        let thread = thread::Builder::new()
            .name("actors-listen".to_owned())
            .spawn(move || {
                let open = Arc::new(AtomicUsize::new(0));
                // Relaxed everywhere: flags and counters that order nothing else.
                while !ended.load(Ordering::Relaxed) {
                    let Ok(channel) = port.accept_timeout(LOOK) else {
                        continue;
                    };
                    if open.load(Ordering::Relaxed) >= options.connections_max {
                        // Dropped at once: those who are in go before those who come.
                        continue;
                    }
                    let guest = Guest {
                        arbiter: arbiter.clone(),
                        options: options.clone(),
                        local,
                        end: Arc::clone(&ended),
                        open: Count::one_more(&open),
                    };
                    let guests = thread::Builder::new().name("actors-remote".to_owned());
                    // Without a thread for it, the caller is dropped, which it sees.
                    drop(guests.spawn(move || {
                        let options = guest.duct_options();
                        guest.receive(options.from_channel(channel));
                    }));
                }
            })?;
        Ok(Listener {
            address,
            end,
            thread: Some(thread),
        })
    }
}

impl Listener {
    /// Where it listens; the port that the system has chosen, for one.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What another process needs to reach an actor of this arbiter; it can be sent in a message. It
    /// holds no key and no setting.
    #[must_use]
    pub fn reference<A: Actor>(&self, proxy: &Proxy<A>) -> Reference<A> {
        Reference::new(
            self.address.to_string(),
            proxy.name().to_owned(),
            proxy.id(),
        )
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic in it has been printed.
            drop(thread.join());
        }
    }
}

/// A caller.
struct Guest {
    arbiter: Arbiter,
    options: RemoteOptions,
    local: bool,
    end: Arc<AtomicBool>,
    open: Count,
}

type GuestDuct = Duct<Response, Request>;

impl Guest {
    fn duct_options(&self) -> DuctOptions {
        DuctOptions::new()
            .payload_len_max(self.options.payload_len_max)
            .schema(SCHEMA)
            .handshake(true)
            .handshake_timeout(AUTH_TIMEOUT)
            .send_timeout(AUTH_TIMEOUT)
    }

    /// Finds out who it is.
    fn admit(&self, duct: &mut GuestDuct) -> Option<Access> {
        let own = self.local
            && matches!(
                duct.channel().peer_credentials(),
                Ok(Some(peer)) if Some(peer.uid) == own_uid()
            );
        match &self.options.key {
            Some(key) => {
                let deadline = Deadline::after(AUTH_TIMEOUT);
                duct.authenticate(key, AuthRole::Listener, deadline).ok()?;
                Some(if own {
                    Access::Peer
                } else {
                    Access::Authenticated
                })
            }
            None => own.then_some(Access::Peer),
        }
    }

    fn receive(self, mut duct: GuestDuct) {
        let Some(access) = self.admit(&mut duct) else {
            return;
        };
        let Ok((sender, receiver)) = duct.split() else {
            return;
        };
        let (answers, outgoing) = mpsc::sync_channel(self.options.in_flight_max.max(1) + 1);
        let cut = Arc::new(AtomicBool::new(false));
        let writer = {
            let cut = Arc::clone(&cut);
            let writing = thread::Builder::new().name("actors-answers".to_owned());
            writing.spawn(move || write(&sender, &outgoing, &cut))
        };
        let Ok(writer) = writer else { return };
        let in_flight = Arc::new(AtomicUsize::new(0));
        let in_flight_max = self.options.in_flight_max;
        let call = Call {
            arbiter: self.arbiter.clone(),
            access,
            answers,
            in_flight,
            in_flight_max,
            cut,
        };
        self.serve(receiver, &call);
        // Messages may still be under way and hold the other end of the queue: the writer is told.
        call.cut.store(true, Ordering::Relaxed);
        drop(call);
        drop(self.open);
        drop(writer.join());
    }

    fn serve(&self, mut receiver: Receiver<Request>, call: &Call) {
        let mut known = Known::new();
        while !self.end.load(Ordering::Relaxed) && !call.cut.load(Ordering::Relaxed) {
            match receiver.recv_timeout(LOOK) {
                Ok(request) => call.take(request, &mut known),
                Err(RecvError::Timeout) => {}
                // Gone, or it sends what makes no sense: it gets no second chance.
                Err(_) => return,
            }
        }
    }
}

fn write(sender: &Sender<Response>, answers: &mpsc::Receiver<Response>, cut: &AtomicBool) {
    loop {
        match answers.recv_timeout(LOOK) {
            Ok(answer) => {
                if sender.send(answer).is_err() {
                    cut.store(true, Ordering::Relaxed);
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) if !cut.load(Ordering::Relaxed) => {}
            Err(_) => return,
        }
    }
}

/// The user this process runs as, as the owner of its own entry in the process table, or of what it
/// makes where there is no such table.
fn own_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self")
        .ok()
        .map(|metadata| metadata.uid())
}

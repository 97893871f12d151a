//! The arbiter's side: who is let in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Channel, Deadline, Port, Socket};
use ipc_marshal::{AuthKey, DuctOptions};

use super::bucket::Bucket;
use super::call::{Call, Load, Share};
use super::client::Reference;
use super::greeting::{self, GREETING_LEN_MAX, Greeted, Wire};
use super::options::RemoteOptions;
use super::seal::SEAL_LEN;
use super::stats::{Counters, ListenerStats};
use super::wire::SCHEMA;
use crate::{Access, Actor, ActorId, Arbiter, Proxy};

/// How long a stranger may take to prove that it knows the key.
const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// When one who has failed is told so, by the end of the connection: whatever was wrong, and not at
/// once, so that trying is slow.
const FAILURE_DELAY: Duration = Duration::from_millis(300);
/// How often a listener and its connections look whether they shall end.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// A place where other programs reach the actors of an arbiter. Dropping it closes it and all its
/// connections, within half a second.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    end: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Arbiter {
    /// Lets other programs reach this arbiter's actors by name at `address`.
    ///
    /// Who may do what: over TCP a key is required, even on the loopback interface, and a caller that
    /// knows it has [`Access::Authenticated`] or the level that was given with the key. Over a unix
    /// socket callers of the same user have [`Access::Peer`], after proving a key if there is one; those
    /// of other users need a key. Messages are registered with [`Access::Peer`] unless another level is
    /// named, so over TCP nothing but `ping`, `echo`, `info` and `tree` works before somebody has
    /// decided that it shall. Stopping, killing and changing things needs `Peer`.
    ///
    /// With a key both sides prove that they know it, and every frame after that is signed: one that
    /// was forged, changed, repeated, left out or turned back ends the connection. Nothing is
    /// encrypted; whoever can listen on the wire can read along.
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
        if !local && options.keys.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "actors are not reachable over TCP without a key",
            ));
        }
        let port = Port::bind(address)?;
        let address = port.address().clone();
        let (end, counters) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let house = House {
            arbiter: self.clone(),
            keys: options.keys.iter().map(|(key, _)| key.clone()).collect(),
            options,
            number: ActorId::next().to_u64(),
            local,
            end: Arc::clone(&end),
            half_open: Arc::default(),
            open: Arc::default(),
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new()
            .name("actors-listen".to_owned())
            .spawn(move || Arc::new(house).receive(port))?;
        Ok(Listener {
            address,
            end,
            counters,
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

    /// What has come to it so far.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        self.counters.read()
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

/// What all connections of a listener share.
struct House {
    arbiter: Arbiter,
    options: RemoteOptions,
    keys: Vec<AuthKey>,
    /// Which listener of which run this is.
    number: u64,
    local: bool,
    end: Arc<AtomicBool>,
    half_open: Arc<Load>,
    open: Arc<Load>,
    counters: Arc<Counters>,
}

impl House {
    fn receive(self: Arc<Self>, mut port: Port) {
        // Relaxed everywhere: flags and counters that order nothing else.
        while !self.end.load(Ordering::Relaxed) {
            let Ok(channel) = port.accept_timeout(LOOK) else {
                continue;
            };
            if self.half_open.count() >= self.options.half_open_max {
                // Dropped at once: those who are at the door go before those who come.
                self.counters.refused();
                continue;
            }
            let (house, share) = (Arc::clone(&self), Share::of(&self.half_open, 0));
            let guests = thread::Builder::new().name("actors-remote".to_owned());
            // Without a thread for it, the caller is dropped, which it sees.
            drop(guests.spawn(move || house.meet(channel, share)));
        }
    }

    fn meet(&self, channel: AnyChannel, at_the_door: Share) {
        let options = DuctOptions::new()
            .payload_len_max(self.options.payload_len_max.saturating_add(SEAL_LEN + 64))
            .schema(SCHEMA)
            .handshake(true)
            .handshake_timeout(AUTH_TIMEOUT)
            .send_timeout(AUTH_TIMEOUT);
        let mut wire: Wire = options.from_channel(channel);
        let Some(greeted) = self.admit(&mut wire) else {
            return;
        };
        drop(at_the_door);
        if self.open.count() >= self.options.connections_max {
            self.counters.refused();
            return;
        }
        let _inside = Share::of(&self.open, 0);
        self.counters.admitted();
        self.serve(wire, greeted);
    }

    /// Finds out who it is.
    fn admit(&self, wire: &mut Wire) -> Option<Greeted> {
        let begun = Instant::now();
        let own = self.local && is_own_user(wire.channel());
        let grant = |proved: Option<usize>| match proved {
            Some(index) => {
                let given = self.options.keys.get(index).and_then(|(_, access)| *access);
                Some(given.unwrap_or(if own {
                    Access::Peer
                } else {
                    Access::Authenticated
                }))
            }
            None if self.keys.is_empty() && own => Some(Access::Peer),
            None => self.options.strangers.then_some(Access::Public),
        };
        let limit = wire.limit_payload(GREETING_LEN_MAX);
        let deadline = Deadline::after(AUTH_TIMEOUT);
        match greeting::receive(wire, &self.keys, self.number, deadline, grant) {
            Ok(greeted) => {
                wire.limit_payload(limit);
                Some(greeted)
            }
            Err(_) => {
                self.counters.failed();
                while begun.elapsed() < FAILURE_DELAY && !self.end.load(Ordering::Relaxed) {
                    thread::park_timeout(FAILURE_DELAY.saturating_sub(begun.elapsed()));
                }
                None
            }
        }
    }

    fn serve(&self, wire: Wire, greeted: Greeted) {
        let Ok((sender, receiver)) = wire.split() else {
            return;
        };
        // Twice: answers that wait, and those to what is under way.
        let room = self.options.in_flight_max.max(1).saturating_mul(2) + 2;
        let (answers, outgoing) = mpsc::sync_channel(room);
        let cut = Arc::new(AtomicBool::new(false));
        let writer = {
            let (cut, counters) = (Arc::clone(&cut), Arc::clone(&self.counters));
            let (seal, reader) = (greeted.outbound, thread::current());
            let writing = thread::Builder::new().name("actors-answers".to_owned());
            writing.spawn(move || {
                let all = super::call::write(&sender, seal, &outgoing, &reader, &cut);
                if !all && !cut.swap(true, Ordering::Relaxed) {
                    counters.cut();
                }
            })
        };
        let Ok(writer) = writer else { return };
        let strikes = Bucket::new(self.options.strikes_max, 1, Instant::now());
        let call = Call {
            arbiter: self.arbiter.clone(),
            access: greeted.access,
            answers,
            load: Arc::default(),
            queued: Arc::default(),
            in_flight_max: self.options.in_flight_max,
            bytes_max: self.options.bytes_max,
            strikes: Arc::new(strikes.into()),
            counters: Arc::clone(&self.counters),
            cut,
        };
        call.serve(receiver, greeted.inbound, self.options.rate_max, &self.end);
        // Messages may still be under way and hold the other end of the queue: the writer is told.
        call.cut.store(true, Ordering::Relaxed);
        drop(call);
        drop(writer.join());
    }
}

/// Whether the kernel says that the peer runs as the same user as this process.
pub(super) fn is_own_user(channel: &AnyChannel) -> bool {
    let own = || Socket::pair().ok()?.0.peer_credentials().ok()?;
    match channel.peer_credentials() {
        Ok(Some(peer)) => own().is_some_and(|own| own.uid == peer.uid),
        _ => false,
    }
}

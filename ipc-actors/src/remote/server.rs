//! The arbiter's side: who is let in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Channel, Deadline, Port, Socket};
use ipc_marshal::{AuthKey, DuctOptions};

use super::bucket::Bucket;
use super::call::Call;
use super::fair::Turnstiles;
use super::greeting::{self, GREETING_LEN_MAX, Greeted, Proved, Wire};
use super::guest::{Guest, Identity, Standing};
use super::load::{Load, Share};
use super::options::RemoteOptions;
use super::reference::Reference;
use super::seal::SEAL_LEN;
use super::stats::{Counters, ListenerStats};
use super::ticket::{Rights, Ticket};
use super::wire::SCHEMA;
use crate::{Access, Actor, ActorId, Arbiter, Proxy};

/// How long a stranger may take to prove that it knows the key.
const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// When one who has failed is told so, by the end of the connection: whatever was wrong, and not at
/// once, so that trying is slow.
const FAILURE_DELAY: Duration = Duration::from_millis(300);
/// How long a caller waits for a place that another has just left.
const PLACE_TIMEOUT: Duration = Duration::from_millis(500);
const PLACE_LOOK: Duration = Duration::from_millis(2);
/// How often a listener and its connections look whether they shall end.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// A place where other programs reach the actors of an arbiter. Dropping it closes it and all its
/// connections, within half a second.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    /// What the keys of references are made from.
    secret: AuthKey,
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
    /// A unix socket that has a path is open to its own user alone (0600, in a folder that is made 0700 if
    /// it is not there), and the kernel vouches for who calls. Abstract names are refused unless the
    /// options allow them. No descriptor is ever accepted: a message that brings one ends the connection.
    ///
    /// Each connection has two threads, so that a caller that is slow, silent or hostile holds up
    /// nobody else.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for TCP without a key and for an abstract name that
    /// is not allowed, else what the system says.
    pub fn listen(&self, address: &Address, options: RemoteOptions) -> io::Result<Listener> {
        let local = !matches!(address, Address::Tcp(_));
        if !local && options.keys.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "actors are not reachable over TCP without a key",
            ));
        }
        if is_abstract(address) && !options.abstract_names {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "actors are not reachable by an abstract name unless that is allowed",
            ));
        }
        let secret = AuthKey::new(greeting::random()?);
        let port = Port::bind(address)?;
        let address = port.address().clone();
        let (end, counters) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let house = House {
            arbiter: self.clone(),
            keys: options.keys.iter().map(|known| known.key.clone()).collect(),
            options,
            secret: secret.clone(),
            number: ActorId::next().to_u64(),
            local,
            end: Arc::clone(&end),
            half_open: Arc::default(),
            open: Arc::default(),
            strangers: Arc::default(),
            connections: AtomicU64::new(1),
            turnstiles: Turnstiles::default(),
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new()
            .name("actors-listen".to_owned())
            .spawn(move || Arc::new(house).receive(port))?;
        Ok(Listener {
            address,
            secret,
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
    /// holds no key and no setting, and gives no rights: who uses it has those of its own connection.
    #[must_use]
    pub fn reference<A: Actor>(&self, proxy: &Proxy<A>) -> Reference<A> {
        Reference::new(
            self.address.to_string(),
            proxy.name().to_owned(),
            proxy.id(),
        )
    }

    /// As [`reference`](Self::reference), and it gives these rights to whoever holds it, without a key and
    /// from wherever the listener can be reached: on this actor and on nothing else. It is worth as much
    /// as a key with these rights, so give it only to whom it is meant for, over a channel that nobody
    /// reads along. It ends with the listener.
    #[must_use]
    pub fn grant<A: Actor>(&self, proxy: &Proxy<A>, rights: Rights) -> Reference<A> {
        let (ticket, key) = Ticket::grant(&self.secret, proxy.id(), proxy.name(), rights);
        self.reference(proxy).with(ticket, key)
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
pub(super) struct House {
    pub(super) arbiter: Arbiter,
    pub(super) options: RemoteOptions,
    pub(super) keys: Vec<AuthKey>,
    secret: AuthKey,
    /// Which listener of which run this is.
    number: u64,
    local: bool,
    pub(super) end: Arc<AtomicBool>,
    half_open: Arc<Load>,
    open: Arc<Load>,
    /// Those of the open ones that have proved nothing.
    strangers: Arc<Load>,
    /// The number of the next connection.
    connections: AtomicU64,
    pub(super) turnstiles: Turnstiles,
    pub(super) counters: Arc<Counters>,
}

/// Who was let in, and the places that it takes.
struct Admitted {
    standing: Standing,
    _places: [Option<Share>; 2],
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

    fn meet(self: &Arc<Self>, mut channel: AnyChannel, at_the_door: Share) {
        if let AnyChannel::Socket(socket) = &mut channel {
            // Nobody has a reason to send any.
            socket.set_fds_max(0);
        }
        let longest = self.payload_len_max(Access::Peer);
        let options = DuctOptions::new()
            .payload_len_max(longest.saturating_add(SEAL_LEN + 64))
            .schema(SCHEMA)
            .handshake(true)
            .handshake_timeout(AUTH_TIMEOUT)
            .send_timeout(AUTH_TIMEOUT);
        let mut wire: Wire = options.from_channel(channel);
        let Some((greeted, admitted)) = self.admit(&mut wire) else {
            return;
        };
        drop(at_the_door);
        self.counters.admitted();
        self.serve(wire, greeted, admitted);
    }

    /// The longest message of callers of this level.
    pub(super) fn payload_len_max(&self, access: Access) -> usize {
        let strangers = self.options.payload_len_max;
        if access >= Access::Peer {
            strangers.max(self.options.peer_payload_len_max)
        } else {
            strangers
        }
    }

    /// The level that a key gives to a caller, who is of the same user or not.
    pub(super) fn level(&self, index: usize, own: bool) -> Access {
        let given = self.options.keys.get(index).and_then(|known| known.access);
        given.unwrap_or(if own {
            Access::Peer
        } else {
            Access::Authenticated
        })
    }

    /// Finds out who it is, and has a place for it.
    fn admit(&self, wire: &mut Wire) -> Option<(Greeted, Admitted)> {
        let begun = Instant::now();
        let own = self.local && is_own_user(wire.channel());
        let identity = Identity::of(
            wire.channel(),
            self.connections.fetch_add(1, Ordering::Relaxed),
        );
        let deadline = Deadline::after(AUTH_TIMEOUT);
        let grant = |proved: Proved| {
            let (mut key, mut warrant) = (None, None);
            let access = match proved {
                Proved::Key(index) => {
                    key = self.options.keys.get(index).map(|known| known.name.clone());
                    self.level(index, own)
                }
                Proved::Ticket(ticket) => {
                    let whole = ticket.warrant().filter(|warrant| !warrant.is_over())?;
                    warrant.insert(whole).access
                }
                Proved::Nothing if self.keys.is_empty() && own => Access::Peer,
                Proved::Nothing => self.options.strangers.then_some(Access::Public)?,
            };
            let is_stranger = !own && key.is_none() && warrant.is_none();
            let places = self.places(is_stranger, deadline)?;
            let standing = Standing {
                access,
                base: access,
                own,
                warrant,
                key,
                identity,
            };
            let admitted = Admitted {
                standing,
                _places: places,
            };
            Some((access, admitted))
        };
        let limit = wire.limit_payload(GREETING_LEN_MAX);
        match greeting::receive(wire, &self.keys, &self.secret, self.number, deadline, grant) {
            Ok(greeted) => {
                let longest = self.payload_len_max(greeted.0.access);
                wire.limit_payload(limit.min(longest.saturating_add(SEAL_LEN + 64)));
                Some(greeted)
            }
            Err(_) => {
                self.counters.failed();
                self.delay(begun);
                None
            }
        }
    }

    /// Waits until whoever has failed may be told.
    pub(super) fn delay(&self, begun: Instant) {
        while begun.elapsed() < FAILURE_DELAY && !self.end.load(Ordering::Relaxed) {
            thread::park_timeout(FAILURE_DELAY.saturating_sub(begun.elapsed()));
        }
    }

    /// A place among those who were let in. Whoever comes when all are taken waits a moment: the end of
    /// a connection is seen a little later than its caller sees it.
    fn places(&self, is_stranger: bool, deadline: Deadline) -> Option<[Option<Share>; 2]> {
        let max = self.options.connections_max;
        let strangers_max = max.div_ceil(2);
        let until = Instant::now() + PLACE_TIMEOUT;
        loop {
            let stranger = match is_stranger {
                true => Share::below(&self.strangers, strangers_max).map(Some),
                false => Some(None),
            };
            if let Some(stranger) = stranger
                && let Some(place) = Share::below(&self.open, max)
            {
                return Some([stranger, Some(place)]);
            }
            let over = Instant::now() >= until || deadline.is_expired();
            if over || self.end.load(Ordering::Relaxed) {
                self.counters.refused();
                return None;
            }
            thread::park_timeout(PLACE_LOOK);
        }
    }

    fn serve(self: &Arc<Self>, wire: Wire, greeted: Greeted, admitted: Admitted) {
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
            let limit = self.options.write_timeout;
            let writing = thread::Builder::new().name("actors-answers".to_owned());
            writing.spawn(move || {
                let all = super::call::write(&sender, seal, &outgoing, &reader, &cut, limit);
                if !all && !cut.swap(true, Ordering::Relaxed) {
                    counters.cut();
                }
            })
        };
        let Ok(writer) = writer else { return };
        let strikes = Bucket::new(self.options.strikes_max, 1, Instant::now());
        let call = Call {
            arbiter: self.arbiter.clone(),
            answers,
            load: Arc::default(),
            queued: Arc::default(),
            in_flight_max: self.options.in_flight_max,
            bytes_max: self.options.bytes_max,
            strikes: Arc::new(strikes.into()),
            counters: Arc::clone(&self.counters),
            cut: Arc::clone(&cut),
        };
        let guest = Guest::new(
            Arc::clone(self),
            call,
            admitted.standing,
            greeted.inbound,
            greeted.transcript,
        );
        guest.serve(receiver);
        // Messages may still be under way and hold the other end of the queue: the writer is told.
        cut.store(true, Ordering::Relaxed);
        drop(writer.join());
    }
}

fn is_abstract(address: &Address) -> bool {
    match address {
        Address::Unix(name) | Address::Ring(name) => name.as_abstract().is_some(),
        _ => false,
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

//! A connection as the thread sees it that reads what its caller wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use ipc_core::{AnyChannel, Channel, Deadline};
use ipc_marshal::{Receiver, RecvError};

use super::bucket::Bucket;
use super::call::Call;
use super::door::Opened;
use super::fair::{Job, Turnstile};
use super::greeting::Transcript;
use super::load::Share;
use super::seal::{SEAL_LEN, Seal};
use super::server::{House, LOOK};
use super::ticket::Warrant;
use super::wire::{Found, Manage, Request, Response};
use crate::command::{CommandId, decode};
use crate::wire::Block;
use crate::{Access, AskError, Caller, Deed};

/// How many actors a connection may have found.
const KNOWN_MAX: usize = 4096;

/// Who calls, as far as that is known.
pub(super) struct Identity {
    connection: u64,
    user: Option<u32>,
    process: Option<u32>,
    address: Option<String>,
}

impl Identity {
    pub(super) fn of(channel: &AnyChannel, connection: u64) -> Self {
        let credentials = channel.peer_credentials().ok().flatten();
        Self {
            connection,
            user: credentials.map(|credentials| credentials.uid),
            process: credentials.and_then(|credentials| credentials.pid),
            address: channel.peer_address().map(|address| address.to_string()),
        }
    }
}

/// What a connection may do, and why.
pub(super) struct Standing {
    pub(super) access: Access,
    /// What it came with; a later proof adds to that and a wrong one takes that away again.
    pub(super) base: Access,
    /// The kernel says that it is of the same user.
    pub(super) own: bool,
    /// It came with a ticket, and may use the ticket's actor and nothing else.
    pub(super) warrant: Option<Warrant>,
    /// The name of the key that it has proved.
    pub(super) key: Option<String>,
    pub(super) identity: Identity,
}

/// An actor that a connection has found.
struct Known {
    opened: Arc<dyn Opened>,
    turnstile: Arc<Turnstile>,
}

/// What ends a connection at once.
enum Offence {
    /// It is not the frame that comes next, or brings what no frame does.
    Forged,
    Unreadable,
}

/// A connection as the thread sees it that reads what its caller wants.
pub(super) struct Guest {
    house: Arc<House>,
    call: Call,
    standing: Standing,
    seal: Seal,
    transcript: Transcript,
    /// The actors that it has found, by id.
    known: HashMap<u64, Known>,
}

impl Guest {
    pub(super) fn new(
        house: Arc<House>,
        call: Call,
        standing: Standing,
        seal: Seal,
        transcript: Transcript,
    ) -> Self {
        Self {
            house,
            call,
            standing,
            seal,
            transcript,
            known: HashMap::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.house.end.load(Ordering::Relaxed) || self.call.cut.load(Ordering::Relaxed)
    }

    /// Takes requests until the caller or the listener goes.
    pub(super) fn serve(mut self, mut receiver: Receiver<()>) {
        self.take_all(&mut receiver);
        // What it was told and has taken is done, unless that takes too long.
        let connection = self.standing.identity.connection;
        let until = Instant::now() + self.house.options.write_timeout;
        let waits = |known: &Known| known.turnstile.has(connection);
        while !self.is_over() && Instant::now() < until && self.known.values().any(waits) {
            thread::park_timeout(LOOK / 50);
        }
        for known in self.known.values() {
            known.turnstile.leave(connection);
        }
        self.call.end();
    }

    fn take_all(&mut self, receiver: &mut Receiver<()>) {
        let rate_max = self.house.options.rate_max;
        let mut rate = Bucket::new(rate_max, rate_max, Instant::now());
        while !self.is_over() {
            let seal = &mut self.seal;
            let request = receiver.recv_with(Deadline::after(LOOK), |mut message| {
                if !message.take_descriptors().is_empty() {
                    return Err(Offence::Forged);
                }
                let payload = seal.open(message.bytes()).ok_or(Offence::Forged)?;
                decode::<Request>(payload).map_err(|_| Offence::Unreadable)
            });
            let request = match request {
                Ok(Ok(request)) => request,
                Ok(Err(Offence::Unreadable)) => {
                    self.call.counters.strike();
                    return self.call.counters.cut();
                }
                // It brings descriptors, which the system may have cut off: nobody does that by mistake.
                Ok(Err(Offence::Forged))
                | Err(RecvError::Descriptors { .. } | RecvError::Io(_)) => {
                    self.call.counters.forged();
                    return self.call.counters.cut();
                }
                Err(RecvError::Timeout) => continue,
                // Gone, or it sends no frames.
                Err(_) => return,
            };
            while let Err(wait) = rate.take(Instant::now()) {
                thread::park_timeout(wait.min(LOOK));
                if self.is_over() {
                    return;
                }
            }
            // Answers come first; the writer says when there is room. What is under way has room of its
            // own.
            while self.call.is_crowded() {
                thread::park_timeout(LOOK);
                if self.is_over() {
                    return;
                }
            }
            match request {
                Request::Quit => return,
                Request::Auth { request, mac } => {
                    self.auth(request, &mac);
                    let longest = self.house.payload_len_max(self.standing.access);
                    receiver.limit_payload(longest.saturating_add(SEAL_LEN + 64));
                }
                request => self.take(request),
            }
        }
    }

    /// The command `auth`: another key is proved, which gives this connection its rights as well.
    fn auth(&mut self, request: u64, mac: &[u8; 32]) {
        let begun = Instant::now();
        self.transcript.attempt();
        // All are looked at: how long it takes does not tell which it was.
        let proved = self.house.keys.iter().enumerate();
        let proved = proved.filter(|(_, key)| self.transcript.raise(key).is_claim(mac));
        let proved = proved.fold(None, |_, (index, key)| Some((index, key.clone())));
        // A ticket stays what it is.
        let proved = proved.filter(|_| self.standing.warrant.is_none());
        if let Some((index, key)) = proved {
            let standing = &mut self.standing;
            standing.access = standing.base.max(self.house.level(index, standing.own));
            let known = self.house.options.keys.get(index);
            standing.key = known.map(|known| known.name.clone());
            let raise = self.transcript.raise(&key);
            let answer = Ok((standing.access, raise.welcome(standing.access)));
            self.seal = raise.to_listener();
            self.audit(true, || Deed::Auth);
            let response = Response::Auth { request, answer };
            self.call.respond_sealed(response, Some(raise.to_client()));
            return;
        }
        self.standing.access = self.standing.base;
        self.call.counters.failed();
        self.audit(false, || Deed::Auth);
        self.house.delay(begun);
        let answer = Err(AskError::Forbidden("auth".to_owned()));
        self.call.judge(&answer);
        self.call.respond(Response::Auth { request, answer });
    }

    /// Takes one request. What is not answered at once counts as under way until it is.
    fn take(&mut self, request: Request) {
        let full = self.call.is_full();
        match request {
            Request::Find { request, name } => self.find(request, &name),
            Request::Call { request, .. } | Request::Ping { request, .. } if full => {
                self.call.answer(request, Err(AskError::Full));
            }
            Request::Info { request, .. } if full => self.call.info(request, Err(AskError::Full)),
            Request::Manage { request, .. } if full => {
                self.call.managed(request, Err(AskError::Full));
            }
            Request::Call {
                request,
                actor,
                command,
                body,
            } => self.message(request, actor, CommandId(command), body),
            Request::Ping { request, actor } => match self.found(actor) {
                Ok(known) => {
                    let (call, counted) = (self.call.clone(), Share::of(&self.call.load, 0));
                    known.opened.ping().then(move |pong| {
                        drop(counted);
                        call.answer(request, pong.map(|()| Block::default()));
                    });
                }
                Err(refused) => self.call.answer(request, Err(refused)),
            },
            Request::Echo { request, body, .. } => self.call.answer(request, Ok(body)),
            Request::Info { request, actor } => {
                match self.built_in(actor, "info", Access::Authenticated) {
                    Ok(known) => {
                        let (call, counted) = (self.call.clone(), Share::of(&self.call.load, 0));
                        known.opened.info().then(move |info| {
                            drop(counted);
                            call.info(request, info);
                        });
                    }
                    Err(refused) => self.call.info(request, Err(refused)),
                }
            }
            Request::Stop { actor } => {
                let found = self.built_in(actor, "stop", Access::Peer);
                let id = crate::ActorId(actor);
                self.audit(found.is_ok(), || Deed::Stop(id));
                match found {
                    Ok(known) => known.opened.stop(),
                    Err(_) => self.call.strike(),
                }
            }
            Request::Manage { request, order } => self.manage(request, &order),
            // Taken before.
            Request::Quit | Request::Auth { .. } => {}
        }
    }

    /// An actor that it has found and may still use.
    fn found(&self, actor: u64) -> Result<&Known, AskError> {
        let known = self.known.get(&actor).ok_or(AskError::NotStarted)?;
        if let Some(warrant) = &self.standing.warrant {
            if warrant.is_over() {
                return Err(AskError::Forbidden("whatever it was".to_owned()));
            }
            if !warrant.holds_for(known.opened.incarnation()) {
                return Err(AskError::NotStarted);
            }
        }
        Ok(known)
    }

    /// The same for a command that every actor has.
    fn built_in(&self, actor: u64, name: &str, needed: Access) -> Result<&Known, AskError> {
        let known = self.found(actor)?;
        if self.standing.access < needed || !self.names(name) {
            return Err(AskError::Forbidden(name.to_owned()));
        }
        Ok(known)
    }

    fn names(&self, command: &str) -> bool {
        let warrant = self.standing.warrant.as_ref();
        warrant.is_none_or(|warrant| warrant.names(command))
    }

    fn find(&mut self, request: u64, name: &str) {
        let warrant = self.standing.warrant.as_ref();
        let meant = warrant.is_none_or(|warrant| warrant.name == name);
        let shared = &self.call.arbiter.shared;
        let found = meant.then(|| shared.find(name)).flatten();
        let found = found.filter(|opened| {
            let id = opened.id();
            let room = self.known.len() < KNOWN_MAX || self.known.contains_key(&id.to_u64());
            room && warrant.is_none_or(|warrant| warrant.actor == id)
        });
        if found.is_none() {
            self.call.strike();
        }
        let found = found.map(|opened| {
            let mut commands = opened.commands(self.standing.access);
            commands.retain(|name| self.names(name));
            let found = Found {
                id: opened.id().to_u64(),
                kind: opened.kind().to_owned(),
                placement: opened.placement(),
                commands,
            };
            let at_once = self.house.options.at_once_max;
            let turnstile = self.house.turnstiles.at(found.id, at_once);
            self.known.insert(found.id, Known { opened, turnstile });
            found
        });
        self.call.respond(Response::Found { request, found });
    }

    fn message(&self, request: u64, actor: u64, command: CommandId, body: Block) {
        let checked = self.found(actor).and_then(|known| {
            let (opened, access) = (&known.opened, self.standing.access);
            opened.check(command, body.0.len(), access)?;
            let name = opened.name_of(command).unwrap_or_default();
            if !self.names(name) {
                return Err(AskError::Forbidden(name.to_owned()));
            }
            Ok(known)
        });
        let known = match checked {
            Ok(known) => known,
            Err(refused) => return self.call.answer(request, Err(refused)),
        };
        let (call, counted) = (self.call.clone(), Share::of(&self.call.load, body.0.len()));
        let answered = Box::new(move |answer: Result<&[u8], AskError>| {
            drop(counted);
            call.answer(request, answer.map(|bytes| Block(bytes.to_vec())));
        });
        let job = Job {
            opened: Arc::clone(&known.opened),
            command,
            body: body.0.into(),
            answered,
        };
        let connection = self.standing.identity.connection;
        known.turnstile.submit(connection, job);
    }

    fn manage(&self, request: u64, order: &Manage) {
        let (needed, name) = order.required();
        let allowed = self.standing.access >= needed && self.standing.warrant.is_none();
        if let Some(deed) = order.deed() {
            self.audit(allowed, || deed);
        }
        if allowed {
            self.call.manage(request, order, self.standing.access);
        } else {
            let refused = AskError::Forbidden(name.to_owned());
            self.call.managed(request, Err(refused));
        }
    }

    fn audit(&self, allowed: bool, deed: impl FnOnce() -> Deed) {
        let Standing { key, identity, .. } = &self.standing;
        let auditors = &self.call.arbiter.shared.auditors;
        auditors.tell(allowed, deed, || Caller::Remote {
            connection: identity.connection,
            key: key.clone(),
            user: identity.user,
            process: identity.process,
            address: identity.address.clone(),
        });
    }
}

//! The side of another program.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipc_core::{Address, Deadline};
use ipc_marshal::{AuthKey, DuctOptions, Receiver, SendError as DuctError, Sender};

use super::actor::RemoteActor;
use super::greeting::{GREETING_LEN_MAX, Shown, Transcript, Wire, greet};
use super::seal::{Lane, Seal};
use super::server::is_own_user;
use super::wire::{Found, Managed, Request, Response, SCHEMA};
use crate::command::{CommandId, decode, encode};
use crate::deferred::{Resolver, deferred};
use crate::link::{Answered, Pending, Refused};
use crate::proxy::Route;
use crate::status::Status;
use crate::wire::Block;
use crate::{Access, Actor, ActorId, AskError, Info, Placement, Proxy, State};

/// How long a connection, its hand-shake and the proof of the key may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is accepted, in bytes.
const ANSWER_LEN_MAX: usize = 16 << 20;

/// Why an arbiter or actor in another program cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address cannot be read.
    #[error("{0} is no address")]
    Address(String),
    /// There is no connection, or the key is wrong.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What is said about it.
        reason: String,
    },
    /// There is no actor of this name.
    #[error("there is no actor named {0}")]
    NotFound(String),
    /// The actor of this name is of another kind.
    #[error("the actor named {name} is a {kind}")]
    Kind {
        /// The actor's name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// The key is wrong, or gives nothing here.
    #[error("the key is wrong")]
    Refused,
    /// The connection is gone.
    #[error("the connection is gone")]
    Disconnected,
}

type Check = Box<dyn FnOnce(Access, &[u8; 32]) -> Option<Seal> + Send>;

pub(super) enum Waiting {
    Auth {
        /// What the listener must prove, and how what it says is then sealed.
        check: Check,
        resolver: Resolver<Access, AskError>,
    },
    Managed(Box<dyn FnOnce(Result<Managed, AskError>) + Send>),
    Found(Box<dyn FnOnce(Option<Found>) + Send>),
    Pending(Pending),
}

/// One connection to an arbiter in another program. Dropping it half-closes, which the other side
/// answers in kind, which ends the reader.
pub(super) struct Connection {
    sender: Sender<()>,
    lane: Lane,
    /// What the listener lets it do: the [`Access`] as a number.
    access: AtomicU8,
    /// What it came with.
    base: Access,
    transcript: Mutex<Transcript>,
    table: Arc<Table>,
    next: AtomicU64,
}

/// What waits for answers.
struct Table {
    /// `None` when the connection is gone.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, mut receiver: Receiver<()>, mut seal: Seal) {
        loop {
            let frame = receiver.recv_with(Deadline::Never, |message| message.bytes().to_vec());
            let Ok(frame) = frame else { break };
            // What is forged or makes no sense ends the connection.
            let Some(Ok(response)) = seal.open(&frame).map(decode::<Response>) else {
                break;
            };
            match response {
                Response::Auth { request, answer } => match self.authenticated(request, answer) {
                    Ok(None) => {}
                    Ok(Some(next)) => seal = next,
                    Err(Impostor) => break,
                },
                response => self.take(response),
            }
        }
        let waiting = self.lock().take();
        for (_, waiting) in waiting.into_iter().flatten() {
            waiting.fail(AskError::Lost);
        }
    }

    /// The answer to a proof. Answers how the listener seals what follows, if that changes.
    fn authenticated(
        &self,
        request: u64,
        answer: Result<(Access, [u8; 32]), AskError>,
    ) -> Result<Option<Seal>, Impostor> {
        let waiting = self
            .lock()
            .as_mut()
            .and_then(|table| table.remove(&request));
        let Some(Waiting::Auth { check, resolver }) = waiting else {
            // Nobody has asked, or not for this.
            return Err(Impostor);
        };
        match answer {
            Ok((access, mac)) => {
                let seal = check(access, &mac).ok_or(Impostor)?;
                resolver.resolve(Ok(access));
                Ok(Some(seal))
            }
            Err(error) => {
                resolver.resolve(Err(error));
                Ok(None)
            }
        }
    }

    fn take(&self, response: Response) {
        let (Response::Found { request, .. }
        | Response::Answer { request, .. }
        | Response::Info { request, .. }
        | Response::Auth { request, .. }
        | Response::Managed { request, .. }) = &response;
        let waiting = self.lock().as_mut().and_then(|table| table.remove(request));
        match (waiting, response) {
            (Some(Waiting::Found(found)), Response::Found { found: answer, .. }) => {
                found(answer);
            }
            (Some(Waiting::Pending(Pending::Bytes(answered))), Response::Answer { answer, .. }) => {
                answered(
                    answer
                        .as_ref()
                        .map(|block| &block.0[..])
                        .map_err(AskError::clone),
                );
            }
            (Some(Waiting::Pending(Pending::Info(resolver))), Response::Info { info, .. }) => {
                resolver.resolve(info.map(|info| *info));
            }
            (Some(Waiting::Managed(managed)), Response::Managed { answer, .. }) => {
                managed(answer);
            }
            // Given up by the asker, or the other side mixes things up.
            (Some(waiting), _) => waiting.fail(AskError::Lost),
            (None, _) => {}
        }
    }
}

/// The listener does not know the key.
struct Impostor;

impl Connection {
    /// Sends what is answered; an answer that will not come is one, too.
    pub(super) fn ask(
        &self,
        waiting: Waiting,
        deadline: Deadline,
        request: impl FnOnce(u64) -> Request,
    ) {
        // Relaxed: only the number matters.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match &mut *self.table.lock() {
            Some(table) => drop(table.insert(number, waiting)),
            None => return waiting.fail(AskError::NotStarted),
        }
        if let Err(refused) = self.send(&request(number), deadline) {
            let waiting = self
                .table
                .lock()
                .as_mut()
                .and_then(|table| table.remove(&number));
            let error = match refused {
                Refused::Draining => AskError::Draining,
                Refused::Full => AskError::Full,
                Refused::Timeout => AskError::Timeout,
                Refused::Encode => AskError::Codec("the message is too long".to_owned()),
                Refused::Disconnected => AskError::NotStarted,
            };
            if let Some(waiting) = waiting {
                waiting.fail(error);
            }
        }
    }

    fn send(&self, request: &Request, deadline: Deadline) -> Result<(), Refused> {
        let mut payload = Vec::new();
        encode(request, &mut payload).map_err(|_| Refused::Encode)?;
        let late = match deadline {
            Deadline::Now => Refused::Full,
            Deadline::At(_) | Deadline::Never => Refused::Timeout,
        };
        let sent = self.lane.send(payload, deadline, |frame| {
            self.sender.send_bytes(frame, deadline)
        });
        sent.ok_or(late)?.map_err(|error| match error {
            DuctError::Timeout(()) => late,
            DuctError::TooLarge { .. } => Refused::Encode,
            _ => Refused::Disconnected,
        })
    }
}

impl Connection {
    fn auth(&self, key: &AuthKey, deadline: Deadline) -> Result<Access, RemoteError> {
        let gone = RemoteError::Disconnected;
        // Nothing may leave between the claim and its answer: how it is sealed is not decided yet.
        let Some(mut held) = self.lane.hold(deadline) else {
            return Err(gone);
        };
        let mut transcript = self
            .transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transcript.attempt();
        let raise = transcript.raise(key);
        let (mac, to_listener, to_client) = (raise.claim(), raise.to_listener(), raise.to_client());
        let (said, key) = (transcript.clone(), key.clone());
        drop(transcript);
        let check = move |access: Access, mac: &[u8; 32]| {
            let known = said.raise(&key).is_welcome(access, mac);
            known.then_some(to_client)
        };
        let (resolver, answer) = deferred();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting::Auth {
            check: Box::new(check),
            resolver,
        };
        match &mut *self.table.lock() {
            Some(table) => drop(table.insert(number, waiting)),
            None => return Err(gone),
        }
        let mut payload = Vec::new();
        let request = Request::Auth {
            request: number,
            mac,
        };
        let sent = encode(&request, &mut payload).is_ok()
            && held
                .send(payload, |frame| self.sender.send_bytes(frame, deadline))
                .is_ok();
        if !sent {
            return Err(gone);
        }
        let answer = match answer.wait_until(deadline) {
            Ok(Ok(access)) => {
                held.replace(to_listener);
                self.access.store(access as u8, Ordering::Relaxed);
                return Ok(access);
            }
            Ok(Err(error)) => error,
            Err(_late) => return Err(gone),
        };
        match answer {
            AskError::Forbidden(_) => {
                self.access.store(self.base as u8, Ordering::Relaxed);
                Err(RemoteError::Refused)
            }
            _ => Err(gone),
        }
    }
}

impl Waiting {
    fn fail(self, error: AskError) {
        match self {
            Self::Managed(managed) => managed(Err(error)),
            Self::Auth { resolver, .. } => resolver.resolve(Err(error)),
            Self::Found(found) => found(None),
            Self::Pending(pending) => pending.fail(error),
        }
    }
}

/// An arbiter in another program. Cheap to clone; the connection ends with the last clone and proxy.
#[derive(Clone)]
pub struct RemoteArbiter {
    pub(super) connection: Arc<Connection>,
}

impl RemoteArbiter {
    /// Connects to where an arbiter [listens](crate::Arbiter::listen). Blocks for at most five
    /// seconds.
    ///
    /// # Errors
    ///
    /// `Connect`: nobody listens there, the key is wrong, or the caller is not welcome.
    pub fn connect(address: &Address, key: Option<&AuthKey>) -> Result<Self, RemoteError> {
        Self::connect_with(address, key.map_or(Shown::Nothing, Shown::Key))
    }

    pub(super) fn connect_with(address: &Address, shown: Shown<'_>) -> Result<Self, RemoteError> {
        let wrong = |reason: String| RemoteError::Connect {
            address: address.to_string(),
            reason,
        };
        let options = DuctOptions::new()
            .payload_len_max(ANSWER_LEN_MAX)
            .schema(SCHEMA)
            .handshake(true)
            .handshake_timeout(CONNECT_TIMEOUT);
        let mut wire: Wire = options
            .connect(address)
            .map_err(|error| wrong(error.to_string()))?;
        let by_name = matches!(address, Address::Unix(_) | Address::Ring(_));
        if matches!(shown, Shown::Nothing) && by_name && !is_own_user(wire.channel()) {
            // Anybody could have taken the name.
            return Err(wrong("it belongs to another user".to_owned()));
        }
        let limit = wire.limit_payload(GREETING_LEN_MAX);
        let greeted = greet(&mut wire, shown, Deadline::after(CONNECT_TIMEOUT))
            .map_err(|error| wrong(error.to_string()))?;
        wire.limit_payload(limit);
        let (sender, receiver) = wire.split().map_err(|error| wrong(error.to_string()))?;
        let table = Arc::new(Table {
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let reader = Arc::clone(&table);
        thread::Builder::new()
            .name("actors-remote".to_owned())
            .spawn(move || reader.receive(receiver, greeted.inbound))
            .map_err(|error| wrong(error.to_string()))?;
        let connection = Connection {
            sender,
            lane: Lane::new(greeted.outbound),
            access: AtomicU8::new(greeted.access as u8),
            base: greeted.access,
            transcript: Mutex::new(greeted.transcript),
            table,
            next: AtomicU64::new(1),
        };
        Ok(Self {
            connection: Arc::new(connection),
        })
    }

    /// The command `quit`: ends the connection, also for the proxies that were found by it. What is
    /// waited for ends with [`Lost`](AskError::Lost). One that is made anew has to prove its key anew.
    pub fn quit(&self) {
        // One that is gone needs no word.
        let _ = self.connection.send(&Request::Quit, Deadline::Now);
        let waiting = self.connection.table.lock().take();
        for (_, waiting) in waiting.into_iter().flatten() {
            waiting.fail(AskError::Lost);
        }
    }

    /// What the arbiter lets this connection do. A connection that is made anew has to prove its key
    /// anew.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::from_u8(self.connection.access.load(Ordering::Relaxed))
    }

    /// The command `auth`: proves another key, which gives this connection, and no other, its rights
    /// besides those that it came with, and answers what it may do now. A wrong key is told of a little
    /// later, is held against the connection, and takes back what an earlier one has given. What others
    /// send over the connection waits meanwhile. Blocks for at most five seconds.
    ///
    /// # Errors
    ///
    /// `Refused`, `Disconnected`; in the latter case the connection has ended.
    pub fn auth(&self, key: &AuthKey) -> Result<Access, RemoteError> {
        let proved = self.connection.auth(key, Deadline::after(CONNECT_TIMEOUT));
        if let Err(RemoteError::Disconnected) = proved {
            // Nobody knows what the other side makes of what follows.
            self.quit();
        }
        proved
    }

    /// The actor of this name, if it is of this type.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Kind`, `Disconnected`.
    pub fn get_actor<A: Actor>(&self, name: &str) -> Result<Proxy<A>, RemoteError> {
        let found = self.look_up(name)?;
        if found.kind != A::NAME {
            return Err(RemoteError::Kind {
                name: name.to_owned(),
                kind: found.kind,
            });
        }
        Ok(Proxy::new(Route::Remote(self.route(name, &found))))
    }

    /// The actor of this name, of whatever type.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Disconnected`.
    pub fn find(&self, name: &str) -> Result<RemoteActor, RemoteError> {
        let found = self.look_up(name)?;
        Ok(RemoteActor::new(self.route(name, &found), found))
    }

    fn look_up(&self, name: &str) -> Result<Found, RemoteError> {
        let (resolver, found) = deferred();
        let waiting = Waiting::Found(Box::new(move |found| resolver.resolve(Ok(found))));
        let deadline = Deadline::after(CONNECT_TIMEOUT);
        let wanted = name.to_owned();
        self.connection
            .ask(waiting, deadline, |request| Request::Find {
                request,
                name: wanted,
            });
        let found: Result<Option<Found>, RemoteError> = found
            .wait_until(deadline)
            .unwrap_or(Err(RemoteError::Disconnected));
        let gone = self.connection.table.lock().is_none();
        match found? {
            Some(found) => Ok(found),
            None if gone => Err(RemoteError::Disconnected),
            None => Err(RemoteError::NotFound(name.to_owned())),
        }
    }

    fn route(&self, name: &str, found: &Found) -> Arc<RemoteRoute> {
        let status = Status::new();
        status.set_state(State::Running);
        Arc::new(RemoteRoute {
            connection: Arc::clone(&self.connection),
            id: ActorId(found.id),
            name: name.to_owned(),
            placement: found.placement,
            status,
        })
    }
}

impl fmt::Debug for RemoteArbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.connection.table.lock().is_some();
        f.debug_struct("RemoteArbiter")
            .field("connected", &connected)
            .finish()
    }
}

/// The way to an actor of an arbiter in another program.
pub(crate) struct RemoteRoute {
    connection: Arc<Connection>,
    pub(crate) id: ActorId,
    pub(crate) name: String,
    pub(crate) placement: Placement,
    pub(crate) status: Status,
}

impl RemoteRoute {
    pub(crate) fn tell(
        &self,
        command: CommandId,
        body: Vec<u8>,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let (request, actor, command) = (0, self.id.to_u64(), command.0);
        let body = Block(body);
        let call = Request::Call {
            request,
            actor,
            command,
            body,
        };
        self.connection.send(&call, deadline)
    }

    pub(crate) fn ask(
        &self,
        command: CommandId,
        body: Vec<u8>,
        deadline: Deadline,
        answered: Answered,
    ) {
        let waiting = Waiting::Pending(Pending::Bytes(answered));
        let (actor, command, body) = (self.id.to_u64(), command.0, Block(body));
        self.connection
            .ask(waiting, deadline, |request| Request::Call {
                request,
                actor,
                command,
                body,
            });
    }

    pub(crate) fn ping(&self, answered: Answered) {
        let (waiting, actor) = (Waiting::Pending(Pending::Bytes(answered)), self.id.to_u64());
        let deadline = Deadline::Never;
        self.connection
            .ask(waiting, deadline, |request| Request::Ping {
                request,
                actor,
            });
    }

    pub(crate) fn echo(&self, body: Vec<u8>, answered: Answered) {
        let (waiting, actor) = (Waiting::Pending(Pending::Bytes(answered)), self.id.to_u64());
        let body = Block(body);
        let deadline = Deadline::Never;
        self.connection
            .ask(waiting, deadline, |request| Request::Echo {
                request,
                actor,
                body,
            });
    }

    pub(crate) fn info(&self, resolver: Resolver<Info, AskError>) {
        let (waiting, actor) = (Waiting::Pending(Pending::Info(resolver)), self.id.to_u64());
        let deadline = Deadline::Never;
        self.connection
            .ask(waiting, deadline, |request| Request::Info {
                request,
                actor,
            });
    }

    pub(crate) fn stop(&self) -> bool {
        let actor = self.id.to_u64();
        self.connection
            .send(&Request::Stop { actor }, Deadline::Never)
            .is_ok()
    }
}

//! What a caller may ask, and how it is answered.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_marshal::{Receiver, RecvError, Sender};

use super::bucket::Bucket;
use super::door::Opened;
use super::seal::Seal;
use super::server::LOOK;
use super::stats::Counters;
use super::wire::{Found, Manage, Managed, Request, Response};
use crate::arbiter::Exhausted;
use crate::command::{CommandId, decode, encode};
use crate::wire::Block;
use crate::{Access, ActorId, Arbiter, AskError, Info};

/// How many things there are, and how many bytes they hold.
#[derive(Debug, Default)]
pub(super) struct Load {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    // Relaxed everywhere: counters that order nothing else.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    load: Arc<Load>,
    bytes: usize,
}

impl Share {
    pub(super) fn of(load: &Arc<Load>, bytes: usize) -> Self {
        load.count.fetch_add(1, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        let load = Arc::clone(load);
        Self { load, bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.count.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How many actors a connection may have found.
const KNOWN_MAX: usize = 4096;

/// How long a caller may take to make room for an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The actors that a connection has found, by id.
type Known = HashMap<u64, Arc<dyn Opened>>;

/// An answer that waits to be written.
type Queued = (Response, Share);

/// What is needed to answer.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) arbiter: Arbiter,
    pub(super) access: Access,
    pub(super) answers: SyncSender<Queued>,
    /// What is under way.
    pub(super) load: Arc<Load>,
    /// Answers that wait to be written.
    pub(super) queued: Arc<Load>,
    pub(super) in_flight_max: usize,
    pub(super) bytes_max: usize,
    pub(super) strikes: Arc<Mutex<Bucket>>,
    pub(super) counters: Arc<Counters>,
    pub(super) cut: Arc<AtomicBool>,
}

impl Call {
    /// Takes requests until the caller or the listener goes.
    pub(super) fn serve(
        &self,
        mut receiver: Receiver<()>,
        mut seal: Seal,
        rate_max: u32,
        end: &AtomicBool,
    ) {
        let mut known = Known::new();
        let mut rate = Bucket::new(rate_max, rate_max, Instant::now());
        let over = || end.load(Ordering::Relaxed) || self.cut.load(Ordering::Relaxed);
        while !over() {
            let frame =
                receiver.recv_with(Deadline::after(LOOK), |message| message.bytes().to_vec());
            let frame = match frame {
                Ok(frame) => frame,
                Err(RecvError::Timeout) => continue,
                // Gone, or it sends no frames.
                Err(_) => return,
            };
            let Some(payload) = seal.open(&frame) else {
                self.counters.forged();
                return self.counters.cut();
            };
            let Ok(request) = decode::<Request>(payload) else {
                self.counters.strike();
                return self.counters.cut();
            };
            while let Err(wait) = rate.take(Instant::now()) {
                thread::park_timeout(wait.min(LOOK));
                if over() {
                    return;
                }
            }
            // Answers come first; the writer says when there is room. What is under way has room of its
            // own.
            while self.is_crowded() {
                thread::park_timeout(LOOK);
                if over() {
                    return;
                }
            }
            if let Request::Quit = request {
                return;
            }
            self.take(request, &mut known);
        }
    }

    fn is_crowded(&self) -> bool {
        self.queued.count() > self.in_flight_max || self.queued.bytes() >= self.bytes_max
    }

    /// The caller is cut off.
    fn cut(&self) {
        if !self.cut.swap(true, Ordering::Relaxed) {
            self.counters.cut();
        }
    }

    /// Never waits: a caller that does not read its answers is cut off.
    fn respond(&self, response: Response) {
        let bytes = response.weight();
        // What is under way when the reader stops may come on top.
        let heavy = self.queued.bytes() > self.bytes_max.saturating_mul(2);
        let queued = (response, Share::of(&self.queued, bytes));
        if heavy || self.answers.try_send(queued).is_err() {
            self.cut();
        }
    }

    /// The caller asks for what it may not, what is not there or what cannot be read.
    fn strike(&self) {
        self.counters.strike();
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.take(Instant::now()).is_err() {
            self.cut();
        }
    }

    /// Notes what is to be held against the caller in an answer.
    fn judge<T>(&self, answer: &Result<T, AskError>) {
        if let Err(AskError::Forbidden(_) | AskError::UnknownCommand(_) | AskError::Codec(_)) =
            answer
        {
            self.strike();
        }
    }

    fn answer(&self, request: u64, answer: Result<Block, AskError>) {
        self.judge(&answer);
        if request != 0 {
            self.respond(Response::Answer { request, answer });
        }
    }

    fn info(&self, request: u64, info: Result<Info, AskError>) {
        self.judge(&info);
        let info = info.map(Box::new);
        self.respond(Response::Info { request, info });
    }

    /// Takes one request. What is not answered at once counts as under way until it is.
    fn take(&self, request: Request, known: &mut Known) {
        let full = self.load.count() >= self.in_flight_max || self.load.bytes() >= self.bytes_max;
        let stranger = AskError::NotStarted;
        match request {
            Request::Find { request, name } => self.find(request, &name, known),
            Request::Call { request, .. } | Request::Ping { request, .. } if full => {
                self.answer(request, Err(AskError::Full));
            }
            Request::Info { request, .. } if full => self.info(request, Err(AskError::Full)),
            Request::Manage { request, .. } if full => {
                self.managed(request, Err(AskError::Full));
            }
            Request::Call {
                request,
                actor,
                command,
                body,
            } => match known.get(&actor) {
                Some(opened) => self.call(request, &**opened, command, body),
                None => self.answer(request, Err(stranger)),
            },
            Request::Ping { request, actor } => match known.get(&actor) {
                Some(opened) => {
                    let (call, counted) = (self.clone(), Share::of(&self.load, 0));
                    opened.ping().then(move |pong| {
                        drop(counted);
                        call.answer(request, pong.map(|()| Block::default()));
                    });
                }
                None => self.answer(request, Err(stranger)),
            },
            Request::Echo { request, body, .. } => self.answer(request, Ok(body)),
            Request::Info { request, actor } => match known.get(&actor) {
                Some(_) if self.access < Access::Authenticated => {
                    self.info(request, Err(AskError::Forbidden("info".to_owned())));
                }
                Some(opened) => {
                    let (call, counted) = (self.clone(), Share::of(&self.load, 0));
                    opened.info().then(move |info| {
                        drop(counted);
                        call.info(request, info);
                    });
                }
                None => self.info(request, Err(stranger)),
            },
            Request::Stop { actor } => {
                match known.get(&actor).filter(|_| self.access >= Access::Peer) {
                    Some(opened) => opened.stop(),
                    None => self.strike(),
                }
            }
            Request::Quit => {}
            Request::Manage { request, order } => self.manage(request, &order),
        }
    }

    fn find(&self, request: u64, name: &str, known: &mut Known) {
        let found = self.arbiter.shared.find(name);
        let found = found
            .filter(|opened| known.len() < KNOWN_MAX || known.contains_key(&opened.id().to_u64()));
        if found.is_none() {
            self.strike();
        }
        let found = found.map(|opened| {
            let found = Found {
                id: opened.id().to_u64(),
                kind: opened.kind().to_owned(),
                placement: opened.placement(),
                commands: opened.commands(self.access),
            };
            known.insert(found.id, opened);
            found
        });
        self.respond(Response::Found { request, found });
    }

    fn call(&self, request: u64, opened: &dyn Opened, command: u32, body: Block) {
        let (call, counted) = (self.clone(), Share::of(&self.load, body.0.len()));
        let body: Arc<[u8]> = body.0.into();
        let answered = Box::new(move |answer: Result<&[u8], AskError>| {
            drop(counted);
            call.answer(request, answer.map(|bytes| Block(bytes.to_vec())));
        });
        opened.call(CommandId(command), &body, self.access, answered);
    }

    fn managed(&self, request: u64, answer: Result<Managed, AskError>) {
        self.judge(&answer);
        self.respond(Response::Managed { request, answer });
    }

    fn manage(&self, request: u64, order: &Manage) {
        let (needed, name) = order.required();
        if self.access < needed {
            return self.managed(request, Err(AskError::Forbidden(name.to_owned())));
        }
        let (call, counted) = (self.clone(), Share::of(&self.load, 0));
        let answered = move |answer: Result<Managed, AskError>| {
            drop(counted);
            call.managed(request, answer);
        };
        match *order {
            Manage::Tree => self.arbiter.tree().then(move |tree| {
                let tree = tree.map_err(|_| AskError::NotStarted);
                answered(tree.map(|tree| Managed::Tree(Box::new(tree))));
            }),
            Manage::Shutdown => {
                answered(Ok(Managed::Done));
                self.arbiter.stop();
            }
            Manage::Reload => {
                self.arbiter.reload();
                answered(Ok(Managed::Done));
            }
            Manage::StopActor(id) => {
                let gone = self.arbiter.stop_actor(ActorId(id));
                gone.then(move |gone| {
                    let gone = gone.map_err(|_| AskError::NotStarted);
                    answered(gone.map(|reason| Managed::Found(reason.is_some())));
                });
            }
            Manage::KillActor(id) => {
                self.arbiter.kill_actor(ActorId(id));
                answered(Ok(Managed::Done));
            }
            Manage::ConfigList | Manage::ConfigGet(_) | Manage::ConfigSet(..) => {
                answered(self.configure(order));
            }
            Manage::Spawn(ref name) => match self.arbiter.shared.offers.spawner(name) {
                Ok(spawner) => spawner(&self.arbiter).then(move |id| {
                    let id = id.map_err(|error| AskError::Codec(error.to_string()));
                    answered(id.map(|id| Managed::Id(id.to_u64())));
                }),
                Err(Exhausted::Spent) => answered(Err(AskError::Full)),
                Err(Exhausted::Unknown) => {
                    answered(Err(AskError::UnknownCommand(name.clone())));
                }
            },
            Manage::Run(ref name, ref text) => {
                let runner = self.arbiter.shared.offers.runner(name);
                let unknown = || AskError::UnknownCommand(name.clone());
                let done = runner.ok_or_else(unknown).and_then(|runner| {
                    let run = AssertUnwindSafe(|| runner(text));
                    catch_unwind(run).map_err(|_| AskError::Started)
                });
                answered(done.map(Managed::Text));
            }
        }
    }
}

impl Call {
    fn configure(&self, order: &Manage) -> Result<Managed, AskError> {
        let settings = self.arbiter.shared.offers.settings();
        let unknown = || AskError::UnknownCommand("config".to_owned());
        let settings = settings.ok_or_else(unknown)?;
        Ok(match order {
            Manage::ConfigGet(name) => Managed::Setting(settings.get(name)),
            Manage::ConfigSet(name, value) => {
                let set = settings.set(name, value);
                Managed::Text(set.map(|()| String::new()))
            }
            _ => Managed::Settings(settings.list()),
        })
    }
}

impl Manage {
    /// Who may ask this, and what it is called.
    fn required(&self) -> (Access, &'static str) {
        match self {
            Self::Tree => (Access::Authenticated, "tree"),
            Self::Shutdown => (Access::Peer, "shutdown"),
            Self::Reload => (Access::Peer, "reload"),
            Self::StopActor(_) => (Access::Peer, "stop"),
            Self::KillActor(_) => (Access::Peer, "kill"),
            Self::ConfigList | Self::ConfigGet(_) => (Access::Authenticated, "config get"),
            Self::ConfigSet(..) => (Access::Peer, "config set"),
            Self::Spawn(_) => (Access::Peer, "spawn"),
            Self::Run(..) => (Access::Peer, "run"),
        }
    }
}

/// Writes answers until there is nobody left who could give one, and tells `reader` when there is room
/// for more. Answers whether all were taken.
pub(super) fn write(
    sender: &Sender<()>,
    mut seal: Seal,
    answers: &mpsc::Receiver<Queued>,
    reader: &thread::Thread,
    cut: &AtomicBool,
) -> bool {
    loop {
        match answers.recv_timeout(LOOK) {
            Ok((response, share)) => {
                let mut payload = Vec::new();
                let sent = encode(&response, &mut payload).is_ok() && {
                    let frame = seal.seal(payload);
                    sender
                        .send_bytes(&frame, Deadline::after(WRITE_TIMEOUT))
                        .is_ok()
                };
                drop(share);
                reader.unpark();
                if !sent {
                    return false;
                }
                seal.sent();
            }
            Err(RecvTimeoutError::Timeout) if !cut.load(Ordering::Relaxed) => {}
            Err(_) => return true,
        }
    }
}

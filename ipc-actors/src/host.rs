//! What the process of an actor runs.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_marshal::{Duct, Receiver, Sender, TryRecvError};

use crate::cell::{Cell, Turn};
use crate::context::Core;
use crate::deferred::deferred;
use crate::mailbox::{Control, Item, Mailbox, Run, Wake};
use crate::proxy::here_info;
use crate::status::Status;
use crate::wire::{Block, Boot, FromActor, Order, Record, Report, ToActor};
use crate::{Actor, ActorId, AskError, Commands, Context, ExitReason, Placement};

/// Runs an actor in its own process. Name it in the registry with the actor's type, so that the
/// arbiter can start such processes: `registry![ipc_actors::host::<Counter>]`. Not to be called.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the registry calls it with values"
)]
pub fn host<A: Actor>(duct: Duct<FromActor, ToActor>, boot: Boot<A::Params>) {
    // A duct that cannot be taken apart has no arbiter to report to; the process just ends.
    if let Ok((sender, receiver)) = duct.split() {
        Host::<A>::run(sender, receiver, &boot);
    }
}

/// What both threads of a CPU-bound actor's process share.
struct Host<A: Actor> {
    sender: Sender<FromActor>,
    mailbox: Arc<Mailbox<A>>,
    commands: Commands<A>,
    cpu_bound: bool,
}

/// A batch of messages as it came.
struct Batch<A: Actor> {
    bytes: Vec<u8>,
    host: Arc<Host<A>>,
}

impl<A: Actor> Item<A> for Batch<A> {
    // The arbiter keeps the count.
    const IS_ASKED: bool = true;

    fn deliver(self, actor: &mut A, ctx: &mut Context<'_, A>) {
        let mut bytes = self.bytes.as_slice();
        let mut first = true;
        while let Some(record) = Record::split(&mut bytes) {
            if !first {
                ctx.core.begun += 1;
            }
            first = false;
            self.host.invoke(&record, actor, ctx);
            if ctx.core.must_pause() {
                break;
            }
        }
        if !bytes.is_empty() {
            // Control goes first; the rest is the next item.
            ctx.core.rest = Some(Box::new(Run::of(Self {
                bytes: bytes.to_vec(),
                host: self.host,
            })));
        }
    }
}

impl<A: Actor> Host<A> {
    fn run(sender: Sender<FromActor>, mut receiver: Receiver<ToActor>, boot: &Boot<A::Params>) {
        let status = Arc::new(Status::new());
        status.set_incarnation(boot.incarnation);
        let capacity = boot.capacity as usize;
        let name = Arc::from(boot.name.as_str());
        let mailbox = Arc::new(Mailbox::new(
            ActorId(boot.id),
            name,
            capacity,
            Wake::Thread,
            status,
        ));
        let commands = Commands::of_actor();
        let host = Arc::new(Self {
            cpu_bound: boot.cpu_bound,
            sender,
            mailbox,
            commands,
        });
        let core = Core {
            mailbox: Arc::clone(&host.mailbox),
            arbiter: None,
            incarnation: boot.incarnation,
            ended: None,
            begun: 0,
            pause_at: u64::MAX,
            requests_max: boot.requests_max,
            rest: None,
        };
        let beat = Duration::from_millis(boot.beat_ms.max(1));
        let params = boot.params.clone();
        let last = if boot.cpu_bound {
            Self::run_beside(&host, &mut receiver, params, core, beat)
        } else {
            Self::run_here(&host, &mut receiver, params, core, beat)
        };
        // If nobody is there to hear it, nobody needs to.
        drop(host.sender.send(FromActor(last)));
    }

    /// Work and control on one thread: the fastest, as long as messages are short.
    fn run_here(
        host: &Arc<Self>,
        receiver: &mut Receiver<ToActor>,
        params: A::Params,
        core: Core<A>,
        beat: Duration,
    ) -> Report {
        let mut cell = match Cell::start(params, core) {
            Ok(cell) => cell,
            Err(reason) => return Report::Failed(reason),
        };
        let mut next_beat = Instant::now() + beat;
        let mut connected = host.report(Report::Ready);
        let mut turn = Turn::Idle;
        loop {
            while connected {
                let deadline = match turn {
                    Turn::Idle => Deadline::At(next_beat),
                    Turn::More | Turn::Ended(_) => Deadline::Now,
                };
                match host.take(receiver, deadline) {
                    Taken::Order => turn = Turn::More,
                    Taken::Nothing => break,
                    Taken::Gone => connected = false,
                }
                if host.mailbox.len() > 0 && host.mailbox.len() >= READ_AHEAD {
                    break;
                }
            }
            if !connected {
                // Nobody is left to work for.
                return host.ended(cell.finish(ExitReason::Shutdown));
            }
            if Instant::now() >= next_beat {
                host.beat();
                next_beat = Instant::now() + beat;
            }
            turn = cell.turn(TURN_LEN);
            if let Turn::Ended(reason) = turn {
                return host.ended(cell.finish(reason));
            }
        }
    }

    /// Work on a second thread, so that this one can always answer.
    fn run_beside(
        host: &Arc<Self>,
        receiver: &mut Receiver<ToActor>,
        params: A::Params,
        core: Core<A>,
        beat: Duration,
    ) -> Report {
        let worker = Arc::clone(host);
        let work = thread::Builder::new()
            .name(A::NAME.to_owned())
            .spawn(move || {
                let last = match Cell::start(params, core) {
                    Ok(cell) => {
                        worker.report(Report::Ready);
                        let reason = worker.work(cell);
                        worker.ended(reason)
                    }
                    Err(reason) => Report::Failed(reason),
                };
                // The other thread waits for orders that may never come: the process ends from here,
                // after the last word has left.
                drop(worker.sender.send(FromActor(last)));
                std::process::exit(0);
            });
        if let Err(error) = work {
            return Report::Failed(ExitReason::StartFailed(error.to_string()));
        }
        let mut next_beat = Instant::now() + beat;
        loop {
            match host.take(receiver, Deadline::At(next_beat)) {
                Taken::Order => {}
                Taken::Nothing => {
                    host.beat();
                    next_beat = Instant::now() + beat;
                }
                Taken::Gone => {
                    host.mailbox.control(Control::Stop(ExitReason::Shutdown));
                    // The process is ended by the exchange's watch should the actor not heed it.
                    while host.mailbox.status.state() < crate::State::Closed {
                        thread::park_timeout(beat);
                    }
                    return host.ended(ExitReason::Shutdown);
                }
            }
        }
    }

    fn work(&self, mut cell: Cell<A>) -> ExitReason {
        loop {
            match cell.turn(u64::MAX) {
                Turn::Idle => self.mailbox.sleep(Deadline::Never),
                Turn::More => {}
                Turn::Ended(reason) => return cell.finish(reason),
            }
        }
    }

    /// Takes one order from the arbiter.
    fn take(self: &Arc<Self>, receiver: &mut Receiver<ToActor>, deadline: Deadline) -> Taken {
        let order = match deadline {
            Deadline::Now => receiver.try_recv(),
            Deadline::At(at) => match receiver.recv_deadline(at) {
                Ok(order) => Ok(order),
                Err(ipc_marshal::RecvError::Timeout) => Err(TryRecvError::Empty),
                Err(error) => Err(error.into()),
            },
            Deadline::Never => receiver.recv().map_err(Into::into),
        };
        match order {
            Ok(ToActor(order)) => {
                self.obey(order);
                Taken::Order
            }
            Err(TryRecvError::Empty) => Taken::Nothing,
            Err(_) => Taken::Gone,
        }
    }

    fn obey(self: &Arc<Self>, order: Order) {
        match order {
            Order::Batch(Block(bytes)) => {
                let mut batch = Batch {
                    bytes,
                    host: Arc::clone(self),
                };
                // A full mailbox keeps the arbiter waiting, but not without signs of life.
                while let Err(refused) = self
                    .mailbox
                    .push(batch, Deadline::after(Duration::from_millis(100)))
                {
                    self.beat();
                    match refused {
                        crate::SendError::Disconnected(_) => return,
                        refused => batch = refused.into_inner(),
                    }
                }
            }
            Order::Ping(request) => self.answer(request, Ok(Block::default())),
            Order::Echo(request, block) => self.answer(request, Ok(block)),
            Order::Info(request) => {
                let info = here_info(&self.mailbox, Placement::Process);
                if self.cpu_bound && info.busy_us.is_some() {
                    // What the actor's own hook would add must wait; the rest need not.
                    self.report(Report::Info(request, Box::new(info)));
                    return;
                }
                let (resolver, answer) = deferred();
                let host = Arc::clone(self);
                answer.then(move |info: Result<_, AskError>| {
                    if let Ok(info) = info {
                        host.report(Report::Info(request, Box::new(info)));
                    }
                });
                self.mailbox
                    .control(Control::Info(Box::new(info), resolver));
            }
            Order::Stop(reason) => {
                self.mailbox.control(Control::Stop(reason));
            }
        }
    }

    fn invoke(&self, record: &Record<'_>, actor: &mut A, ctx: &mut Context<'_, A>) {
        let wanted = record.request != 0;
        let mut out = Vec::new();
        let done = match self.commands.find(record.command) {
            Some(command) => (command.invoke)(actor, record.body, ctx, wanted.then_some(&mut out)),
            None => Err(AskError::UnknownCommand(format!(
                "{:08x}",
                record.command.0
            ))),
        };
        if wanted {
            self.answer(record.request, done.map(|()| Block(out)));
        }
    }

    fn answer(&self, request: u64, answer: Result<Block, AskError>) {
        self.report(Report::Answer(request, answer));
    }

    fn ended(&self, reason: ExitReason) -> Report {
        Report::Ended(reason, self.mailbox.status.handled())
    }

    fn report(&self, report: Report) -> bool {
        self.sender.send(FromActor(report)).is_ok()
    }

    fn beat(&self) {
        let status = &self.mailbox.status;
        let beat = Report::Beat {
            handled: status.handled(),
            waiting: self.mailbox.len() as u64,
            busy_us: status.busy_us(),
        };
        // Never waits: an arbiter that does not read has other troubles.
        drop(self.sender.try_send(FromActor(beat)));
    }
}

/// What a look at the channel gave.
enum Taken {
    Order,
    Nothing,
    Gone,
}

/// Batches that are read before the first is worked on.
const READ_AHEAD: usize = 16;

/// Messages between two looks at the channel.
const TURN_LEN: u64 = 4096;

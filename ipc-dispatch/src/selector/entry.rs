//! One source with its handlers.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use ipc_core::Readiness;

use super::handlers::{Call, Handler, Unset};
use super::registry::Local;
use super::{Context, Event, Registry, Side, SourceId, Token};
use crate::driver::Driver;
use crate::{Control, Interest, Source, Trigger};

/// What the driver was last told about one descriptor.
#[derive(Clone, Copy, Debug)]
struct Told {
    fd: RawFd,
    mask: Event,
}

const UNTOLD: Told = Told {
    fd: -1,
    mask: Event::NONE,
};

/// A source with its handlers. Most have one, whose type the entry therefore knows: to run it takes no
/// second indirect call and no second place in memory.
///
/// In this order and on a cache line's boundary, so that what every event touches is one line.
#[repr(C, align(64))]
pub(super) struct Entry<C, S, F> {
    first: Option<Handler<F>>,
    body: Body<C, S>,
}

#[repr(C)]
struct Body<C, S> {
    /// The handlers that came after the first.
    rest: Vec<Handler<Call<C, S>>>,
    /// The system cannot wait for it: it is a regular file, which is always ready.
    always: bool,
    /// What is pending cannot be flushed any more.
    broken: bool,
    /// It closes when its last handler is gone and nothing is pending.
    ephemeral: bool,
    hung_up: bool,
    channel: C,
    trigger: Trigger,
    told: [Told; 2],
    /// Whether urgent data is watched for, by which duplicate; whether it has hung up is above.
    urgent: Option<Option<OwnedFd>>,
    /// What to run when it has gone.
    farewells: Vec<Local<S>>,
}

/// What [`AnyEntry::settle`] found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    /// Ready without asking the system.
    pub(super) hot: Event,
    /// Whether it waits for anything.
    pub(super) waits: bool,
    /// Whether it is in shared memory: to be looked at in every turn, and armed before a sleep.
    pub(super) polled: bool,
    /// Whether it is to be closed.
    pub(super) finished: bool,
}

/// What to run when a source has gone, on its way to the entry.
pub(super) struct Farewell<S>(pub(super) Local<S>);

/// The wish to close with the last handler, on its way to the entry.
pub(super) struct Ephemeral;

/// An entry whatever the type of its channel.
pub(super) trait AnyEntry<S>: Any {
    /// Runs the handlers that `event` is about. Answers whether the entry must be settled.
    fn dispatch(
        &mut self,
        id: SourceId,
        event: Event,
        registry: &mut Registry<S>,
        state: &mut S,
    ) -> Dispatched;

    /// Brings what the driver knows in line with the handlers, and arms. Handlers of a paused
    /// source are not waited for.
    fn settle(&mut self, id: SourceId, paused: bool, driver: &mut Driver) -> io::Result<Settled>;

    /// Whether a source in shared memory can be read.
    fn poll(&mut self) -> bool;

    /// Arms a source in shared memory for reading. Answers whether it can be read.
    fn arm(&mut self) -> bool;

    /// Takes the source away from the driver.
    fn forget(&mut self, id: SourceId, driver: &mut Driver);

    /// Forgets what the driver was told, after the driver has started afresh.
    fn reset(&mut self);

    /// Adds a `Handler<Call<C, S>>`, a [`Farewell`] or the wish to be [`Ephemeral`].
    fn adopt(&mut self, addition: Box<dyn Any>);

    /// What to run when it has gone.
    fn take_farewells(&mut self) -> Vec<Local<S>>;

    /// Gives up all handlers that wait for `interest`, or all.
    fn retain(&mut self, interest: Option<Interest>);

    fn channel_mut(&mut self) -> &mut dyn Any;

    fn into_channel(self: Box<Self>) -> Box<dyn Any>;

    fn pending(&self) -> usize;

    fn descriptors(&self, list: &mut Vec<RawFd>);
}

/// What became of an entry while it ran.
#[derive(Debug, Default)]
pub(super) struct Dispatched {
    /// A handler asked for its removal.
    pub(super) close: bool,
    /// What to run again in the next turn.
    pub(super) again: Event,
    /// Whether anything changed that [`AnyEntry::settle`] must look at.
    pub(super) unsettled: bool,
}

impl<C: Source, S: 'static> Entry<C, S, Unset<C, S>> {
    pub(super) fn new(channel: C, trigger: Trigger) -> Self {
        Self {
            body: Body {
                farewells: Vec::new(),
                told: [UNTOLD; 2],
                urgent: None,
                hung_up: false,
                trigger,
                ephemeral: false,
                broken: false,
                always: false,
                rest: Vec::new(),
                channel,
            },
            first: None,
        }
    }

    /// Whether the entry may be given a [first](Self::with_first) handler: it has never had any.
    pub(super) fn is_bare(entry: &dyn AnyEntry<S>) -> bool {
        let entry: &dyn Any = entry;
        entry
            .downcast_ref::<Self>()
            .is_some_and(|entry| entry.body.rest.is_empty())
    }

    /// The same entry with its first handler.
    pub(super) fn with_first<F>(self, handler: Handler<F>) -> Entry<C, S, F> {
        Entry {
            body: self.body,
            first: Some(handler),
        }
    }
}

impl<C, S, F> Entry<C, S, F> {
    /// What the handlers wait for, together.
    fn wants(&self) -> Event {
        let first = self.first.iter().map(|handler| handler.interest);
        let rest = self.body.rest.iter().map(|handler| handler.interest);
        first
            .chain(rest)
            .fold(Event::NONE, |mask, interest| mask | interest.event())
    }
}

impl<C: Source, S: 'static, F> Entry<C, S, F>
where
    F: FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control> + 'static,
{
    /// Runs one pile, in the order in which its handlers came. Answers whether the source is still
    /// there.
    fn run_pile(
        &mut self,
        interest: Interest,
        id: SourceId,
        registry: &mut Registry<S>,
        state: &mut S,
        done: &mut Dispatched,
    ) -> bool {
        let Body { channel, rest, .. } = &mut self.body;
        if let Some(first) = &mut self.first
            && !first.run(interest, channel, id, registry, state, done)
        {
            return false;
        }
        rest.iter_mut()
            .all(|handler| handler.run(interest, channel, id, registry, state, done))
    }
}

impl<C: Source, S: 'static> Body<C, S> {
    fn is_pending(&self) -> bool {
        self.channel.pending() > 0 && !self.broken
    }

    /// Tells the driver about one descriptor, if anything changed.
    fn tell(
        &mut self,
        side: Side,
        id: SourceId,
        mask: Event,
        driver: &mut Driver,
    ) -> io::Result<()> {
        let fd = match side {
            Side::Outbound => self.channel.outbound(),
            _ => self.channel.inbound(),
        };
        let told = &mut self.told[side as usize];
        let raw = fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        if told.mask != Event::NONE && told.fd != raw {
            // The descriptor was exchanged under us: the old one cannot be named any more.
            told.mask = Event::NONE;
            driver.lose();
        }
        let rearm = driver.must_rearm() && self.trigger == Trigger::Level;
        if told.mask == mask && !rearm {
            return Ok(());
        }
        let token = Token { id, side };
        let edge = self.trigger == Trigger::Edge;
        match driver.change(fd, token, told.mask, mask, edge) {
            Ok(()) => {
                *told = Told { fd: raw, mask };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Regular files and directories: always ready, as select(2) has it.
                self.always = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn tell_urgent(&mut self, id: SourceId, wanted: bool, driver: &mut Driver) -> io::Result<()> {
        let token = Token {
            id,
            side: Side::Exception,
        };
        let edge = self.trigger == Trigger::Edge;
        if !wanted || self.hung_up {
            if let Some(fd) = self.urgent.take() {
                let fd = fd.as_ref().map(AsFd::as_fd);
                driver.change(fd, token, Event::EXCEPTION, Event::NONE, edge)?;
            }
            return Ok(());
        }
        if self.urgent.is_none() {
            let duplicate = match self.channel.inbound() {
                Some(fd) => Some(fd.try_clone_to_owned()?),
                None => None,
            };
            let fd = duplicate.as_ref().map(AsFd::as_fd);
            driver.change(fd, token, Event::NONE, Event::EXCEPTION, edge)?;
            self.urgent = Some(duplicate);
        }
        Ok(())
    }

    /// Which of `event` is true of a source whose descriptors are only a doorbell.
    fn answer_doorbell(&mut self, event: Event, wants: Event) -> Event {
        let mut truth = event & Event::EXCEPTION;
        if wants.contains(Event::READ)
            && (self.channel.poll_inbound() == Some(true) || is_ready(self.channel.arm_inbound()))
        {
            truth |= Event::READ;
        }
        if (wants.contains(Event::WRITE) || self.is_pending())
            && is_ready(self.channel.arm_outbound())
        {
            truth |= Event::WRITE;
        }
        truth
    }

    /// A hang-up or a failure is for everybody who waits for anything.
    #[cold]
    fn spread(&mut self, event: Event, done: &mut Dispatched) -> Event {
        let mut event = event | Event::READ | Event::WRITE;
        if self.urgent.is_some() {
            event |= Event::EXCEPTION;
            self.hung_up = true;
            done.unsettled = true;
        }
        event
    }

    /// Flushes what is pending, and answers what is left of the event for the handlers.
    fn flush(&mut self, id: SourceId, event: Event, registry: &mut Registry<S>) -> Event {
        if let Err(error) = self.channel.try_flush() {
            // Whoever reads or writes next learns that the peer is gone.
            self.broken = true;
            registry.report(Some(id), error);
        }
        if self.is_pending() && !self.channel.has_room() {
            event.without(Event::WRITE)
        } else {
            event
        }
    }

    fn settle(
        &mut self,
        id: SourceId,
        wants: Event,
        handled: bool,
        driver: &mut Driver,
    ) -> io::Result<Settled> {
        let pending = self.is_pending();
        let doorbell = self.channel.is_doorbell();
        let mut settled = Settled {
            hot: Event::NONE,
            waits: handled || pending,
            polled: false,
            finished: self.ephemeral && !handled && !pending,
        };
        let mut inbound = wants & Event::READ;
        let mut outbound = wants & Event::WRITE;
        if pending {
            outbound = Event::WRITE;
        }
        if inbound == Event::READ {
            // A source in shared memory is armed when the loop really sleeps.
            settled.polled = self.channel.poll_inbound().is_some();
            if !settled.polled && is_ready(self.channel.arm_inbound()) {
                settled.hot |= Event::READ;
            }
        }
        if outbound == Event::WRITE && doorbell {
            if is_ready(self.channel.arm_outbound()) {
                settled.hot |= Event::WRITE;
            }
            // The doorbell rings for both.
            outbound = Event::READ;
        }
        self.tell_urgent(id, wants.contains(Event::EXCEPTION), driver)?;
        let same = match (self.channel.inbound(), self.channel.outbound()) {
            (Some(inbound), Some(outbound)) => inbound.as_raw_fd() == outbound.as_raw_fd(),
            (_, outbound) => outbound.is_none(),
        };
        if same {
            inbound |= outbound;
            outbound = Event::NONE;
        }
        if !self.always {
            self.tell(Side::Inbound, id, inbound, driver)?;
            self.tell(Side::Outbound, id, outbound, driver)?;
        }
        if self.always {
            settled.hot = wants & (Event::READ | Event::WRITE);
        }
        Ok(settled)
    }
}

fn is_ready(answer: io::Result<Readiness>) -> bool {
    !matches!(answer, Ok(Readiness::Armed))
}

impl<C: Source, S: 'static, F> AnyEntry<S> for Entry<C, S, F>
where
    F: FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control> + 'static,
{
    fn dispatch(
        &mut self,
        id: SourceId,
        mut event: Event,
        registry: &mut Registry<S>,
        state: &mut S,
    ) -> Dispatched {
        let mut done = Dispatched::default();
        let body = &mut self.body;
        if !C::IN_KERNEL && (body.channel.is_doorbell() || body.channel.poll_inbound().is_some()) {
            let wants = self.wants();
            event = self.body.answer_doorbell(event, wants);
            done.unsettled = true;
        }
        if event.intersects(Event::HANGUP | Event::ERROR) {
            event = self.body.spread(event, &mut done);
        }
        if event.contains(Event::WRITE) && self.body.is_pending() {
            done.unsettled = true;
            event = self.body.flush(id, event, registry);
        }
        registry.event = event;
        for interest in [Interest::Exception, Interest::Read, Interest::Write] {
            if event.intersects(interest.event())
                && !self.run_pile(interest, id, registry, state, &mut done)
            {
                return done;
            }
        }
        if done.unsettled {
            self.first.take_if(|handler| !handler.has_stayed());
            self.body.rest.retain_mut(Handler::has_stayed);
        }
        // What a read left in a buffer of the process will not be told by the system, and what a
        // handler wrote may have to be flushed.
        done.unsettled |= self.body.channel.pending() > 0
            || self.body.always
            || !C::IN_KERNEL
            || crate::sys::MUST_REARM;
        done
    }

    fn settle(&mut self, id: SourceId, paused: bool, driver: &mut Driver) -> io::Result<Settled> {
        let wants = if paused { Event::NONE } else { self.wants() };
        let handled = self.first.is_some() || !self.body.rest.is_empty();
        self.body.settle(id, wants, handled, driver)
    }

    fn poll(&mut self) -> bool {
        self.body.channel.poll_inbound() == Some(true)
    }

    fn arm(&mut self) -> bool {
        is_ready(self.body.channel.arm_inbound())
    }

    fn forget(&mut self, id: SourceId, driver: &mut Driver) {
        // Nothing can be done about an error, and the descriptor is about to close.
        let _ = self.body.tell_urgent(id, false, driver);
        let _ = self.body.tell(Side::Inbound, id, Event::NONE, driver);
        let _ = self.body.tell(Side::Outbound, id, Event::NONE, driver);
    }

    fn reset(&mut self) {
        self.body.told = [UNTOLD; 2];
        self.body.urgent = None;
    }

    fn adopt(&mut self, addition: Box<dyn Any>) {
        match addition.downcast::<Handler<Call<C, S>>>() {
            Ok(handler) => self.body.rest.push(*handler),
            Err(addition) => match addition.downcast::<Farewell<S>>() {
                Ok(farewell) => self.body.farewells.push(farewell.0),
                Err(addition) => self.body.ephemeral |= addition.is::<Ephemeral>(),
            },
        }
    }

    fn take_farewells(&mut self) -> Vec<Local<S>> {
        std::mem::take(&mut self.body.farewells)
    }

    fn retain(&mut self, interest: Option<Interest>) {
        let stays = |other: Interest| interest.is_some_and(|interest| other != interest);
        self.first.take_if(|handler| !stays(handler.interest));
        self.body.rest.retain(|handler| stays(handler.interest));
    }

    fn channel_mut(&mut self) -> &mut dyn Any {
        &mut self.body.channel
    }

    fn into_channel(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.body.channel)
    }

    fn pending(&self) -> usize {
        if self.body.broken {
            0
        } else {
            self.body.channel.pending()
        }
    }

    fn descriptors(&self, list: &mut Vec<RawFd>) {
        list.extend(self.body.channel.inbound().iter().map(AsRawFd::as_raw_fd));
        list.extend(self.body.channel.outbound().iter().map(AsRawFd::as_raw_fd));
        list.extend(self.body.urgent.iter().flatten().map(AsRawFd::as_raw_fd));
        list.sort_unstable();
        list.dedup();
    }
}

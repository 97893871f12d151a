//! One incarnation of an actor and its turn.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use ipc_core::Deadline;

use crate::context::Core;
use crate::local::{ending, set_current_actor};
use crate::mailbox::{AnyRun, Control, Item, Run, Runs, Urgent};
use crate::{Actor, Context, ExitReason, Failure, State};

/// An incarnation: the actor, and the messages it has taken out of its mailbox.
pub(crate) struct Cell<A: Actor> {
    actor: Option<A>,
    core: Core<A>,
    runs: Runs<A>,
    spare: Option<Box<dyn AnyRun<A>>>,
}

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing is left to do; the next message wakes the owner.
    Idle,
    /// There may be more.
    More,
    /// The incarnation is over, for this reason.
    Ended(ExitReason),
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "something that is not text".to_owned())
}

/// The whole chain of an error in one line.
pub(crate) fn failure_text(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, ExitReason> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|payload| ExitReason::Panicked(panic_text(payload.as_ref())))
}

impl<A: Actor> Cell<A> {
    /// Runs `init` and `start`.
    pub(crate) fn start(params: A::Params, mut core: Core<A>) -> Result<Self, ExitReason> {
        set_current_actor(Some(core.mailbox.id));
        core.mailbox.status.set_state(State::Starting);
        let started = guarded(|| {
            let mut ctx = Context { core: &mut core };
            let mut actor = A::init(params, &mut ctx)?;
            actor.start(&mut ctx)?;
            Ok::<_, Failure>(actor)
        });
        set_current_actor(None);
        let actor = match started {
            Ok(Ok(actor)) => actor,
            Ok(Err(failure)) => return Err(ExitReason::StartFailed(failure_text(&failure))),
            Err(panicked) => return Err(panicked),
        };
        core.mailbox.status.set_state(State::Running);
        Ok(Self {
            actor: Some(actor),
            core,
            runs: Runs::new(),
            spare: None,
        })
    }

    /// Handles what is in the mailbox, at most `budget` messages.
    pub(crate) fn turn(&mut self, budget: u64) -> Turn {
        self.fetch();
        self.deliver(budget)
    }

    /// Handles what was fetched, at most `budget` messages.
    pub(crate) fn deliver(&mut self, budget: u64) -> Turn {
        set_current_actor(Some(self.core.mailbox.id));
        let turn = self.guarded_turn(budget);
        set_current_actor(None);
        turn
    }

    /// Does what the control lane says, and takes the messages out of the mailbox unless some are left
    /// from before.
    pub(crate) fn fetch(&mut self) {
        if self.core.mailbox.status.incarnation() != self.core.incarnation {
            return;
        }
        if self.core.mailbox.status.has_control() {
            let control = self.core.mailbox.take_control();
            self.obey(control);
        }
        if self.runs.is_empty() && self.core.ended.is_none() {
            let spare = self.spare.take();
            let control = self.core.mailbox.take(&mut self.runs, spare);
            self.obey(control);
        }
    }

    /// What comes before the messages: the end, and alarms.
    fn before_messages(&mut self) -> Result<(), ExitReason> {
        if self.core.mailbox.status.incarnation() != self.core.incarnation {
            // The supervisor has given this incarnation up and the next one has the mailbox.
            return Err(ExitReason::Killed);
        }
        if self.core.ended.is_none()
            && let Err(panicked) = self.ring()
        {
            ending(|| self.actor = None);
            return Err(panicked);
        }
        self.core.ended.take().map_or(Ok(()), Err)
    }

    fn guarded_turn(&mut self, budget: u64) -> Turn {
        if let Err(reason) = self.before_messages() {
            return Turn::Ended(reason);
        }
        let Some(actor) = &mut self.actor else {
            return Turn::Ended(ExitReason::Killed);
        };
        let idle = self.runs.is_empty();
        let before = self.core.begun;
        self.core.pause_at = before.saturating_add(budget);
        let mut ctx = Context {
            core: &mut self.core,
        };
        let done = if idle {
            guarded(|| actor.task(&mut ctx))
        } else {
            let runs = &mut self.runs;
            let watched = !ctx.core.mailbox.is_on_loop();
            if watched {
                let status = &ctx.core.mailbox.status;
                status.set_busy();
                if status.has_control() {
                    // It came just before the work, and goes first.
                    status.set_idle();
                    return Turn::More;
                }
            }
            let done = guarded(|| {
                while let Some(run) = runs.front_mut() {
                    run.deliver(actor, &mut ctx);
                    if run.len() == 0 {
                        self.spare = runs.pop_front();
                    }
                    if let Some(rest) = ctx.core.rest.take() {
                        runs.push_front(rest);
                    }
                    if ctx.core.must_pause() {
                        break;
                    }
                }
                Ok(())
            });
            if watched {
                ctx.core.mailbox.status.set_idle();
            }
            done
        };
        let status = &self.core.mailbox.status;
        status.add_handled(self.core.begun - before);
        match done {
            Err(panicked) => {
                ending(|| self.actor = None);
                return Turn::Ended(panicked);
            }
            Ok(Err(failure)) => return Turn::Ended(ExitReason::Failed(failure_text(&failure))),
            Ok(Ok(())) => {}
        }
        if self.core.begun >= self.core.requests_max {
            self.core.ended.get_or_insert(ExitReason::Normal);
        }
        match self.core.ended.take() {
            Some(reason) => Turn::Ended(reason),
            None if idle => Turn::Idle,
            None => Turn::More,
        }
    }

    /// Takes a message that did not come through the mailbox.
    pub(crate) fn accept<I: Item<A>>(&mut self, item: I) {
        if let Some(last) = self.runs.back_mut()
            && let Some(run) = last.as_any().downcast_mut::<Run<I>>()
        {
            return run.push(item);
        }
        if let Some(mut spare) = self.spare.take()
            && let Some(run) = spare.as_any().downcast_mut::<Run<I>>()
        {
            run.push(item);
            return self.runs.push_back(spare);
        }
        self.runs.push_back(Box::new(Run::of(item)));
    }

    /// How many runs of messages it has at hand.
    pub(crate) fn at_hand(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    /// When the next alarm rings.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        self.core.alarms.next_deadline()
    }

    /// Sleeps until there is something to do.
    pub(crate) fn sleep(&self) {
        let until = self.next_alarm().map_or(Deadline::Never, Deadline::At);
        self.core.mailbox.sleep(until);
    }

    /// Has the alarms ring that are due. Those that they set wait for the next turn.
    fn ring(&mut self) -> Result<(), ExitReason> {
        if self.next_alarm().is_none() {
            return Ok(());
        }
        let now = self.core.now();
        let mark = self
            .core
            .alarms
            .scheduler()
            .map_or(0, |alarms| alarms.mark());
        while let Some(alarms) = self.core.alarms.scheduler()
            && let Some(fired) = alarms.awaken_before(now, mark)
            && let Some(actor) = &mut self.actor
        {
            let mut ring = fired.value;
            let mut ctx = Context {
                core: &mut self.core,
            };
            let next = guarded(|| ring(actor, &mut ctx))?;
            let due = next.and_then(|after| now.checked_add(after));
            if let Some(alarms) = self.core.alarms.scheduler() {
                match due {
                    // Cancelled by itself meanwhile, it is gone.
                    Some(due) => drop(alarms.rearm(fired.id, due, ring)),
                    None => alarms.finish(fired.id),
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, control: Urgent) {
        for control in control.into_iter().flat_map(|urgent| *urgent) {
            match control {
                Control::Stop(reason) => {
                    self.core.mailbox.status.set_state(State::Stopping);
                    self.core.ended.get_or_insert(reason);
                }
                Control::Ping(resolver) => resolver.resolve(Ok(())),
                Control::Info(ask) => ask.answer(|info| {
                    if let Some(actor) = &self.actor {
                        // What a broken hook said so far is better than nothing.
                        drop(guarded(|| actor.info(&mut info.extra)));
                    }
                }),
                Control::Exit(id, reason) => {
                    let Some(actor) = &mut self.actor else {
                        continue;
                    };
                    let mut ctx = Context {
                        core: &mut self.core,
                    };
                    if let Err(panicked) = guarded(|| actor.link_ended(id, &reason, &mut ctx)) {
                        self.core.ended.get_or_insert(panicked);
                    }
                }
            }
        }
    }

    /// Gives the incarnation up without its last hooks; what was not begun waits for the next.
    pub(crate) fn abandon(mut self) {
        self.core.mailbox.put_back(std::mem::take(&mut self.runs));
    }

    /// Runs the last hooks, puts what was not begun back, and answers the reason to be reported.
    pub(crate) fn finish(mut self, mut reason: ExitReason) -> ExitReason {
        set_current_actor(Some(self.core.mailbox.id));
        if let Some(mut actor) = self.actor.take() {
            let mut ctx = Context {
                core: &mut self.core,
            };
            let ended = guarded(|| {
                actor.stop(&reason, &mut ctx);
                ending(|| actor.exit());
            });
            if let Err(panicked) = ended
                && reason.is_clean()
            {
                reason = panicked;
            }
        }
        let status = &self.core.mailbox.status;
        if status.incarnation() == self.core.incarnation {
            status.set_state(State::Closed);
            self.core.mailbox.put_back(std::mem::take(&mut self.runs));
        }
        set_current_actor(None);
        reason
    }
}

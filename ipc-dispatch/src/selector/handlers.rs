//! Handlers of one source.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::entry::Dispatched;
use super::{Context, Event, Registry, SourceId};
use crate::{Control, Interest};

/// A handler whose type is forgotten; what it returns is already in its general form.
pub(super) type Call<C, S> = Box<dyn FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control>>;

/// The type of the first handler of a source that has had none yet.
pub(super) type Unset<C, S> = fn(&mut C, &mut Context<'_, S>) -> io::Result<Control>;

/// A handler of a source.
pub(super) struct Handler<F> {
    pub(super) interest: Interest,
    /// Whether it came to its present interest in this pass, so that it waits for the next.
    pub(super) fresh: bool,
    /// `None` once it has been dropped by its own answer.
    pub(super) call: Option<F>,
}

impl<F> Handler<F> {
    pub(super) fn new(interest: Interest, call: F) -> Self {
        Self {
            interest,
            fresh: false,
            call: Some(call),
        }
    }

    /// Runs it if it waits for `interest`. Answers whether the source is still there.
    #[inline]
    pub(super) fn run<C, S: 'static>(
        &mut self,
        interest: Interest,
        channel: &mut C,
        id: SourceId,
        registry: &mut Registry<S>,
        state: &mut S,
        done: &mut Dispatched,
    ) -> bool
    where
        F: FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control>,
    {
        if self.interest != interest || self.fresh {
            return true;
        }
        let Some(call) = self.call.as_mut() else {
            return true;
        };
        registry.metrics.handlers += 1;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context {
                state: &mut *state,
                registry: &mut *registry,
            };
            call(channel, &mut context)
        }));
        let control = match result {
            Ok(Ok(control)) => control,
            Ok(Err(error)) => {
                registry.report(Some(id), error);
                Control::Drop
            }
            Err(panic) => {
                registry.caught(panic);
                Control::Drop
            }
        };
        if control != Control::Keep {
            self.obey(control, registry, done);
        }
        if done.close || registry.condemned {
            done.close = true;
            return false;
        }
        true
    }

    fn obey<S: 'static>(
        &mut self,
        control: Control,
        registry: &mut Registry<S>,
        done: &mut Dispatched,
    ) {
        match control {
            Control::Keep => {}
            Control::Again => done.again |= self.interest.event(),
            Control::Drop => {
                self.call = None;
                done.unsettled = true;
            }
            Control::Replace(interest) => {
                self.interest = interest;
                self.fresh = true;
                done.unsettled = true;
            }
            Control::Close => done.close = true,
            Control::Stop => registry.stop(),
        }
    }

    /// After a pass: whether it stays.
    pub(super) fn has_stayed(&mut self) -> bool {
        self.fresh = false;
        self.call.is_some()
    }
}

impl Interest {
    pub(super) fn event(self) -> Event {
        match self {
            Self::Read => Event::READ,
            Self::Write => Event::WRITE,
            Self::Exception => Event::EXCEPTION,
        }
    }
}

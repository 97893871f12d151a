//! The handlers of one source, in the order in which they came.

use std::io;

use super::{Context, Event};
use crate::{Control, Interest};

/// The type of a handler inside: what it returns is already in its general form.
pub(super) type Call<C, S> = Box<dyn FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control>>;

/// A handler of a source of type `C`.
pub(super) struct Handler<C, S> {
    pub(super) interest: Interest,
    /// `None` once it has been dropped by its own answer.
    pub(super) call: Option<Call<C, S>>,
    /// Whether it came to its present interest in this pass, so that it waits for the next.
    pub(super) fresh: bool,
}

/// Most sources have one handler, which is therefore kept beside the source.
pub(super) struct Handlers<C, S> {
    first: Option<Handler<C, S>>,
    rest: Vec<Handler<C, S>>,
}

impl<C, S> Handlers<C, S> {
    pub(super) fn new() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, handler: Handler<C, S>) {
        if self.first.is_none() {
            self.first = Some(handler);
        } else {
            self.rest.push(handler);
        }
    }

    pub(super) fn at(&mut self, index: usize) -> Option<&mut Handler<C, S>> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.get_mut(index),
        }
    }

    /// Keeps those that `keep` says, in their order.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Handler<C, S>) -> bool) {
        self.rest.retain_mut(&mut keep);
        if self.first.as_mut().is_some_and(|first| !keep(first)) {
            let next = !self.rest.is_empty();
            self.first = next.then(|| self.rest.remove(0));
        }
    }

    /// What they wait for, together.
    pub(super) fn wants(&self) -> Event {
        let mut mask = Event::NONE;
        for handler in self.first.iter().chain(&self.rest) {
            mask |= handler.interest.event();
        }
        mask
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

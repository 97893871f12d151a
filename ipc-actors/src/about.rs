//! What every actor can be asked and told ahead of its messages, and what is known without asking.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::{decode, encode};
use crate::deferred::deferred;
use crate::link::Pending;
use crate::mailbox::{Control, InfoAsk, Mailbox};
use crate::proxy::{Route, answered_with};
use crate::wire::{Block, Order};
use crate::{Actor, AskError, Deferred, ExitReason, Info, Placement, Proxy, State};

impl<A: Actor> Proxy<A> {
    /// Asks for a sign of life, which does not wait behind messages: of an actor on the loop from
    /// that loop, of one in a thread from its mailbox, of one in a process from that process.
    pub fn ping(&self) -> Deferred<(), AskError> {
        let (resolver, answer) = deferred();
        let answer = answer.brought_by(self.bringer());
        match &self.route {
            Route::Here(mailbox) if mailbox.is_on_loop() => {
                if !mailbox.control(Control::Ping(resolver)) {
                    return Deferred::ready(Err(AskError::NotStarted));
                }
            }
            Route::Here(mailbox) if mailbox.status.state() == State::Running => {
                resolver.resolve(Ok(()));
            }
            Route::Here(_) => resolver.resolve(Err(AskError::NotStarted)),
            Route::Process(link) => {
                let pending = Pending::Bytes(Box::new(move |answer| {
                    resolver.resolve(answer.map(|_| ()));
                }));
                link.ask(pending, Order::Ping);
            }
            Route::Remote(remote) => remote.ping(Box::new(move |answer| {
                resolver.resolve(answer.map(|_| ()));
            })),
            Route::Up(up) => up.ping(Box::new(move |answer| {
                resolver.resolve(answer.map(|_| ()));
            })),
        }
        answer
    }

    /// Sends a value to where the actor runs and back, ahead of messages.
    pub fn echo<T>(&self, value: T) -> Deferred<T, AskError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        match &self.route {
            Route::Here(mailbox) if mailbox.status.state() == State::Running => {
                Deferred::ready(Ok(value))
            }
            Route::Here(_) => Deferred::ready(Err(AskError::NotStarted)),
            Route::Process(link) => {
                let mut bytes = Vec::new();
                if let Err(error) = encode(&value, &mut bytes) {
                    return Deferred::ready(Err(error));
                }
                let (resolver, answer) = deferred();
                let pending = Pending::Bytes(Box::new(move |answer| {
                    resolver.resolve(answer.and_then(decode));
                }));
                link.ask(pending, |request| Order::Echo(request, Block(bytes)));
                answer.brought_by(link.bringer())
            }
            // There and back takes the way that everything takes.
            Route::Up(up) => {
                let (resolver, answer) = deferred();
                up.ping(Box::new(move |pong| resolver.resolve(pong.map(|_| value))));
                answer
            }
            Route::Remote(remote) => {
                let mut bytes = Vec::new();
                if let Err(error) = encode(&value, &mut bytes) {
                    return Deferred::ready(Err(error));
                }
                let (resolver, answer) = deferred();
                remote.echo(bytes, answered_with(resolver));
                answer
            }
        }
    }

    /// Asks what the actor tells about itself, ahead of messages. While a message is at hand the answer
    /// comes at once, without what the actor's own hook would add; only an actor on the loop is asked
    /// when its turn comes.
    pub fn info(&self) -> Deferred<Info, AskError> {
        let (resolver, answer) = deferred();
        let answer = answer.brought_by(self.bringer());
        match &self.route {
            Route::Here(mailbox) => {
                let info = here_info(mailbox, self.placement());
                mailbox.ask_info(InfoAsk::new(info, resolver));
            }
            Route::Process(link) => link.ask(Pending::Info(resolver), Order::Info),
            Route::Remote(remote) => remote.info(resolver),
            Route::Up(up) => up.info(resolver),
        }
        answer
    }

    /// Asks the actor to end after the message at hand. Its supervisor treats that as an end by
    /// itself, so that a permanent actor comes back; to end one for good, use
    /// [`Arbiter::stop_actor`](crate::Arbiter::stop_actor). Answers whether the wish could be
    /// delivered.
    pub fn stop(&self, reason: ExitReason) -> bool {
        match &self.route {
            Route::Here(mailbox) => mailbox.control(Control::Stop(reason)),
            Route::Process(link) => link.order(Order::Stop(reason)),
            Route::Remote(remote) => remote.stop(),
            Route::Up(up) => up.stop(),
        }
    }

    /// Has the actor take no more messages; answers when those that it has are handled. Only for those
    /// that end it then.
    pub(crate) fn drain(&self) -> Deferred<(), AskError> {
        let (resolver, done) = deferred();
        match &self.route {
            Route::Here(mailbox) => mailbox.drain(resolver),
            Route::Process(link) => link.drain(resolver),
            // Its own arbiter does that.
            Route::Remote(_) | Route::Up(_) => resolver.resolve(Err(AskError::Lost)),
        }
        done
    }

    /// How many messages were told to the actor and are lost, over all its incarnations: they had left
    /// for a process that died, or waited for one that did not come back. After a crash a few of them
    /// may have been handled since the last answer. Asks are told so themselves and do not count. A
    /// remote actor's are not known.
    #[must_use]
    pub fn lost(&self) -> u64 {
        match &self.route {
            Route::Up(up) => up.lost(),
            _ => self.status().lost(),
        }
    }

    /// How many messages wait for the actor in this process.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.route {
            Route::Here(mailbox) => mailbox.len(),
            Route::Process(link) => link.waiting(),
            Route::Remote(_) | Route::Up(_) => 0,
        }
    }
}

/// What can be told of an actor in this process without its help.
pub(crate) fn here_info<A: Actor>(mailbox: &Mailbox<A>, placement: Placement) -> Info {
    let status = &mailbox.status;
    Info {
        id: mailbox.id,
        name: mailbox.name.to_string(),
        kind: A::NAME.to_owned(),
        state: status.state(),
        placement,
        pid: std::process::id(),
        incarnation: status.incarnation(),
        uptime_ms: status.uptime_ms(),
        handled: status.handled(),
        waiting: mailbox.len() as u64,
        busy_us: status.busy_us(),
        system: crate::SystemInfo::of(std::process::id()),
        extra: Default::default(),
    }
}

//! How actors are reached.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use serde::de::DeserializeOwned;

use crate::command::{CommandId, decode, encode};
use crate::deferred::{Resolver, deferred};
use crate::link::{Answered, Link, Refused};
use crate::local::Bringer;
use crate::mailbox::{Ask, Asked, Mailbox, Raw, Tell};
use crate::remote::RemoteRoute;
use crate::status::Status;
use crate::upward::{UpRoute, Upward};
use crate::{
    Actor, ActorId, AskError, Commands, Deferred, Message, Placement, Receive, SendError, State,
};

/// The way to an actor.
pub(crate) enum Route<A: Actor> {
    Here(Arc<Mailbox<A>>),
    Process(Arc<Link>),
    Remote(Arc<RemoteRoute>),
    /// Through the arbiter of this actor's process.
    Up(Arc<UpRoute>),
}

impl<A: Actor> Clone for Route<A> {
    fn clone(&self) -> Self {
        match self {
            Self::Here(mailbox) => Self::Here(Arc::clone(mailbox)),
            Self::Process(link) => Self::Process(Arc::clone(link)),
            Self::Remote(remote) => Self::Remote(Arc::clone(remote)),
            Self::Up(up) => Self::Up(Arc::clone(up)),
        }
    }
}

impl<A: Actor> Route<A> {
    pub(crate) fn status(&self) -> &Status {
        match self {
            Self::Here(mailbox) => &mailbox.status,
            Self::Process(link) => &link.status,
            Self::Remote(remote) => &remote.status,
            Self::Up(up) => &up.status,
        }
    }

    pub(crate) fn id(&self) -> ActorId {
        match self {
            Self::Here(mailbox) => mailbox.id,
            Self::Process(link) => link.id,
            Self::Remote(remote) => remote.id,
            Self::Up(up) => up.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Here(mailbox) => &mailbox.name,
            Self::Process(link) => &link.name,
            Self::Remote(remote) => &remote.name,
            Self::Up(up) => &up.name,
        }
    }
}

/// Reaches an actor, wherever it runs and whichever incarnation it is: the same type and the same
/// errors for every placement. Equal and hashed by the actor's id.
///
/// Messages of one sender arrive in the order in which they were sent, each at most once. Messages
/// that wait while the actor is restarted go to its next incarnation.
pub struct Proxy<A: Actor> {
    pub(crate) route: Route<A>,
}

impl<A: Actor> Proxy<A> {
    pub(crate) fn new(route: Route<A>) -> Self {
        Self { route }
    }

    pub(crate) fn status(&self) -> &Status {
        self.route.status()
    }

    /// The actor's id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.route.id()
    }

    /// The actor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.route.name()
    }

    /// Where the actor runs.
    #[must_use]
    pub fn placement(&self) -> Placement {
        match &self.route {
            Route::Here(mailbox) => mailbox.placement(),
            Route::Process(_) => Placement::Process,
            Route::Remote(remote) => remote.placement,
            Route::Up(up) => up.placement,
        }
    }

    /// A proxy whose messages do not pass through the arbiter, for an actor in its own process that has
    /// much to say to one in another: they share a ring of their own. Elsewhere, and where messages go
    /// straight already, it is this proxy again.
    ///
    /// What is sent by it keeps its order, but not that with what is sent by other proxies. It lasts for
    /// one incarnation: when the actor ends, questions are answered as always, and from then on it is
    /// `Disconnected`; the proxy that it was made from goes on reaching the next incarnation. All
    /// but messages goes through the arbiter as before.
    ///
    /// # Errors
    ///
    /// Of the result: [`NotStarted`](AskError::NotStarted) when the actor is not up or has as many ways as
    /// it may have, [`Full`](AskError::Full) when there are no more descriptors, [`Lost`](AskError::Lost)
    /// when the ring cannot be made.
    pub fn direct(&self) -> Deferred<Self, AskError> {
        match &self.route {
            Route::Up(up) if up.placement == Placement::Process && !up.is_direct() => {
                let (resolver, made) = deferred();
                Upward::lane(up).then(|up: Result<_, _>| {
                    resolver.resolve(up.map(|up| Self::new(Route::Up(up))));
                });
                made
            }
            _ => Deferred::ready(Ok(self.clone())),
        }
    }

    /// Where the actor is in its life, as last seen.
    #[must_use]
    pub fn state(&self) -> State {
        self.status().state()
    }

    /// How many times the actor was restarted, as last seen.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.status().incarnation()
    }

    /// Tells the actor something. Blocks while its mailbox is full; its end wakes the caller. On the
    /// thread that runs the actor it never blocks.
    ///
    /// # Errors
    ///
    /// The message, when the actor has ended for good, or when its mailbox is full and waiting here
    /// would wait for ever.
    pub fn send<M: Message>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        self.send_by(message, Deadline::Never)
    }

    /// Tells the actor something without blocking.
    ///
    /// # Errors
    ///
    /// The message, when the actor has ended for good or its mailbox is full.
    pub fn try_send<M: Message>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        self.send_by(message, Deadline::Now)
    }

    /// Tells the actor something, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`send`](Proxy::send), and `Timeout`.
    pub fn send_timeout<M: Message>(
        &self,
        message: M,
        timeout: Duration,
    ) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        self.send_by(message, Deadline::after(timeout))
    }

    /// Tells the actor something, waiting for room until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`send`](Proxy::send), and `Timeout`.
    pub fn send_deadline<M: Message>(
        &self,
        message: M,
        deadline: Instant,
    ) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        self.send_by(message, Deadline::At(deadline))
    }

    #[inline]
    fn send_by<M: Message>(&self, message: M, deadline: Deadline) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        match &self.route {
            Route::Here(mailbox) => {
                mailbox
                    .push(Tell(message), deadline)
                    .map_err(|refused| match refused {
                        SendError::Disconnected(Tell(message)) => SendError::Disconnected(message),
                        SendError::Draining(Tell(message)) => SendError::Draining(message),
                        SendError::Full(Tell(message)) => SendError::Full(message),
                        SendError::Timeout(Tell(message)) => SendError::Timeout(message),
                        SendError::Encode(Tell(message)) => SendError::Encode(message),
                    })
            }
            Route::Process(link) => link
                .push(CommandId::of(M::NAME), None, false, deadline, |out| {
                    encode(&message, out)
                })
                .map_err(|refused| refused.with(message)),
            Route::Remote(_) | Route::Up(_) => {
                let mut body = Vec::new();
                if encode(&message, &mut body).is_err() {
                    return Err(SendError::Encode(message));
                }
                let command = CommandId::of(M::NAME);
                let told = match &self.route {
                    Route::Up(up) => up.tell(command, body, deadline),
                    Route::Remote(remote) => remote.tell(command, body, deadline),
                    Route::Here(_) | Route::Process(_) => Ok(()),
                };
                told.map_err(|refused| refused.with(message))
            }
        }
    }

    /// Asks the actor something. Blocks while its mailbox is full, as [`send`](Proxy::send); then the
    /// answer is to come. The actor's end ends the wait for it at once, with
    /// [`NotStarted`](AskError::NotStarted) or [`Started`](AskError::Started).
    pub fn ask<M: Message>(&self, message: M) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_by(message, Deadline::Never)
    }

    /// Asks the actor something; the answer is [`Full`](AskError::Full) if there is no room.
    pub fn try_ask<M: Message>(&self, message: M) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_by(message, Deadline::Now)
    }

    /// Asks the actor something and waits for the answer for at most `timeout`. A late answer is
    /// dropped.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn ask_timeout<M: Message>(
        &self,
        message: M,
        timeout: Duration,
    ) -> Result<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_wait(message, Deadline::after(timeout))
    }

    /// Asks the actor something and waits for the answer until `deadline`. A late answer is dropped.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn ask_deadline<M: Message>(
        &self,
        message: M,
        deadline: Instant,
    ) -> Result<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_wait(message, Deadline::At(deadline))
    }

    fn ask_wait<M: Message>(&self, message: M, deadline: Deadline) -> Result<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        if self.bringer().is_caller() {
            return Err(AskError::Deadlock);
        }
        match self.ask_by(message, deadline).wait_until(deadline) {
            Ok(answer) => answer,
            Err(_late) => Err(AskError::Timeout),
        }
    }

    /// Who brings what this actor answers.
    #[inline]
    pub(crate) fn bringer(&self) -> Bringer {
        match &self.route {
            Route::Here(mailbox) => mailbox.bringer(),
            Route::Process(link) => link.bringer(),
            Route::Remote(_) | Route::Up(_) => Bringer::Anybody,
        }
    }

    fn ask_by<M: Message>(&self, message: M, deadline: Deadline) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        let (resolver, answer) = deferred();
        let answer = answer.brought_by(self.bringer());
        match &self.route {
            Route::Here(mailbox) => {
                let item = Ask(message, Asked::new(resolver));
                if let Err(refused) = mailbox.push(item, deadline) {
                    let error = match refused {
                        SendError::Draining(_) => AskError::Draining,
                        SendError::Full(_) => AskError::Full,
                        SendError::Timeout(_) => AskError::Timeout,
                        SendError::Disconnected(_) | SendError::Encode(_) => AskError::NotStarted,
                    };
                    refused.into_inner().1.answer(Err(error));
                }
            }
            Route::Process(link) => {
                let asked = Asked::new(resolver);
                let answered = Box::new(move |answer: Result<&[u8], AskError>| {
                    asked.answer(answer.and_then(decode));
                });
                let mut failed = None;
                let pushed = link.push(
                    CommandId::of(M::NAME),
                    Some(answered),
                    true,
                    deadline,
                    |out| encode(&message, out).inspect_err(|error| failed = Some(error.clone())),
                );
                match pushed {
                    Ok(()) => return answer.with_help(Arc::clone(link) as _),
                    // Dropping the callback has answered already.
                    Err(Refused::Disconnected) => {}
                    Err(Refused::Draining) => return Deferred::ready(Err(AskError::Draining)),
                    Err(Refused::Full) => return Deferred::ready(Err(AskError::Full)),
                    Err(Refused::Timeout) => return Deferred::ready(Err(AskError::Timeout)),
                    Err(Refused::Encode) => {
                        return Deferred::ready(Err(failed.unwrap_or(AskError::Lost)));
                    }
                }
            }
            Route::Remote(remote) => {
                let mut body = Vec::new();
                if let Err(error) = encode(&message, &mut body) {
                    return Deferred::ready(Err(error));
                }
                let answered = answered_with(resolver);
                remote.ask(CommandId::of(M::NAME), body, deadline, answered);
            }
            Route::Up(up) => {
                let mut body = Vec::new();
                if let Err(error) = encode(&message, &mut body) {
                    return Deferred::ready(Err(error));
                }
                let answered = answered_with(resolver);
                up.ask(CommandId::of(M::NAME), body, deadline, answered);
            }
        }
        answer
    }

    /// Asks with bytes; `answered` is called in any case.
    pub(crate) fn call(
        &self,
        commands: &Commands<A>,
        command: CommandId,
        body: &Arc<[u8]>,
        answered: Answered,
    ) {
        match &self.route {
            Route::Here(mailbox) => match commands.find(command) {
                Some(found) => {
                    let item = Raw::new(found.invoke, Arc::clone(body), answered);
                    // A refused item says so itself.
                    drop(mailbox.push(item, Deadline::Now));
                }
                None => answered(Err(AskError::UnknownCommand(format!("{:08x}", command.0)))),
            },
            Route::Remote(remote) => {
                remote.ask(command, body.to_vec(), Deadline::Now, answered);
            }
            Route::Up(up) => up.ask(command, body.to_vec(), Deadline::Now, answered),
            Route::Process(link) => {
                let answered = Certain(Some(answered));
                let answered = Box::new(move |answer: Result<&[u8], AskError>| {
                    answered.call(answer);
                });
                // Likewise.
                let _ = link.push(command, Some(answered), false, Deadline::Now, |out| {
                    out.extend_from_slice(body);
                    Ok(())
                });
            }
        }
    }
}

/// Gives the answer's bytes as a value to whoever waits for it.
pub(crate) fn answered_with<T: DeserializeOwned + Send + 'static>(
    resolver: Resolver<T, AskError>,
) -> Answered {
    Box::new(move |answer| resolver.resolve(answer.and_then(decode)))
}

/// A callback that is called even if it is dropped.
struct Certain(Option<Answered>);

impl Certain {
    fn call(mut self, answer: Result<&[u8], AskError>) {
        if let Some(answered) = self.0.take() {
            answered(answer);
        }
    }
}

impl Drop for Certain {
    fn drop(&mut self) {
        if let Some(answered) = self.0.take() {
            answered(Err(AskError::NotStarted));
        }
    }
}

impl<A: Actor> Clone for Proxy<A> {
    fn clone(&self) -> Self {
        Self {
            route: self.route.clone(),
        }
    }
}

impl<A: Actor> PartialEq for Proxy<A> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<A: Actor> Eq for Proxy<A> {}

impl<A: Actor> Hash for Proxy<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<A: Actor> fmt::Debug for Proxy<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("placement", &self.placement())
            .finish()
    }
}

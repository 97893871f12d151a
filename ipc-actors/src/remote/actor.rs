//! An actor of another program whose type the caller does not know.

use std::fmt;
use std::sync::Arc;

use ipc_core::Deadline;

use super::client::RemoteRoute;
use super::wire::Found;
use crate::command::CommandId;
use crate::deferred::{Resolver, deferred};
use crate::link::{Answered, Refused};
use crate::{ActorId, AskError, Deferred, Info, Placement, SendError};

/// An actor of another program whose type the caller does not know: its commands are called by their
/// names, with JSON in and out. Made by [`RemoteArbiter::find`](crate::RemoteArbiter::find); for tools.
#[derive(Clone)]
pub struct RemoteActor {
    route: Arc<RemoteRoute>,
    kind: String,
    commands: Vec<String>,
}

impl RemoteActor {
    pub(super) fn new(route: Arc<RemoteRoute>, found: Found) -> Self {
        let Found { kind, commands, .. } = found;
        Self {
            route,
            kind,
            commands,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.route.id
    }

    /// The name by which it was found.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.route.name
    }

    /// The name of its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where it runs.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.route.placement
    }

    /// The commands that it has registered and this connection may use, sorted. `ping`, `echo`, `info`
    /// and `stop` come on top of these.
    #[must_use]
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Calls a command with its message in JSON; the answer is in JSON, too. Blocks while the
    /// connection has no room.
    ///
    /// A message without fields (`struct Read;`) is `null`, one like `struct Add(u64)` a bare value,
    /// one with named fields an object. The program that has the actor must be compiled with the
    /// feature `json`; else it knows no such command.
    pub fn call(&self, command: &str, message: &str) -> Deferred<String, AskError> {
        let (resolver, answer) = deferred();
        let name = command.to_owned();
        let answered = move |answer: Result<&[u8], AskError>| {
            let answer = answer.and_then(|bytes| {
                let text = std::str::from_utf8(bytes);
                text.map(str::to_owned)
                    .map_err(|_| AskError::Codec("the answer is no text".to_owned()))
            });
            resolver.resolve(answer.map_err(|error| match error {
                AskError::UnknownCommand(_) => AskError::UnknownCommand(name),
                error => error,
            }));
        };
        let (id, body) = (CommandId::of_text(command), message.as_bytes().to_vec());
        self.route
            .ask(id, body, Deadline::Never, Box::new(answered));
        answer
    }

    /// Tells a command with its message in JSON; nobody hears whether it was known or allowed.
    ///
    /// # Errors
    ///
    /// Why it could not be sent.
    pub fn send(&self, command: &str, message: &str) -> Result<(), SendError<()>> {
        let (id, body) = (CommandId::of_text(command), message.as_bytes().to_vec());
        let sent = self.route.tell(id, body, Deadline::Never);
        sent.map_err(|refused: Refused| refused.with(()))
    }

    /// As [`Proxy::ping`](crate::Proxy::ping).
    pub fn ping(&self) -> Deferred<(), AskError> {
        let (resolver, answer) = deferred();
        self.route.ping(done(resolver));
        answer
    }

    /// Sends a text there and back, as [`Proxy::echo`](crate::Proxy::echo) does with a value.
    pub fn echo(&self, text: &str) -> Deferred<String, AskError> {
        let (resolver, answer) = deferred();
        let answered = move |answer: Result<&[u8], AskError>| {
            resolver.resolve(answer.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        };
        self.route
            .echo(text.as_bytes().to_vec(), Box::new(answered));
        answer
    }

    /// As [`Proxy::info`](crate::Proxy::info).
    pub fn info(&self) -> Deferred<Info, AskError> {
        let (resolver, answer) = deferred();
        self.route.info(resolver);
        answer
    }

    /// As [`Proxy::stop`](crate::Proxy::stop): a permanent actor comes back. To end one for good, use
    /// [`RemoteArbiter::stop_actor`](crate::RemoteArbiter::stop_actor).
    pub fn stop(&self) -> bool {
        self.route.stop()
    }
}

fn done(resolver: Resolver<(), AskError>) -> Answered {
    Box::new(move |answer| resolver.resolve(answer.map(|_| ())))
}

impl fmt::Debug for RemoteActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteActor")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

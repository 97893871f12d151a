//! What an actor is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ActorId, Commands, Context, ExitReason, Message, Reply};

/// Why a hook failed: any error. Its text becomes part of the [`ExitReason`].
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// State behind a mailbox.
///
/// One value lives on one thread and is called by one message at a time, wherever it is placed: on
/// the arbiter's loop, in a thread of its own or in a process of its own. It is made in that place
/// from `Params`, which the arbiter keeps to make it again.
///
/// The hooks run in the order `init`, `start`, messages, `stop`, `exit`. A hook or handler that
/// panics ends this actor only, with [`ExitReason::Panicked`] (unless the program is compiled with
/// `panic = "abort"`, which only actors in processes survive).
pub trait Actor: Sized + 'static {
    /// What it is made from.
    type Params: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// The name of the kind. Actors that are not given a name of their own are called after it and their id.
    const NAME: &'static str;

    /// Registers the messages it understands. What is not registered here can be sent only to actors
    /// in the same process.
    fn commands(commands: &mut Commands<Self>);

    /// Makes the actor. Whoever spawns it waits for this and for [`start`](Actor::start).
    ///
    /// # Errors
    ///
    /// Ends the start; the text is the spawner's error.
    fn init(params: Self::Params, ctx: &mut Context<'_, Self>) -> Result<Self, Failure>;

    /// Called once, after `init` and before the first message.
    ///
    /// # Errors
    ///
    /// As [`init`](Actor::init).
    fn start(&mut self, ctx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let _ = ctx;
        Ok(())
    }

    /// Called whenever the mailbox has become empty.
    ///
    /// # Errors
    ///
    /// Ends the actor with [`ExitReason::Failed`].
    fn task(&mut self, ctx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let _ = ctx;
        Ok(())
    }

    /// Called once when the actor ends in any way but by a panic or a kill. No message follows.
    fn stop(&mut self, reason: &ExitReason, ctx: &mut Context<'_, Self>) {
        let _ = (reason, ctx);
    }

    /// An actor that it was linked to has ended other than normally, for this reason. Called between two
    /// messages, ahead of those that wait, if the actor [traps exits](crate::Spec::trap_exits).
    fn link_ended(&mut self, id: ActorId, reason: &ExitReason, ctx: &mut Context<'_, Self>) {
        let _ = (id, reason, ctx);
    }

    /// Called last, to give up what it holds.
    fn exit(self) {}

    /// Adds to what the command `info` answers. Must not contain secrets.
    fn info(&self, info: &mut BTreeMap<String, String>) {
        let _ = info;
    }
}

/// An actor that understands a message, and answers it before it handles the next.
pub trait Handler<M: Message>: Actor {
    /// Handles one message and answers it. For a message that was told and not asked, the answer is
    /// dropped.
    fn handle(&mut self, message: M, ctx: &mut Context<'_, Self>) -> M::Reply;
}

/// An actor that understands a message: every [`Handler`] does. Implement it directly for a message
/// whose answer may have to wait for something, so that others are handled meanwhile.
///
/// ```
/// use ipc_actors::{Actor, Commands, Context, Failure, Handler, Message, Receive, Reply};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Wait;
///
/// impl Message for Wait {
///     type Reply = String;
///     const NAME: &'static str = "wait";
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Tell(String);
///
/// impl Message for Tell {
///     type Reply = ();
///     const NAME: &'static str = "tell";
/// }
///
/// /// Keeps those who wait until there is news.
/// struct News(Vec<Reply<String>>);
///
/// impl Receive<Wait> for News {
///     fn receive(&mut self, _: Wait, reply: Reply<String>, _: &mut Context<'_, Self>) {
///         self.0.push(reply);
///     }
/// }
///
/// impl Handler<Tell> for News {
///     fn handle(&mut self, Tell(news): Tell, _: &mut Context<'_, Self>) {
///         for reply in self.0.drain(..) {
///             reply.answer(news.clone());
///         }
///     }
/// }
/// # impl Actor for News {
/// #     type Params = ();
/// #     const NAME: &'static str = "news";
/// #     fn commands(commands: &mut Commands<Self>) {
/// #         commands.on::<Wait>().on::<Tell>();
/// #     }
/// #     fn init(_: (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
/// #         Ok(Self(Vec::new()))
/// #     }
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not understand `{M}`",
    note = "implement `Handler<{M}>`, or `Receive<{M}>` to answer later"
)]
pub trait Receive<M: Message>: Actor {
    /// Handles one message. Its answer, now or later, goes into `reply`; for a message that was told and
    /// not asked that leads nowhere.
    fn receive(&mut self, message: M, reply: Reply<M::Reply>, ctx: &mut Context<'_, Self>);

    /// Handles one message that was told and not asked: as [`receive`](Receive::receive) does, unless it is
    /// said otherwise.
    #[inline]
    fn told(&mut self, message: M, ctx: &mut Context<'_, Self>) {
        self.receive(message, Reply::nobody(), ctx);
    }
}

impl<M: Message, A: Handler<M>> Receive<M> for A {
    #[inline]
    fn receive(&mut self, message: M, reply: Reply<M::Reply>, ctx: &mut Context<'_, Self>) {
        reply.answer(self.handle(message, ctx));
    }

    #[inline]
    fn told(&mut self, message: M, ctx: &mut Context<'_, Self>) {
        drop(self.handle(message, ctx));
    }
}

//! What an actor is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ActorId, Commands, Context, ExitReason, Message};

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

    /// The name of the kind, and of actors that are not given another.
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

/// An actor that understands a message.
pub trait Handler<M: Message>: Actor {
    /// Handles one message and answers it. For a message that was told and not asked, the answer is
    /// dropped.
    fn handle(&mut self, message: M, ctx: &mut Context<'_, Self>) -> M::Reply;
}

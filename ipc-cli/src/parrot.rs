//! The actor that `smoke` talks to.

use ipc_actors::{Actor, Commands, Context, Failure, Handler, Message};
use serde::{Deserialize, Serialize};

/// Says what it hears twice.
#[derive(Debug)]
pub(crate) struct Parrot;

/// Something to be said twice.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Repeat(pub(crate) String);

impl Message for Repeat {
    type Reply = String;
    const NAME: &'static str = "repeat";
}

impl Actor for Parrot {
    type Params = ();
    const NAME: &'static str = "parrot";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Repeat>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<Repeat> for Parrot {
    fn handle(&mut self, Repeat(words): Repeat, _: &mut Context<'_, Self>) -> String {
        format!("{words} {words}")
    }
}

//! The demonstration application: workers that compute, wait and crash as they are told.

use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{Access, Actor, Commands, Context, Failure, Handler, Message};
use serde::{Deserialize, Serialize};

/// The name of the workers' kind, of the application's pool, and by which the pool is called.
pub(crate) const NAME: &str = "demo";

/// How long one call may have a worker wait.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// How often a worker that waits says that it is not stuck.
const NAP: Duration = Duration::from_secs(1);

/// A worker of the application.
#[derive(Debug)]
pub(crate) struct Demo;

/// A number times itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Square(i64);

impl Message for Square {
    type Reply = Result<i64, String>;
    const NAME: &'static str = "square";
}

/// That many seconds of waiting; answers the process that waited.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sleep(f64);

impl Message for Sleep {
    type Reply = Result<u32, String>;
    const NAME: &'static str = "sleep";
}

/// The end of the worker's process, in the middle of its work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Crash;

impl Message for Crash {
    type Reply = ();
    const NAME: &'static str = "crash";
}

impl Actor for Demo {
    type Params = ();
    const NAME: &'static str = NAME;

    fn commands(commands: &mut Commands<Self>) {
        commands
            .on_access::<Square>(Access::Authenticated)
            .on_access::<Sleep>(Access::Authenticated)
            .on_access::<Crash>(Access::Authenticated);
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<Square> for Demo {
    fn handle(&mut self, Square(number): Square, _: &mut Context<'_, Self>) -> Result<i64, String> {
        let square = number.checked_mul(number);
        square.ok_or_else(|| format!("the square of {number} has more than 64 bits"))
    }
}

impl Handler<Sleep> for Demo {
    fn handle(
        &mut self,
        Sleep(seconds): Sleep,
        ctx: &mut Context<'_, Self>,
    ) -> Result<u32, String> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if time <= SLEEP_MAX => {
                let until = Instant::now() + time;
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    thread::park_timeout(left.min(NAP));
                    // Long, and not stuck.
                    ctx.progress();
                }
                Ok(std::process::id())
            }
            _ => Err(format!(
                "sleep takes from 0 to {} seconds",
                SLEEP_MAX.as_secs()
            )),
        }
    }
}

impl Handler<Crash> for Demo {
    fn handle(&mut self, Crash: Crash, _: &mut Context<'_, Self>) {
        std::process::abort();
    }
}

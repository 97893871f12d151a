//! Supervised actors, in each placement.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ipc_actors::{Arbiter, ArbiterOptions, ArbiterThread, Placement, Proxy, Spec};

use super::check::{Check, Verdict};
use crate::args::Layer;
use crate::parrot::{Parrot, Repeat};

pub(crate) const CHECKS: &[Check] = &[
    check("actor on the loop", local),
    check("actor in a thread", thread),
    check("actor in a process", process),
    check("a killed actor is restarted", killed),
];

const fn check(name: &'static str, run: fn() -> Result<Verdict>) -> Check {
    Check {
        layer: Layer::Actors,
        name,
        run,
    }
}

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn local() -> Result<Verdict> {
    converse(Placement::Local)
}

fn thread() -> Result<Verdict> {
    converse(Placement::Thread)
}

fn process() -> Result<Verdict> {
    converse(Placement::Process)
}

/// Runs `test` on an arbiter of its own and ends that, with everything in it.
fn with_arbiter(test: impl FnOnce(&Arbiter) -> Result<()>) -> Result<Verdict> {
    let thread = ArbiterThread::start(ArbiterOptions::default())?;
    let tested = test(&thread.arbiter());
    let status = thread.finish()?;
    tested?;
    ensure!(status == 0, "the arbiter ended with status {status}");
    Ok(Verdict::Passed)
}

fn spawn(arbiter: &Arbiter, placement: Placement) -> Result<Proxy<Parrot>> {
    let spec = Spec::<Parrot>::new(()).placement(placement);
    Ok(arbiter.spawn(spec).wait()?)
}

fn converse(placement: Placement) -> Result<Verdict> {
    with_arbiter(|arbiter| {
        let parrot = spawn(arbiter, placement)?;
        parrot.ping().wait()?;
        let echo = parrot.echo("hello".to_owned()).wait()?;
        ensure!(echo == "hello", "the echo of hello was {echo:?}");
        let own = parrot.info().wait()?.pid == std::process::id();
        ensure!(
            own == (placement != Placement::Process),
            "the actor is in the wrong process"
        );
        let answer = parrot.ask_timeout(Repeat("more".to_owned()), PATIENCE)?;
        ensure!(answer == "more more", "it said {answer:?}");
        let ended = arbiter.stop_actor(parrot.id()).wait()?;
        ensure!(ended.is_some(), "it had ended before it was stopped");
        Ok(())
    })
}

fn killed() -> Result<Verdict> {
    with_arbiter(|arbiter| {
        let parrot = spawn(arbiter, Placement::Process)?;
        let before = parrot.info().wait()?.pid;
        Command::new("kill")
            .args(["-9", &before.to_string()])
            .status()?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // Until the arbiter has noticed, a question ends with an error instead of an answer.
            match parrot.info().wait_timeout(PATIENCE) {
                Ok(Ok(info)) if info.pid != before => return Ok(()),
                _ => {}
            }
        }
        bail!("it was not restarted within {} s", PATIENCE.as_secs())
    })
}

//! A selector between this process and another.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use ipc_core::Socket;
use ipc_dispatch::{Control, Exit, Selector};
use ipc_marshal::Duct;

use super::check::{Check, Verdict};
use super::other::Other;
use crate::args::Layer;

pub(crate) const CHECKS: &[Check] = &[
    check("alarms in order", alarms),
    check("messages with another process", messages),
    check("post and stop from another thread", post),
    check("child's end is told", child),
];

const fn check(name: &'static str, run: fn() -> Result<Verdict>) -> Check {
    Check {
        layer: Layer::Dispatch,
        name,
        run,
    }
}

fn alarms() -> Result<Verdict> {
    let mut selector = Selector::<Vec<u32>>::new()?;
    for (delay, name) in [(4, 3), (0, 0), (2, 1), (2, 2)] {
        selector.alarm(Duration::from_millis(delay), move |ctx| {
            ctx.state.push(name);
        });
    }
    let mut rang = Vec::new();
    let exit = selector.run(&mut rang)?;
    ensure!(exit == Exit::Idle, "the loop ended with {exit:?}");
    ensure!(rang == [0, 1, 2, 3], "the alarms rang as {rang:?}");
    Ok(Verdict::Passed)
}

/// How many messages go forth and back.
const MESSAGES: usize = 200;

fn messages() -> Result<Verdict> {
    let (ours, theirs) = Socket::pair()?;
    let other = Other::inheriting("messages", theirs)?;
    let mut duct = Duct::<Vec<u8>, Vec<u8>>::from_channel(ours.into());
    duct.send(Vec::new())?;
    let mut selector = Selector::<usize>::new()?;
    let key = selector.add(duct);
    selector.on_message(key, |duct, message, ctx| {
        let Ok(mut message) = message else {
            return Control::Close;
        };
        *ctx.state += usize::from(message.len() == *ctx.state);
        message.push(0);
        if message.len() == MESSAGES || duct.try_send(message).is_err() {
            return Control::Close;
        }
        Control::Keep
    })?;
    let mut count = 0;
    selector.run(&mut count)?;
    ensure!(
        count == MESSAGES,
        "{count} of {MESSAGES} messages came back"
    );
    other.finish()?;
    Ok(Verdict::Passed)
}

fn post() -> Result<Verdict> {
    let mut selector = Selector::<u32>::new()?;
    let poster = selector.poster();
    let posting = std::thread::spawn(move || {
        for _ in 0..1000 {
            if poster.post(|ctx| *ctx.state += 1).is_err() {
                return;
            }
        }
        // An error would mean that the loop has gone already.
        let _ = poster.post(|ctx| ctx.stop());
    });
    selector.set_persistent(true);
    let mut count = 0;
    let exit = selector.run(&mut count)?;
    posting.join().expect("posting does not panic");
    ensure!(exit == Exit::Stopped, "the loop ended with {exit:?}");
    ensure!(count == 1000, "{count} of 1000 posts ran");
    Ok(Verdict::Passed)
}

fn child() -> Result<Verdict> {
    let (ours, theirs) = Socket::pair()?;
    let mut other = Other::inheriting("silent", theirs)?;
    other.kill()?;
    let mut selector = Selector::<Option<String>>::new()?;
    selector.on_child(other.id(), |status, ctx| {
        *ctx.state = Some(match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        });
    })?;
    let mut told = None;
    selector.run(&mut told)?;
    drop(ours);
    match told {
        Some(status) if status.contains("signal: 9") => Ok(Verdict::Passed),
        other => bail!("expected signal 9, was told {other:?}"),
    }
}

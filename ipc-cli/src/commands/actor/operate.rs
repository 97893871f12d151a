//! What an operator asks of an application that runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use ipc_actors::{AskError, Deferred, RemoteArbiter};
use ipc_core::{Address, AnyChannel};
use serde_json::Value;

use super::args::{
    Action, ActorArgs, CallArgs, ConfigArgs, InfoArgs, ReloadArgs, StopArgs, Target,
};
use super::serve::serve;
use super::tree::{pool_rows, rows, summary, tree_json};
use crate::key::read_key;
use crate::output::Output;
use crate::run::Outcome;

/// How long an arbiter may take for an answer of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an application may take to end: longer than its workers are given.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Does what is asked for.
///
/// # Errors
///
/// When nobody answers, or the answer is an error.
pub(crate) fn run(args: &ActorArgs) -> Result<Outcome> {
    match &args.action {
        Action::Serve(args) => serve(args),
        Action::Call(args) => call(args),
        Action::Info(args) => info(args),
        Action::Config(args) => config(args),
        Action::Reload(args) => reload(args),
        Action::Stop(args) => stop(args),
    }
}

/// Connects to an application.
///
/// # Errors
///
/// When nobody listens there, or the caller is not welcome.
pub(crate) fn connect(target: &Target) -> Result<RemoteArbiter> {
    let key = target.key_file.as_deref().map(read_key).transpose()?;
    Ok(RemoteArbiter::connect(&target.address, key.as_ref())?)
}

fn answer<T>(deferred: Deferred<T, AskError>, patience: Duration) -> Result<T> {
    match deferred.wait_timeout(patience) {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(AskError::Timeout.into()),
    }
}

fn call(args: &CallArgs) -> Result<Outcome> {
    let mut output = Output::open()?;
    let remote = connect(&args.target)?;
    let actor = remote.find(&args.name)?;
    let patience = Duration::from_secs(args.timeout.into());
    let command = args.command.as_str();
    let message = args.message.to_string();
    let text = match command {
        "ping" => answer(actor.ping(), patience).map(|()| "\"pong\"".to_owned()),
        "echo" => answer(actor.echo(&message), patience),
        _ => answer(actor.call(command, &message), patience),
    };
    let text = text.map_err(|error| match error.downcast_ref() {
        Some(AskError::UnknownCommand(_)) => {
            let known = actor.commands().join(", ");
            anyhow!("{} knows ping, echo, {known}, not {command}", args.name)
        }
        _ => error.context(format!("{command} was not answered")),
    })?;
    // What a task answers as an error is one here, too.
    let value: Value = serde_json::from_str(&text).context("the answer is no JSON")?;
    if let Some(error) = value.get("Err") {
        bail!(
            "{command}: {}",
            error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned)
        );
    }
    output.line(value.get("Ok").unwrap_or(&value))?;
    output.flush()?;
    Ok(Outcome::Complete)
}

fn info(args: &InfoArgs) -> Result<Outcome> {
    show(&args.target, args.json)
}

/// Prints what an application has below it.
///
/// # Errors
///
/// When nobody answers.
pub(crate) fn show(target: &Target, json: bool) -> Result<Outcome> {
    let mut output = Output::open()?;
    let tree = answer(connect(target)?.tree(), PATIENCE).context("the tree was not told")?;
    if json {
        output.line(tree_json(&tree))?;
    } else {
        output.line(summary(&tree))?;
        for rows in [pool_rows(&tree), rows(&tree)] {
            let mut rows = rows.into_iter();
            let mut table = Table::new();
            table
                .load_style(NOTHING)
                .set_header(rows.next().unwrap_or_default());
            table.add_rows(rows);
            output.line(table.trim_fmt())?;
        }
    }
    output.flush()?;
    Ok(Outcome::Complete)
}

fn config(args: &ConfigArgs) -> Result<Outcome> {
    let remote = connect(&args.target)?;
    let name = args.name.as_deref().unwrap_or_default();
    if let Some(value) = &args.value {
        let set = answer(remote.config_set(name, value), PATIENCE)
            .with_context(|| format!("{name} was not changed"))?;
        return set.map(|()| Outcome::Complete).map_err(|why| anyhow!(why));
    }
    let mut output = Output::open()?;
    if args.name.is_some() {
        let value = answer(remote.config_get(name), PATIENCE)
            .with_context(|| format!("{name} was not told"))?;
        output.line(value.ok_or_else(|| anyhow!("there is no setting {name}"))?)?;
    } else {
        let all = answer(remote.config(), PATIENCE).context("the settings were not told")?;
        for (name, value) in all {
            output.line(format!("{name} = {value}"))?;
        }
    }
    output.flush()?;
    Ok(Outcome::Complete)
}

fn reload(args: &ReloadArgs) -> Result<Outcome> {
    let remote = connect(&args.target)?;
    answer(remote.reload(), PATIENCE).context("the workers were not replaced")?;
    Ok(Outcome::Complete)
}

fn stop(args: &StopArgs) -> Result<Outcome> {
    let remote = connect(&args.target)?;
    answer(remote.shutdown(), PATIENCE).context("it does not stop")?;
    drop(remote);
    let until = Instant::now() + END_PATIENCE;
    let address = &args.target.address;
    while is_there(address) {
        if Instant::now() > until {
            bail!("it was asked to stop, and is still there after {END_PATIENCE:?}");
        }
        // Nothing tells of the end of a process that is no child: it is looked at again.
        std::thread::park_timeout(LOOK);
    }
    Ok(Outcome::Complete)
}

/// Whether somebody listens at this address.
fn is_there(address: &Address) -> bool {
    AnyChannel::connect(address).is_ok()
}

//! Peers come, talk and go while signals are listened to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use ipc_core::{AnyChannel, Port};
use ipc_dispatch::{Context, Control, Key, Poster, Selector};
use ipc_marshal::AuthRole;

use super::args::{DuctArgs, LinkArgs, Side};
use super::conversation::Terms;
use super::lines::{self, Faults};
use crate::interrupt::SIGNALS;
use crate::key::read_key;
use crate::output::{Output, complain};
use crate::run::Outcome;

/// How many peers may be sent their messages back at the same time.
const ECHOES_MAX: usize = 64;

/// What the loop knows.
struct Desk {
    terms: Arc<Terms>,
    once: bool,
    active: usize,
    active_max: usize,
    /// Set when everything is over.
    end: Option<Result<Outcome>>,
}

/// Listens or connects until the peer is gone, or for ever.
///
/// # Errors
///
/// When the address cannot be had, the only peer cannot be talked to, or standard output cannot be
/// written to.
pub(crate) fn run(args: &DuctArgs) -> Result<Outcome> {
    let (Side::Listen(link) | Side::Connect(link)) = &args.side;
    drop(Output::open()?);
    let faults = Faults::default();
    let terms = Arc::new(Terms {
        framing: link.framing.framing(),
        codec: link.codec(),
        key: link.authkey_file.as_deref().map(read_key).transpose()?,
        values: match link.echo {
            true => None,
            false => Some(lines::read(faults.clone())?),
        },
        unsent: Mutex::default(),
        mute: AtomicBool::default(),
        faults,
    });
    let mut desk = Desk {
        terms: Arc::clone(&terms),
        once: link.once || matches!(args.side, Side::Connect(_)),
        active: 0,
        active_max: if link.echo { ECHOES_MAX } else { 1 },
        end: None,
    };
    let mut selector = Selector::new()?;
    selector.set_persistent(true);
    for signal in SIGNALS {
        selector.on_signal(signal, move |ctx: &mut Context<'_, Desk>| {
            ctx.state.end = Some(Ok(Outcome::Interrupted(signal)));
            Control::Stop
        })?;
    }
    match args.side {
        Side::Listen(_) => listen(&mut selector, link)?,
        Side::Connect(_) => {
            let address = link.address.clone();
            desk.active = 1;
            start(&terms, selector.poster(), None, move |terms| {
                let channel = AnyChannel::connect(&address)
                    .with_context(|| format!("cannot connect to '{address}'"))?;
                terms
                    .converse(channel, AuthRole::Client)
                    .with_context(|| format!("talking to '{address}'"))
            })?;
        }
    }
    selector.run(&mut desk)?;
    // The port closes before anything else is said: its file is gone when the command is.
    drop(selector);
    let outcome = desk.end.context("the loop ended by itself")??;
    let unsent = terms.unsent.lock();
    let unsent = unsent.unwrap_or_else(PoisonError::into_inner).take();
    let is_left = |lines: &lines::Lines| lines.is_left();
    let left = unsent.is_some() || terms.values.as_ref().is_some_and(is_left);
    if outcome == Outcome::Complete && left {
        terms
            .faults
            .report(&anyhow!("the peer was gone before all lines were sent"));
    }
    Ok(match outcome {
        Outcome::Complete if terms.faults.any() => Outcome::Partial,
        outcome => outcome,
    })
}

fn listen(selector: &mut Selector<Desk>, link: &LinkArgs) -> Result<()> {
    let port = Port::bind(&link.address)
        .with_context(|| format!("cannot listen at '{}'", link.address))?;
    announce(port.address());
    let key = selector.add(port);
    selector.on_readable(key, move |port, ctx| accept(key, port, ctx))?;
    Ok(())
}

/// Tells where peers can connect, in a line that holds nothing else.
fn announce(address: &ipc_core::Address) {
    use std::io::Write;
    // That nobody reads it is no reason not to listen.
    let _ = writeln!(std::io::stderr().lock(), "{address}");
}

fn accept(key: Key<Port>, port: &mut Port, ctx: &mut Context<'_, Desk>) -> Control {
    let channel = match port.try_accept() {
        Ok(channel) => channel,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Control::Keep,
        Err(error) => {
            ctx.state.end = Some(Err(anyhow!(error).context("cannot accept a peer")));
            return Control::Stop;
        }
    };
    let again = (!ctx.state.once).then_some(key);
    let started = start(&ctx.state.terms, ctx.poster(), again, |terms| {
        terms.converse(channel, AuthRole::Listener)
    });
    if let Err(error) = started {
        ctx.state.end = Some(Err(error));
        return Control::Stop;
    }
    ctx.state.active += 1;
    if ctx.state.once {
        return Control::Close;
    }
    // The end of a conversation brings the handler back.
    (ctx.state.active < ctx.state.active_max).into()
}

/// Runs a conversation on a thread of its own and tells the loop when it is over. `port` is where
/// another peer is accepted then; without one, everything is over.
fn start(
    terms: &Arc<Terms>,
    poster: Poster<Desk>,
    port: Option<Key<Port>>,
    converse: impl FnOnce(&Terms) -> Result<()> + Send + 'static,
) -> Result<()> {
    let terms = Arc::clone(terms);
    thread::Builder::new()
        .name("peer".to_owned())
        .spawn(move || {
            let result = converse(&terms);
            // A loop that is gone has no use for it.
            let _ = poster.post(move |ctx| over(port, result, ctx));
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn over(port: Option<Key<Port>>, result: Result<()>, ctx: &mut Context<'_, Desk>) {
    let was_full = ctx.state.active == ctx.state.active_max;
    ctx.state.active -= 1;
    let mute = ctx.state.terms.mute.load(Ordering::Relaxed);
    let Some(port) = port.filter(|_| !mute) else {
        ctx.state.end = Some(result.map(|()| Outcome::Complete));
        return ctx.stop();
    };
    if let Err(error) = result {
        complain(format_args!("{error:#}"));
    }
    if was_full && let Err(error) = ctx.on_readable(port, move |p, ctx| accept(port, p, ctx)) {
        ctx.state.end = Some(Err(error.into()));
        ctx.stop();
    }
}

//! Accepting peers and keeping their connections in order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Port};
use nix::errno::Errno;

use crate::{
    AlarmId, Completer, Context, Control, Deferred, Key, Lane, Next, Outcome, Registry, Source,
    SourceId, Stream, StreamOptions,
};

/// How many peers are accepted before other sources get their turn.
const ACCEPTS_MAX: usize = 16;

/// How often a draining server looks which connections have become quiet.
const DRAIN_EVERY: Duration = Duration::from_millis(10);

/// Limits of a [`Server`].
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    connections_max: usize,
    idle_timeout: Option<Duration>,
    accept_pause: Duration,
    stream: StreamOptions,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            idle_timeout: None,
            accept_pause: Duration::from_secs(1),
            stream: StreamOptions::new(),
        }
    }
}

impl ServerOptions {
    /// The defaults: 10,000 connections, no time-out, a second's pause when descriptors have run out.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections are open at once. More peers wait to be accepted.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count.max(1);
        self
    }

    /// After how long without a byte from the peer, or taken by it, a connection is closed.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// For how long no peer is accepted when descriptors or memory have run out.
    #[must_use]
    pub fn accept_pause(mut self, pause: Duration) -> Self {
        self.accept_pause = pause;
        self
    }

    /// The limits of each connection's stream.
    #[must_use]
    pub fn stream(mut self, options: StreamOptions) -> Self {
        self.stream = options;
        self
    }
}

/// What the server and a connection's handler both know about the connection.
struct Connection {
    last: Cell<Instant>,
    /// Whether its handler ran since the draining server last looked.
    active: Cell<bool>,
    busy: Cell<bool>,
    /// What was pending when the time-out last looked.
    pending: Cell<usize>,
}

/// Makes a source of an accepted channel.
type Open<'a, S> =
    dyn FnMut(AnyChannel, &Rc<Connection>, &mut Context<'_, S>) -> io::Result<SourceId> + 'a;

struct State {
    port: Option<Key<Port>>,
    address: ipc_core::Address,
    connections: BTreeMap<SourceId, Rc<Connection>>,
    accepted: u64,
    pauses: u64,
    /// Whether the port waits for a connection to close.
    full: bool,
    draining: bool,
    drained: Vec<Completer<()>>,
    lane: Option<Lane>,
}

/// A port whose peers are accepted by a loop, and their connections.
///
/// Made by [`Registry::serve`] for bytes and [`Registry::serve_ducts`] for messages. When descriptors
/// run out it stops accepting for a while instead of spinning; connections that are idle for too long
/// are closed; [`drain`](Self::drain) ends it without cutting anybody short. A clone is the same
/// server; dropping it changes nothing.
#[derive(Clone)]
pub struct Server(Rc<RefCell<State>>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Where it accepts, or did.
    pub fn address(&self) -> ipc_core::Address {
        self.0.borrow().address.clone()
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.0.borrow().connections.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().connections.is_empty()
    }

    /// The open connections.
    pub fn connections(&self) -> Vec<SourceId> {
        self.0.borrow().connections.keys().copied().collect()
    }

    /// How many peers were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.0.borrow().accepted
    }

    /// How often accepting was suspended because descriptors or memory had run out.
    pub fn pauses(&self) -> u64 {
        self.0.borrow().pauses
    }

    /// Whether it is ending: a handler that keeps its connection for more requests lets it go.
    pub fn is_draining(&self) -> bool {
        self.0.borrow().draining
    }

    /// Says that a reply is still being worked on elsewhere, so that draining waits for it and the
    /// idle time-out does not count; or no longer.
    pub fn set_busy(&self, id: impl Into<SourceId>, busy: bool) {
        if let Some(connection) = self.0.borrow().connections.get(&id.into()) {
            connection.busy.set(busy);
            connection.active.set(true);
        }
    }

    /// Ends gracefully: accepts nobody any more at once, closes each connection when it is quiet (no
    /// request in a handler or read, nothing to flush, not busy), and after `grace` whatever is left.
    /// The result comes when the last is closed.
    pub fn drain<S: 'static>(&self, registry: &mut Registry<S>, grace: Duration) -> Deferred<()> {
        let (completer, deferred) = Deferred::pair();
        let port = {
            let mut state = self.0.borrow_mut();
            state.drained.push(completer);
            state.draining = true;
            state.port.take()
        };
        if let Some(port) = port {
            registry.close(port);
        }
        let deadline = registry.now() + grace;
        let server = self.clone();
        registry.alarm(DRAIN_EVERY, move |ctx: &mut Context<'_, S>| {
            server.close_quiet(ctx, deadline)
        });
        deferred
    }

    fn close_quiet<S: 'static>(&self, ctx: &mut Context<'_, S>, deadline: Instant) -> Next {
        let late = ctx.now() >= deadline;
        let connections = self.0.borrow().connections.clone();
        for (id, connection) in &connections {
            let quiet = !connection.active.replace(false) && !connection.busy.get();
            if late || quiet && ctx.pending(*id) == Some(0) {
                ctx.close(*id);
            }
        }
        if self.0.borrow().connections.is_empty() {
            let drained = std::mem::take(&mut self.0.borrow_mut().drained);
            for completer in drained {
                completer.complete(());
            }
            return Next::Done;
        }
        Next::After(DRAIN_EVERY)
    }

    /// Keeps books about a connection that was just added.
    fn watch<S: 'static>(
        &self,
        id: SourceId,
        connection: Rc<Connection>,
        options: ServerOptions,
        ctx: &mut Registry<S>,
    ) -> io::Result<()> {
        ctx.set_ephemeral(id)?;
        let server = self.clone();
        let alarm = self.limit_idling(id, &connection, options, ctx);
        ctx.on_close(id, move |ctx| {
            if let Some(alarm) = alarm {
                ctx.cancel(alarm);
            }
            server.forget(id, ctx);
        })?;
        let mut state = self.0.borrow_mut();
        state.accepted += 1;
        state.connections.insert(id, connection);
        Ok(())
    }

    /// The alarm looks when it may be time, instead of being moved at every message.
    fn limit_idling<S: 'static>(
        &self,
        id: SourceId,
        connection: &Rc<Connection>,
        options: ServerOptions,
        ctx: &mut Registry<S>,
    ) -> Option<AlarmId> {
        let limit = options.idle_timeout?;
        let lane = *self
            .0
            .borrow_mut()
            .lane
            .get_or_insert_with(|| ctx.lane(limit));
        let connection = Rc::clone(connection);
        Some(ctx.alarm_in(lane, move |ctx: &mut Context<'_, S>| {
            let now = ctx.now();
            let pending = ctx.pending(id).unwrap_or(0);
            if connection.busy.get() || pending < connection.pending.get() {
                connection.last.set(now);
            }
            connection.pending.set(pending);
            let due = connection.last.get() + limit;
            if due > now {
                return Next::At(due);
            }
            ctx.report(Some(id), ErrorKind::TimedOut.into());
            ctx.close(id);
            Next::Done
        }))
    }

    fn forget<S: 'static>(&self, id: SourceId, ctx: &mut Registry<S>) {
        let mut state = self.0.borrow_mut();
        state.connections.remove(&id);
        if let Some(port) = state.port.filter(|_| state.full) {
            state.full = false;
            ctx.resume(port);
        }
    }

    fn accept<S: 'static>(
        &self,
        port: &mut Port,
        key: Key<Port>,
        options: ServerOptions,
        ctx: &mut Context<'_, S>,
        open: &mut Open<'_, S>,
    ) {
        for _ in 0..ACCEPTS_MAX {
            if self.len() >= options.connections_max {
                self.0.borrow_mut().full = true;
                ctx.pause(key);
                return;
            }
            let channel = match port.try_accept() {
                Ok(channel) => channel,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    self.0.borrow_mut().pauses += 1;
                    ctx.report(Some(key.id()), error);
                    ctx.pause(key);
                    ctx.alarm(options.accept_pause, move |ctx: &mut Context<'_, S>| {
                        ctx.resume(key);
                    });
                    return;
                }
                // A peer that has gone before it was accepted is nobody's loss.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    ctx.report(Some(key.id()), error);
                    return;
                }
            };
            let connection = Rc::new(Connection {
                last: Cell::new(ctx.now()),
                active: Cell::new(true),
                busy: Cell::new(false),
                pending: Cell::new(0),
            });
            let opened = open(channel, &connection, ctx);
            let watched = opened.and_then(|id| {
                self.watch(id, connection, options, ctx).inspect_err(|_| {
                    ctx.close(id);
                })
            });
            if let Err(error) = watched {
                ctx.report(Some(key.id()), error);
            }
        }
    }
}

impl Connection {
    fn touch<S: 'static>(&self, ctx: &mut Context<'_, S>) {
        self.last.set(ctx.now());
        self.active.set(true);
    }
}

/// Whether accepting fails for lack of something that others may give back.
fn is_exhausted(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

impl<S: 'static> Registry<S> {
    /// Accepts peers at `port`. For each, `connect` makes the handler of its connection, which runs
    /// whenever there is something to read and keeps the connection's state in what it captures.
    ///
    /// A connection is closed when its handler is dropped, by its answer or by an error, and
    /// everything written has been flushed; so a peer that has half-closed still gets its answer.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot wait for the port.
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_core::{AnyChannel, Outbound, Port};
    /// use ipc_dispatch::{Context, Selector, ServerOptions, Stream};
    /// use std::io::{self, Read, Write};
    ///
    /// let port = Port::bind(&"tcp:127.0.0.1:0".parse()?)?;
    /// let mut client = AnyChannel::connect(port.address())?;
    /// client.write_all(b"hello")?;
    /// client.shutdown()?;
    ///
    /// let mut selector = Selector::<()>::new()?;
    /// selector.serve(port, ServerOptions::new(), |_, _| {
    ///     Ok(|stream: &mut Stream, ctx: &mut Context<'_, ()>| {
    ///         stream.fill()?;
    ///         let echo = stream.take_buffered();
    ///         stream.try_write_all(&echo)?;
    ///         if stream.is_ended() {
    ///             ctx.stop();
    ///         }
    ///         io::Result::Ok(!stream.is_ended())
    ///     })
    /// })?;
    /// selector.run(&mut ())?;
    /// drop(selector);
    /// let mut text = String::new();
    /// client.read_to_string(&mut text)?;
    /// assert_eq!(text, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve<M, H, O>(
        &mut self,
        port: Port,
        options: ServerOptions,
        mut connect: M,
    ) -> io::Result<Server>
    where
        M: FnMut(&mut Stream, &mut Context<'_, S>) -> io::Result<H> + 'static,
        H: FnMut(&mut Stream, &mut Context<'_, S>) -> O + 'static,
        O: Outcome,
    {
        self.serve_sources(port, options, move |channel, connection, ctx| {
            let mut stream = options.stream.open(channel);
            let mut handler = connect(&mut stream, ctx)?;
            let connection = Rc::clone(connection);
            let key = ctx.add(stream);
            let watched =
                ctx.on_readable(key, move |stream: &mut Stream, ctx: &mut Context<'_, S>| {
                    connection.touch(ctx);
                    handler(stream, ctx).into_control()
                });
            checked(ctx, key, watched)
        })
    }

    /// The part that is alike for bytes and messages.
    fn serve_sources<F>(
        &mut self,
        port: Port,
        options: ServerOptions,
        mut open: F,
    ) -> io::Result<Server>
    where
        F: FnMut(AnyChannel, &Rc<Connection>, &mut Context<'_, S>) -> io::Result<SourceId>
            + 'static,
    {
        let address = port.address().clone();
        let key = self.add(port);
        let server = Server(Rc::new(RefCell::new(State {
            port: Some(key),
            address,
            connections: BTreeMap::new(),
            accepted: 0,
            pauses: 0,
            full: false,
            draining: false,
            drained: Vec::new(),
            lane: None,
        })));
        let accepting = server.clone();
        let watched = self.on_readable(key, move |port: &mut Port, ctx: &mut Context<'_, S>| {
            accepting.accept(port, key, options, ctx, &mut open);
            Control::Keep
        });
        if let Err(error) = watched {
            self.close(key);
            return Err(error);
        }
        Ok(server)
    }
}

fn checked<S: 'static, C: Source>(
    ctx: &mut Context<'_, S>,
    key: Key<C>,
    watched: io::Result<()>,
) -> io::Result<SourceId> {
    match watched {
        Ok(()) => Ok(key.id()),
        Err(error) => {
            ctx.close(key);
            Err(error)
        }
    }
}

#[cfg(feature = "marshal")]
mod ducts {
    use std::io;
    use std::rc::Rc;

    use ipc_core::{AnyChannel, Port};
    use ipc_marshal::TryRecvError;

    use super::{Server, ServerOptions, checked};
    use crate::{Context, MessageSource, Outcome, Registry};

    impl<S: 'static> Registry<S> {
        /// Like [`serve`](Self::serve) for messages: `connect` makes a duct of each accepted channel
        /// and its handler, which runs for every message and is told the end. See
        /// [`on_message`](Self::on_message).
        ///
        /// A hand-shake must not hold up the loop, so make the duct by
        /// [`from_channel`](ipc_marshal::DuctOptions::from_channel); peers that `connect` expect
        /// [`handshake(true)`](ipc_marshal::DuctOptions::handshake).
        ///
        /// # Errors
        ///
        /// What the system says when it cannot wait for the port.
        pub fn serve_ducts<D, M, H, O>(
            &mut self,
            port: Port,
            options: ServerOptions,
            mut connect: M,
        ) -> io::Result<Server>
        where
            D: MessageSource,
            M: FnMut(AnyChannel, &mut Context<'_, S>) -> io::Result<(D, H)> + 'static,
            H: FnMut(&mut D, Result<D::Message, TryRecvError>, &mut Context<'_, S>) -> O + 'static,
            O: Outcome,
        {
            self.serve_sources(port, options, move |channel, connection, ctx| {
                let (duct, mut handler) = connect(channel, ctx)?;
                let connection = Rc::clone(connection);
                let key = ctx.add(duct);
                let watched = ctx.on_message(
                    key,
                    move |duct: &mut D, message, ctx: &mut Context<'_, S>| {
                        connection.touch(ctx);
                        handler(duct, message, ctx).into_control()
                    },
                );
                checked(ctx, key, watched)
            })
        }
    }
}

//! The thread that starts programs in their turn and reads what they say.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use ipc_dispatch::{Control, Key, Poster, Registry, Selector};
use ipc_marshal::{Receiver, TryRecvError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::{Reading, Shared};
use crate::Exit;
use crate::outcome::lock;

/// The state of that thread's selector.
pub(super) struct Watch<In, Out> {
    shared: Arc<Shared<In, Out>>,
    keys: BTreeMap<u64, Key<Receiver<Out>>>,
}

impl<In, Out> Watch<In, Out>
where
    In: Serialize + Send + 'static,
    Out: DeserializeOwned + Send + 'static,
{
    pub(super) fn spawn(shared: Arc<Shared<In, Out>>) -> io::Result<Poster<Self>> {
        let (opened, poster) = mpsc::channel();
        thread::Builder::new()
            .name("ipc-programs".into())
            .spawn(move || {
                let mut selector = match Selector::new() {
                    Ok(selector) => selector,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                selector.set_persistent(true);
                if opened.send(Ok(selector.poster())).is_err() {
                    return;
                }
                let mut watch = Self {
                    shared: Arc::clone(&shared),
                    keys: BTreeMap::new(),
                };
                // A `Deserialize` of the owner's may panic, and he is to hear of it.
                let run = AssertUnwindSafe(|| selector.run(&mut watch));
                let failure = match catch_unwind(run) {
                    Ok(Ok(_)) => None,
                    Ok(Err(error)) => Some(error),
                    Err(_) => Some(io::Error::other("reading what a program said panicked")),
                };
                lock(&shared.state).failed = failure;
                shared.changed.notify_all();
            })?;
        let opened = poster.recv();
        opened.map_err(|_| io::Error::other("the thread of the programs ended at its start"))?
    }

    /// Reads what a program says from now on.
    pub(super) fn watch(
        &mut self,
        id: u64,
        receiver: Receiver<Out>,
        registry: &mut Registry<Self>,
    ) {
        let key = registry.add(receiver);
        self.keys.insert(id, key);
        let listening = self.listen(id, registry);
        let watched = {
            let state = lock(&self.shared.state);
            state.active.get(&id).map(|active| {
                let told = active.process.on_exit(registry, move |exit, ctx| {
                    ctx.state.exited(id, exit, ctx.registry);
                });
                // Somebody has waited for it before it was added.
                told.map(Ok)
                    .or_else(|error| active.process.try_wait()?.map(Err).ok_or(error))
            })
        };
        match watched {
            // Removed meanwhile.
            None => self.forget(id, registry),
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(exit))) => self.exited(id, exit, registry),
            Some(Err(_)) => self.exited(id, Exit::Unknown, registry),
        }
        if listening.is_err() {
            self.shared.silent(id);
        }
    }

    fn listen(&mut self, id: u64, registry: &mut Registry<Self>) -> io::Result<()> {
        let Some(key) = self.keys.get(&id) else {
            return Ok(());
        };
        registry.on_message(*key, move |_: &mut Receiver<Out>, message, ctx| {
            let reading = match message {
                Ok(message) => ctx.state.shared.said(id, message),
                Err(TryRecvError::Empty) => Reading::Goes,
                Err(_) => {
                    ctx.state.shared.silent(id);
                    Reading::Ends
                }
            };
            match reading {
                Reading::Goes => Control::Keep,
                Reading::Pauses => Control::Drop,
                Reading::Ends => {
                    ctx.state.keys.remove(&id);
                    Control::Close
                }
            }
        })
    }

    /// The owner has caught up with a program.
    pub(super) fn resume(&mut self, id: u64, registry: &mut Registry<Self>) {
        if self.listen(id, registry).is_err() {
            self.shared.silent(id);
        }
    }

    /// A program was removed.
    pub(super) fn forget(&mut self, id: u64, registry: &mut Registry<Self>) {
        if let Some(key) = self.keys.remove(&id) {
            registry.close(key);
        }
        self.fill(registry);
    }

    fn exited(&mut self, id: u64, exit: Exit, registry: &mut Registry<Self>) {
        self.shared.exited(id, exit);
        self.fill(registry);
    }

    /// Starts those whose turn has come.
    pub(super) fn fill(&mut self, registry: &mut Registry<Self>) {
        loop {
            let Some((id, start)) = lock(&self.shared.state).next_start() else {
                return;
            };
            let started = start().and_then(|program| Ok(self.shared.admit(id, program)?));
            lock(&self.shared.state).starting -= 1;
            match started {
                Ok(receiver) => self.watch(id, receiver, registry),
                Err(error) => self.shared.not_started(id, error),
            }
        }
    }
}

//! Processes that outlive their arbiter, and the arbiter that takes them over.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Poster};
use ipc_exchange::{Orphan, Refuge};
use ipc_marshal::Duct;
use serde::{Deserialize, Serialize};

use super::tree::Tree;
use crate::command::{decode, encode};
use crate::orphan::Rest;
use crate::wire::{Block, FromActor, ToActor};
use crate::{ActorId, Arbiter};

/// What becomes of the processes of actors when their arbiter dies without having stopped them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnArbiterDeath {
    /// They end at once, whatever they do.
    #[default]
    End,
    /// They go on: alarms ring, messages that had come to the process are handled, and so are those that
    /// come on lanes of their own. For as long as this says they wait for another arbiter with the same
    /// folder; then they end. Actors without a name of their own, and those that run as
    /// a user that their budget names, end at once.
    ///
    /// The next arbiter, of the same program file, takes an actor over when it spawns one of the same
    /// name and kind in a process, with [`Arbiter::spawn`](crate::Arbiter::spawn), under a supervisor or
    /// in a pool of the same name: no process is started then, and the actor keeps its id, its
    /// incarnation, its state, and the parameters, mailbox and budget that it was started with; how long
    /// it may take and what becomes of it when it ends is as the new [`Spec`](crate::Spec) says. One
    /// that ends on the way is started anew. Those that were not asked for in the time that the new
    /// arbiter would have them wait, or before it ends in order, are killed, as are those of another
    /// program file at once.
    ///
    /// What passed through the old arbiter is lost with it: messages that it had not sent on, answers to
    /// it, watches, links and membership in groups; what an actor has asked is answered with
    /// [`Lost`](crate::AskError::Lost). Proxies of actors that were taken over stay good, in others that
    /// were, too.
    ///
    /// An actor that was taken over is no child of the new arbiter's process: how it ends is told as
    /// [`LinkLost`](crate::ExitReason::LinkLost) unless it says why itself. What processes write to
    /// standard error goes there directly and is not kept. One that is stopped by a signal while it
    /// waits once more stays until it is continued or the next arbiter comes.
    Wait {
        /// A folder that belongs to this user alone, which is made if it is not there. Of two arbiters
        /// that live only one can have it.
        folder: PathBuf,
        /// For how long they wait: a week at most.
        at_most: Duration,
    },
}

/// Who an enrolled process is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) incarnation: u32,
}

/// A process that an actor is to be found in, which nobody else gets.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) note: Note,
    pub(super) orphan: Orphan,
}

/// The arbiter's side of the folder.
pub(crate) struct Shelter {
    refuge: Refuge,
    pub(super) at_most: Duration,
    orphans: Mutex<Vec<Claim>>,
    /// The processes of this arbiter.
    enrolled: Mutex<BTreeSet<u32>>,
}

/// The longest that they wait.
const AT_MOST: Duration = Duration::from_secs(7 * 86_400);

/// How long after the time that they wait for at most processes may still be on their way here.
const LATE: Duration = Duration::from_secs(5);

impl Shelter {
    pub(super) fn open(
        folder: &Path,
        at_most: Duration,
        poster: &Poster<Tree>,
    ) -> io::Result<Self> {
        let refuge = Refuge::open(folder)?;
        let mut orphans = Vec::new();
        for orphan in refuge.orphans()? {
            // One that cannot be made out ends when its time is over.
            if let Ok(note) = decode::<Note>(orphan.note()) {
                orphans.push(Claim { note, orphan });
            }
        }
        if !orphans.is_empty() {
            let expected = orphans.iter().map(|claim| claim.orphan.id()).collect();
            let until = Instant::now() + Self::patience(at_most);
            let poster = poster.clone();
            refuge.welcome(expected, until, move |pid, duct| {
                // Without a loop nobody takes it over.
                drop(poster.post(move |ctx| Tree::met(ctx, pid, duct)));
            })?;
        }
        Ok(Self {
            refuge,
            at_most: at_most.min(AT_MOST),
            orphans: Mutex::new(orphans),
            enrolled: Mutex::default(),
        })
    }

    /// How long those that were found are kept for whoever asks for them.
    pub(super) fn patience(at_most: Duration) -> Duration {
        at_most.min(AT_MOST) + LATE
    }

    /// Whether there are any.
    pub(super) fn has_strays(&self) -> bool {
        !lock(&self.orphans).is_empty()
    }

    /// Ends those that nobody has asked for.
    fn end_strays(&self) {
        for claim in lock(&self.orphans).drain(..) {
            let process = ipc_exchange::Process::adopt(claim.orphan);
            self.refuge.strike(process.id());
            // Dropping it ends it.
        }
    }

    /// What a new process is told.
    pub(super) fn rest(&self) -> Rest {
        Rest {
            folder: self.refuge.folder().to_owned(),
            key: Block(self.refuge.key().to_vec()),
            at_most_ms: u64::try_from(self.at_most.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn enrol(&self, pid: u32, note: &Note) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(note, &mut bytes).map_err(io::Error::other)?;
        self.refuge.enrol(pid, &bytes)?;
        lock(&self.enrolled).insert(pid);
        Ok(())
    }

    /// The process has ended.
    pub(super) fn strike(&self, pid: u32) {
        lock(&self.enrolled).remove(&pid);
        self.refuge.strike(pid);
    }

    /// The process of the actor of this name and kind, once.
    pub(super) fn claim(&self, name: &str, kind: &str) -> Option<Claim> {
        let mut orphans = lock(&self.orphans);
        let is_it = |claim: &Claim| claim.note.name == name && claim.note.kind == kind;
        let index = orphans.iter().position(is_it)?;
        let claim = orphans.swap_remove(index);
        lock(&self.enrolled).insert(claim.orphan.id());
        Some(claim)
    }

    /// Nobody has it after all.
    pub(super) fn give_back(&self, claim: Claim) {
        lock(&self.enrolled).remove(&claim.orphan.id());
        lock(&self.orphans).push(claim);
    }

    /// The name of an actor of this kind that nobody has claimed and that was a worker of this pool.
    pub(super) fn worker(&self, pool: &str, kind: &str) -> Option<String> {
        let orphans = lock(&self.orphans);
        let mut names = orphans
            .iter()
            .filter(|claim| claim.note.kind == kind)
            .map(|claim| &claim.note.name);
        let is_worker = |name: &&String| {
            let number = name
                .strip_prefix(pool)
                .and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u64>().is_ok())
        };
        names.find(is_worker).cloned()
    }
}

impl Drop for Shelter {
    fn drop(&mut self) {
        // They end with this arbiter, which has stopped them.
        for &pid in lock(&self.enrolled).iter() {
            self.refuge.strike(pid);
        }
        self.end_strays();
    }
}

impl Arbiter {
    /// The name of a worker of this pool that waits for its new arbiter.
    pub(crate) fn orphaned_worker(&self, pool: &str, kind: &str) -> Option<String> {
        self.shared.shelter()?.worker(pool, kind)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processes that have lost their arbiter, by their numbers.
#[derive(Default)]
pub(super) struct Meetings {
    /// Those that have come and that nobody has asked for.
    met: HashMap<u32, Duct<ToActor, FromActor>>,
    /// Those that an actor is to be found in and that have not come.
    expected: HashMap<u32, ActorId>,
}

impl Meetings {
    pub(super) fn expect(&mut self, pid: u32, id: ActorId) {
        self.expected.insert(pid, id);
    }

    /// It has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        self.met.remove(&pid);
        self.expected.remove(&pid);
    }

    /// Both, if both are there.
    fn join(&mut self, pid: u32) -> Option<(ActorId, Duct<ToActor, FromActor>)> {
        let duct = self.met.remove(&pid)?;
        match self.expected.remove(&pid) {
            Some(id) => Some((id, duct)),
            None => {
                self.met.insert(pid, duct);
                None
            }
        }
    }
}

impl Tree {
    /// A process has come that has lost its arbiter.
    fn met(ctx: &mut Context<'_, Self>, pid: u32, duct: Duct<ToActor, FromActor>) {
        ctx.state.meetings.met.insert(pid, duct);
        Self::join(ctx, pid);
    }

    /// Brings a process that has come and the actor that is to be found in it together, if both are
    /// there.
    pub(super) fn join(ctx: &mut Context<'_, Self>, pid: u32) {
        let Some((id, duct)) = ctx.state.meetings.join(pid) else {
            return;
        };
        // It leaves the table meanwhile: connecting needs the loop.
        if let Some(mut entry) = ctx.state.actors.remove(&id) {
            let process = entry.slot.process();
            if let Some(process) = process.filter(|process| process.pid() == pid) {
                process.adopted(ctx, duct);
            }
            ctx.state.actors.insert(id, entry);
        }
    }

    /// Starts an actor whose process has ended on the way here.
    pub(super) fn start_instead(ctx: &mut Context<'_, Self>, id: ActorId) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        if let Some(process) = entry.slot.process() {
            let pid = process.pid();
            entry.slot.ended();
            ctx.state.meetings.forget(pid);
        }
        let told = Self::start_actor(ctx, id);
        if let Some(told) = told
            && let Some(entry) = ctx.state.actors.get(&id)
        {
            let incarnation = entry.slot.incarnation();
            Self::told(ctx, id, incarnation, told);
        }
    }

    /// Those that nobody has asked for in all this time are too late.
    pub(super) fn end_strays(ctx: &mut Context<'_, Self>) {
        ctx.state.meetings.met.clear();
        if let Some(shelter) = ctx.state.shared.shelter() {
            shelter.end_strays();
        }
    }
}

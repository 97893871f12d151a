//! The functions that other processes may be asked to run.

use std::fmt;
use std::sync::OnceLock;

use ipc_core::AnyChannel;
use ipc_marshal::Duct;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::{Untold, is_err};
use crate::codec::{decode, encode};
use crate::payload::Payload;
use crate::task::{fnv, path, program_signature, signature};
use crate::wire::Finished;
use crate::worker::{recorded, tell_part};
use crate::{LookupError, Publisher, Task, TaskId, Yield};

/// The functions a program and its workers share, made by [`registry!`](macro@crate::registry).
///
/// Both processes build it from the same list at the top of `main` and compare its hash before any
/// task runs.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    hash: u64,
}

/// One function of a [`Registry`].
pub struct Entry {
    id: TaskId,
    name: &'static str,
    signature: String,
    run: Run,
}

enum Run {
    Task(Box<RunTask>),
    /// A task that can be given a list of arguments too.
    Chunked {
        one: Box<RunTask>,
        many: Box<RunChunk>,
    },
    Program(Box<RunProgram>),
}

type RunTask = dyn Fn(&[u8]) -> Finished + Send + Sync;
/// As `RunTask`, for all but the first so many arguments of a list.
type RunChunk = dyn Fn(&[u8], usize) -> Finished + Send + Sync;
type RunProgram = dyn Fn(AnyChannel, &[u8]) -> Result<(), String> + Send + Sync;

/// The registry of this process.
static INSTALLED: OnceLock<Registry> = OnceLock::new();

impl Registry {
    /// Builds a registry from its entries; [`registry!`](macro@crate::registry) is the short way.
    ///
    /// # Panics
    ///
    /// If a function is in the list twice: which of the two runs must not depend on the order.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut entries: Vec<Entry> = entries.into_iter().collect();
        entries.sort_by_key(|entry| entry.id);
        for pair in entries.windows(2) {
            assert!(
                pair[0].id != pair[1].id,
                "the registry has {} twice (or its hash is that of {})",
                pair[0].name,
                pair[1].name
            );
        }
        let hash = entries
            .iter()
            .fold(crate::wire::PROTOCOL.into(), |hash, entry| {
                fnv(hash, &entry.id.to_u64().to_le_bytes())
            });
        Self { entries, hash }
    }

    /// The task with this name: the function's full path, or the last part of it if that is not
    /// ambiguous.
    ///
    /// # Errors
    ///
    /// [`LookupError`] when there is none, when there are several, or when its types are not `A` and
    /// `R`.
    pub fn task<A, R>(&self, name: &str) -> Result<Task<A, R>, LookupError> {
        let short = |entry: &&Entry| entry.name.rsplit("::").next() == Some(name);
        let full = self.entries.iter().find(|entry| entry.name == name);
        let found: Vec<&Entry> = match full {
            Some(entry) => vec![entry],
            None => self.entries.iter().filter(short).collect(),
        };
        let entry = match found[..] {
            [entry] => entry,
            [] => return Err(LookupError::Unknown { name: name.into() }),
            _ => {
                let names: Vec<_> = found.iter().map(|entry| entry.name).collect();
                return Err(LookupError::Ambiguous {
                    name: name.into(),
                    candidates: names.join(", "),
                });
            }
        };
        let asked = signature::<A, R>();
        if entry.signature != asked {
            return Err(LookupError::Types {
                name: entry.name,
                registered: entry.signature.clone(),
                asked,
            });
        }
        Ok(Task::from_parts(entry.id, entry.name))
    }

    /// The full paths of the functions, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.entries.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether it has this function.
    pub fn contains(&self, id: TaskId) -> bool {
        self.entry(id).is_some()
    }

    /// What the hand-shake compares: the same for the same functions in any order.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The registry that [`init`](crate::init) was given.
    pub fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    /// Makes it this process's registry, or keeps the one there is if it is the same.
    pub(crate) fn install(self) -> &'static Self {
        let hash = self.hash;
        let installed = INSTALLED.get_or_init(|| self);
        assert!(
            installed.hash == hash,
            "init was called twice, with different registries"
        );
        installed
    }

    /// Runs a task; a panic is caught by the caller. Of a chunk, so many arguments were answered.
    pub(crate) fn run(&self, id: TaskId, argument: &[u8], chunk: Option<usize>) -> Finished {
        match (self.entry(id).map(|entry| &entry.run), chunk) {
            (Some(Run::Chunked { many, .. }), Some(answered)) => many(argument, answered),
            (Some(Run::Task(run) | Run::Chunked { one: run, .. }), None) => run(argument),
            _ => Finished::Unknown,
        }
    }

    /// Runs a program to its end.
    pub(crate) fn run_program(
        &self,
        id: TaskId,
        channel: AnyChannel,
        argument: &[u8],
    ) -> Result<(), String> {
        match self.entry(id).map(|entry| &entry.run) {
            Some(Run::Program(run)) => run(channel, argument),
            _ => Err(format!("the registry has no program {id}")),
        }
    }

    fn entry(&self, id: TaskId) -> Option<&Entry> {
        let found = self.entries.binary_search_by_key(&id, |entry| entry.id);
        Some(&self.entries[found.ok()?])
    }
}

/// A function that can be in a [`Registry`]: a task, `fn(A) -> R`, a streaming task,
/// `fn(A, Yield<T>)`, a background task, `fn(A, Publisher<T>)`, or a program, `fn(Duct<Out, In>, A)`.
///
/// `Kind` tells them apart and is inferred.
pub trait Registrable<Kind> {
    /// Its entry.
    fn entry(self) -> Entry;
}

impl<F, A, R> Registrable<fn(A) -> R> for F
where
    F: Fn(A) -> R + Copy + Send + Sync + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    fn entry(self) -> Entry {
        let signature = signature::<A, R>();
        let is_result = std::any::type_name::<R>().starts_with("core::result::Result<");
        let one = move |bytes: &[u8]| {
            let argument = match decode::<A>(bytes) {
                Ok(argument) => argument,
                Err(error) => return Finished::BadArgument(error),
            };
            let result = self(argument);
            match encode(&result) {
                Ok(value) => Finished::Returned {
                    failed: is_result && is_err(value.bytes()),
                    value,
                },
                Err(error) => Finished::BadResult(error),
            }
        };
        let many = move |bytes: &[u8], answered: usize| {
            let arguments = match decode::<Vec<A>>(bytes) {
                Ok(arguments) => arguments,
                Err(error) => return Finished::BadArgument(error),
            };
            let mut results = Untold::new(answered, tell_part);
            for argument in arguments.into_iter().skip(answered) {
                // A panic is the result of its own argument and no other.
                results.push(recorded(|| self(argument)), is_result);
            }
            Finished::Returned {
                failed: results.finish(),
                value: Payload::default(),
            }
        };
        Entry {
            id: TaskId::new(path::<F>(), &signature),
            name: path::<F>(),
            signature,
            run: Run::Chunked {
                one: Box::new(one),
                many: Box::new(many),
            },
        }
    }
}

impl<F, Out, In, A> Registrable<fn(Duct<Out, In>, A)> for F
where
    F: Fn(Duct<Out, In>, A) + Copy + Send + Sync + 'static,
    Out: Serialize,
    In: DeserializeOwned,
    A: DeserializeOwned,
{
    fn entry(self) -> Entry {
        let signature = program_signature::<Out, In, A>();
        let run = move |channel: AnyChannel, bytes: &[u8]| {
            let argument = decode::<A>(bytes)?;
            self(Duct::from_channel(channel), argument);
            Ok(())
        };
        Entry {
            id: TaskId::new(path::<F>(), &signature),
            name: path::<F>(),
            signature,
            run: Run::Program(Box::new(run)),
        }
    }
}

impl<F, A, T> Registrable<fn(A, Yield<T>)> for F
where
    F: Fn(A, Yield<T>) + Copy + Send + Sync + 'static,
    A: DeserializeOwned,
    T: Serialize,
{
    fn entry(self) -> Entry {
        let signature = signature::<A, Yield<T>>();
        let run = move |bytes: &[u8]| match decode::<A>(bytes) {
            Ok(argument) => {
                self(argument, Yield::current());
                Finished::Returned {
                    value: Payload::default(),
                    failed: false,
                }
            }
            Err(error) => Finished::BadArgument(error),
        };
        Entry {
            id: TaskId::new(path::<F>(), &signature),
            name: path::<F>(),
            signature,
            run: Run::Task(Box::new(run)),
        }
    }
}

impl<F, A, T> Registrable<fn(A, Publisher<T>)> for F
where
    F: Fn(A, Publisher<T>) + Copy + Send + Sync + 'static,
    A: DeserializeOwned,
    T: Serialize,
{
    fn entry(self) -> Entry {
        let signature = signature::<A, Publisher<T>>();
        let run = move |bytes: &[u8]| match decode::<A>(bytes) {
            Ok(argument) => {
                self(argument, Publisher::current());
                Finished::Returned {
                    value: Payload::default(),
                    failed: false,
                }
            }
            Err(error) => Finished::BadArgument(error),
        };
        Entry {
            id: TaskId::new(path::<F>(), &signature),
            name: path::<F>(),
            signature,
            run: Run::Task(Box::new(run)),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.id, self.name, self.signature)
    }
}

/// Builds a [`Registry`] from a list of functions.
///
/// Tasks, `fn(A) -> R`, streaming tasks, `fn(A, Yield<T>)`, and programs, `fn(Duct<Out, In>, A)`, may
/// be mixed. A generic function is
/// named with its types: `registry![square, sort::<u64>]`.
///
/// # Examples
///
/// ```
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let registry = ipc_exchange::registry![square];
/// assert!(registry.task::<u64, u64>("square").is_ok());
/// assert!(registry.task::<u64, String>("square").is_err());
/// assert!(registry.task::<u64, u64>("cube").is_err());
/// ```
///
/// # Panics
///
/// As [`Registry::new`].
#[macro_export]
macro_rules! registry {
    ($($function:expr),* $(,)?) => {
        $crate::Registry::new([$($crate::Registrable::entry($function)),*])
    };
}

//! Tasks: functions that another process can be asked to run.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// Names a registered function in every build that has it: a hash of its path and type signature.
///
/// It is never an address: two processes agree on it without being the same binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(u64);

impl TaskId {
    /// The id of the function at `path` with this `signature`.
    pub(crate) fn new(path: &str, signature: &str) -> Self {
        let hash = fnv(fnv(FNV_BASIS, path.as_bytes()), b"\0");
        Self(fnv(hash, signature.as_bytes()))
    }

    pub(crate) fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits: stable across builds and platforms, which is all that is asked of it.
pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A registered function from `A` to `R`, as something to submit.
///
/// A function item is one by itself: `exchange.submit(square, 7)`. [`Registry::task`] makes one from
/// a name that is known only at run time.
///
/// [`Registry::task`]: crate::Registry::task
pub struct Task<A, R> {
    id: TaskId,
    name: &'static str,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Task<A, R> {
    /// The task for a function, whether it is registered or not.
    pub fn of<F: Fn(A) -> R + Copy + 'static>(function: F) -> Self {
        let _ = function;
        let id = TaskId::new(path::<F>(), &signature::<A, R>());
        Self::from_parts(id, path::<F>())
    }

    pub(crate) fn from_parts(id: TaskId, name: &'static str) -> Self {
        Self {
            id,
            name,
            types: PhantomData,
        }
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The function's full path.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<A, R> Clone for Task<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for Task<A, R> {}

impl<A, R> fmt::Debug for Task<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({} {})", self.name, self.id)
    }
}

/// What can be submitted: a function item, or a [`Task`].
pub trait IntoTask<A, R> {
    /// The task.
    fn into_task(self) -> Task<A, R>;
}

impl<A, R> IntoTask<A, R> for Task<A, R> {
    fn into_task(self) -> Self {
        self
    }
}

impl<A, R, F: Fn(A) -> R + Copy + 'static> IntoTask<A, R> for F {
    fn into_task(self) -> Task<A, R> {
        Task::of(self)
    }
}

/// The path of a function item or of a closure that captures nothing.
///
/// A function pointer has a type but no path, so that two would be the same task: refused when the
/// program is compiled.
pub(crate) fn path<F>() -> &'static str {
    const {
        assert!(
            size_of::<F>() == 0,
            "a task is a function named by its path, not a function pointer or a closure that \
             captures something"
        );
    }
    type_name::<F>()
}

/// The signature of a task, as it goes into its id.
pub(crate) fn signature<A, R>() -> String {
    format!("fn({}) -> {}", type_name::<A>(), type_name::<R>())
}

/// The signature of a program, as it goes into its id.
pub(crate) fn program_signature<Out, In, A>() -> String {
    format!(
        "program({} out, {} in, {})",
        type_name::<Out>(),
        type_name::<In>(),
        type_name::<A>()
    )
}

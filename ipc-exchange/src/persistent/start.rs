//! Starting a background task.

use std::io;
use std::thread;

use ipc_core::{Address, Socket};
use ipc_marshal::RecvError;
use serde::Serialize;

use super::Publisher;
use crate::codec::encode;
use crate::launch::Launch;
use crate::task::{path, signature};
use crate::wire::{FromWorker, Role};
use crate::{Registry, StartError, TaskId};

/// Runs `task` in the background, in a process that goes on when this one ends, and whose results
/// wait at `address` for a [`Reader`](super::Reader).
///
/// When this returns the process listens: a reader may connect at once. A socket file that a dead
/// process has left at `address` is replaced; a live one is an error. Results are kept in the
/// process's memory until a reader has acknowledged them; when the function has returned and nothing
/// is left, the process ends. It holds nothing open that the starter's own parent has handed down,
/// standard streams included.
///
/// The function may open an [`Exchange`](crate::Exchange) of its own and publish its results: a
/// background queue with a limit.
///
/// # Errors
///
/// [`StartError`]; the address being in use is [`StartError::Refused`].
///
/// # Examples
///
/// ```
/// use ipc_core::Address;
/// use ipc_exchange::{Publisher, Reader, init, registry, start_persistent};
///
/// fn squares(to: u64, out: Publisher<u64>) {
///     for x in 0..to {
///         out.put(&(x * x)).expect("numbers can be encoded");
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![squares]);
///     let folder = tempfile::tempdir()?;
///     let address = Address::unix(folder.path().join("squares"))?;
///     start_persistent(&address, squares, &4)?;
///     // This may as well be another process, later.
///     let results: Result<Vec<u64>, _> = Reader::connect(&address)?.collect();
///     assert_eq!(results?, [0, 1, 4, 9]);
///     Ok(())
/// }
/// ```
pub fn start_persistent<F, A, T>(address: &Address, task: F, argument: &A) -> Result<(), StartError>
where
    F: Fn(A, Publisher<T>) + Copy + 'static,
    A: Serialize,
{
    let _ = task;
    let name = path::<F>();
    let id = TaskId::new(name, &signature::<A, Publisher<T>>());
    if !Registry::installed().is_some_and(|registry| registry.contains(id)) {
        return Err(StartError::Unregistered { name });
    }
    let argument = encode(argument).map_err(|reason| StartError::BadArgument { reason })?;
    let role = Role::Detached {
        task: id,
        argument,
        address: address.to_string(),
    };
    // It forks once more, which a ring does not survive.
    let launch = Launch {
        is_brief: true,
        ..Launch::default()
    };
    let (unused, theirs) = Socket::pair()?;
    let mut launched = launch.start(role, theirs.into(), None)?;
    drop(unused);
    let answer = launched.control.recv();
    // What was started forks at once and ends, or, where it cannot, is the background process: then
    // somebody has to wait for it as long as this process lives.
    let mut child = launched.child;
    thread::Builder::new()
        .name("ipc-reaper".into())
        .stack_size(64 * 1024)
        .spawn(move || child.wait())?;
    match answer {
        Ok(FromWorker::Ready) => Ok(()),
        Ok(FromWorker::Refused(reason)) => Err(StartError::Refused { reason }),
        Ok(_) => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        Err(RecvError::Io(error)) => Err(error.into()),
        Err(error) => Err(io::Error::other(error).into()),
    }
}

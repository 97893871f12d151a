//! Programs: two-way services in processes of their own.

use std::io;

use ipc_marshal::Duct;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::encode;
use crate::launch::channel;
use crate::task::{path, program_signature};
use crate::wire::Role;
use crate::{Process, ProcessOptions, Registry, TaskId};

/// A registered program, `fn(Duct<Out, In>, A)`, that runs in a process of its own: the other end of
/// its duct, and the process.
///
/// # Examples
///
/// ```
/// use ipc_exchange::{Program, init, registry};
/// use ipc_marshal::Duct;
///
/// /// Multiplies what it is sent.
/// fn multiplier(mut duct: Duct<u64, u64>, factor: u64) {
///     while let Ok(number) = duct.recv() {
///         if duct.send(number * factor).is_err() {
///             break;
///         }
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![multiplier]);
///     let mut program = Program::start(multiplier, &3)?;
///     program.duct().send(14)?;
///     assert_eq!(program.duct().recv()?, 42);
///     let (duct, process) = program.into_parts();
///     drop(duct);
///     assert!(process.wait()?.is_success());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Program<In, Out> {
    duct: Duct<In, Out>,
    process: Process,
}

/// An error returned from [`Program::start`] and [`start_persistent`](crate::start_persistent).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The function is not in the registry that was given to [`init`](crate::init), or that was not
    /// called.
    #[error("{name} is not in the registry")]
    Unregistered {
        /// The function's full path.
        name: &'static str,
    },
    /// The argument could not be encoded.
    #[error("the argument cannot be encoded: {reason}")]
    BadArgument {
        /// What the codec says.
        reason: String,
    },
    /// The process will not work, and said why.
    #[error("the process refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The process could not be started.
    #[error("the process could not be started")]
    Io(#[from] io::Error),
}

impl<In, Out> Program<In, Out> {
    /// Starts `program` in a new process and does not wait for it: the first message may be sent at
    /// once. A process that cannot work (see [`Process::refused`]) ends, which the duct tells as
    /// `Disconnected`.
    ///
    /// The program sends `Out` and receives `In`; the duct here is the other way round. When the
    /// function returns, the process ends with code 0; when it panics, with 101.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start<F, A>(program: F, argument: &A) -> Result<Self, StartError>
    where
        F: Fn(Duct<Out, In>, A) + Copy + 'static,
        A: Serialize + DeserializeOwned,
    {
        Self::start_with(&ProcessOptions::new(), program, argument)
    }

    /// [`start`](Self::start) in a process that is as the options say.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_with<F, A>(
        options: &ProcessOptions,
        program: F,
        argument: &A,
    ) -> Result<Self, StartError>
    where
        F: Fn(Duct<Out, In>, A) + Copy + 'static,
        A: Serialize + DeserializeOwned,
    {
        let _ = program;
        let name = path::<F>();
        let task = TaskId::new(name, &program_signature::<Out, In, A>());
        if !Registry::installed().is_some_and(|registry| registry.contains(task)) {
            return Err(StartError::Unregistered { name });
        }
        let argument = encode(argument).map_err(|reason| StartError::BadArgument { reason })?;
        let (ours, theirs) = channel(false)?;
        let role = Role::Program {
            task,
            argument,
            limits: options.budget.limits.clone(),
            outlives: options.outlives,
        };
        Ok(Self {
            duct: Duct::from_channel(ours),
            process: Process::start(options, role, theirs)?,
        })
    }

    /// The duct to the program.
    pub fn duct(&mut self) -> &mut Duct<In, Out> {
        &mut self.duct
    }

    /// The process it runs in.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The two apart: the duct may be split or given to a selector, and the process be watched there
    /// with [`Process::on_exit`]. Dropping the process ends the program.
    pub fn into_parts(self) -> (Duct<In, Out>, Process) {
        (self.duct, self.process)
    }
}

//! What a program does that has lost its parent and may have another.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Deadline};
use ipc_marshal::{AuthKey, AuthRole, Duct};

use super::lifeline;
use crate::refuge::{AUTH_MAX, options, place};

/// The pause between two looks for a parent: the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Comes to a [`Refuge`](crate::Refuge) and waits there until `until` for a parent, which is shown that
/// this process knows the key and shows it in turn. To be called in a program whose parent is gone.
///
/// # Errors
///
/// [`TimedOut`](io::ErrorKind::TimedOut), after which the program is to end. What it has in the folder is
/// removed then, or when it ends before, and what its parent has left there if no other program waits.
pub fn meet<Tx, Rx>(folder: &Path, key: &[u8], until: Instant) -> io::Result<Duct<Tx, Rx>> {
    let (address, key) = (place(folder)?, AuthKey::new(key));
    lifeline::waits_in(folder);
    let mut pause = PAUSES[0];
    loop {
        if let Ok(channel) = AnyChannel::connect(&address) {
            let mut duct: Duct<Tx, Rx> = options().from_channel(channel);
            let deadline = Deadline::At(until.min(Instant::now() + AUTH_MAX));
            if duct.authenticate(&key, AuthRole::Client, deadline).is_ok() {
                return Ok(duct);
            }
        }
        if Instant::now() >= until {
            lifeline::leave_folder();
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::park_timeout(pause.min(until.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Ends with whoever is at the other end of `duct` from now on, as with the parent before: to be called
/// in a program that was taken over.
///
/// # Errors
///
/// What the system says; the program then ends when the time is over for which it may be without a
/// parent.
pub fn end_with<Tx, Rx>(duct: &Duct<Tx, Rx>) -> io::Result<()> {
    lifeline::renew(duct.inbound().try_clone_to_owned()?);
    Ok(())
}

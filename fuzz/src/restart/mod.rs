//! Who is started again, and when: supervisors and pools.

mod history;
mod pool;
mod supervision;
mod tree;

use crate::tape::Tape;

/// Whatever children and workers do in whatever order: histories whose steps end at once go as in the
/// model of OTP's supervisor; in all others nothing is started or stopped twice, temporary children
/// never come back, restarts keep to the intensity, what shall run does, and in the end nothing is left.
///
/// The first byte chooses which of the three it is.
pub fn restart(data: &[u8]) {
    let mut tape = Tape(data);
    match tape.next() % 3 {
        0 => history::history(tape),
        1 => tree::tree(tape),
        _ => pool::pool(tape),
    }
}

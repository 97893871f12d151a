//! Alarms of actors, wherever they run.

use ipc_actors::{AskError, Spec};

use crate::actors::{Counter, Harm, Read, Start, Tick};
use crate::support::{LIMIT, PLACEMENTS, eventually, spawn, with_arbiter};

#[test]
fn alarms_ring_once_again_and_again_or_not_at_all() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let counter = spawn(
                arbiter,
                Spec::<Counter>::new(Start::default()).placement(placement),
            );
            assert_eq!(counter.ask_timeout(Tick(5), LIMIT), Ok(()), "{placement}");
            eventually(|| counter.ask_timeout(Read, LIMIT) == Ok(110));
            // Set again, they end with the incarnation.
            assert_eq!(counter.ask_timeout(Tick(30_000), LIMIT), Ok(()));
            let harmed = counter.ask_timeout(Harm::Panic, LIMIT);
            assert_eq!(harmed, Err(AskError::Started), "{placement}");
            assert_eq!(counter.ask_timeout(Read, LIMIT), Ok(0), "{placement}");
        }
    });
}

//! What actors must be seen to do, with real processes: the fifteen behaviours of the actors' survey
//! (`a01` to `a15`), the fifteen of its ancestor's specification (`p01` to `p15`), and the five
//! departures from OTP that are known elsewhere (`P1` to `P5`). `IPC_ACTORS_ROUNDS=200` shows each that
//! often; [`alone`] says how.
//!
//! | | behaviour | shown by |
//! |---|---|---|

mod alone;
mod b01_killed;
mod b02_faults;
mod b03_stuck;
mod b04_orphans;
mod b09_descriptors;
mod b13_limits;
mod b14_hostile;
mod p12_auth;
mod p13_messaging;
mod served;
mod victim;

pub(crate) use alone::{alone, alone_by, figure, note, skipped};
pub(crate) use victim::Victim;

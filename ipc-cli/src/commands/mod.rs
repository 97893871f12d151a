//! One module a subcommand.

pub(crate) mod doctor;
pub(crate) mod duct;
pub(crate) mod map;
pub(crate) mod peer;
pub(crate) mod smoke;

//! One module a subcommand.

pub(crate) mod actor;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod duct;
pub(crate) mod man;
pub(crate) mod map;
pub(crate) mod peer;
pub(crate) mod smoke;
pub(crate) mod top;

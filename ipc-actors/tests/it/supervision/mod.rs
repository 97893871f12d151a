//! The restart rules, against a model of OTP and by name.

mod departures;
mod histories;
pub(crate) mod model;
mod pools;
mod rules;
pub(crate) mod world;

//! The restart rules, against a model of OTP and by name.

mod departures;
mod histories;
mod model;
mod pools;
mod rules;
mod world;

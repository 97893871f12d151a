//! The tests of `ipc-actors`.

mod actors;
mod alarms;
mod among;
mod application;
mod behaviours;
mod budgets;
mod desk;
mod direct;
mod draining;
mod hostile;
mod later;
mod life;
mod messages;
mod operating;
mod pools;
mod processes;
mod remote;
mod rights;
mod settings;
mod simulated;
mod supervision;
mod support;
mod trees;
mod upgrade;
mod waits;
mod watching;

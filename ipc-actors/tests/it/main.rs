//! The tests of `ipc-actors`.

mod supervision;

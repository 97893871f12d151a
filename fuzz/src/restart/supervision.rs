//! The model and its driver, as the tests of the actors have them.

#[path = "../../../ipc-actors/tests/it/supervision/model.rs"]
pub(super) mod model;
#[path = "../../../ipc-actors/tests/it/supervision/world.rs"]
#[expect(
    dead_code,
    reason = "it is whole there, and here only what the property needs is used"
)]
pub(super) mod world;

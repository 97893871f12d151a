//! What actors are told and asked.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message and the type of its answer.
///
/// The same type works for every placement: an actor on the loop or in a thread gets the value as it
/// is, one in a process gets it through the default codec.
///
/// ```
/// use ipc_actors::Message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Add(u64);
///
/// impl Message for Add {
///     type Reply = u64;
///     const NAME: &'static str = "add";
/// }
/// ```
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// What an ask is answered with. `()` for messages that are only told.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// The name of the command: lowercase letters, digits and `_`. Unique within an actor.
    const NAME: &'static str;
}

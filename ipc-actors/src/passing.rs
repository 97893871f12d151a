//! Proxies in messages.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arbiter::{find_here, whereabouts};
use crate::upward::{Upward, Whereabouts};
use crate::{Actor, Proxy};

/// A proxy can be sent in messages between an arbiter's process and those of its actors, and is equal
/// to the one that was sent. It carries who the actor is and where, and nothing else.
impl<A: Actor> Serialize for Proxy<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        whereabouts(self).serialize(serializer)
    }
}

/// It can be read where the actor can be reached: in the process of its arbiter while the actor is
/// known there, and in those of the arbiter's actors.
impl<'de, A: Actor> Deserialize<'de> for Proxy<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Whereabouts::deserialize(deserializer)?;
        if let Some(up) = Upward::here() {
            return up.proxy(found).map_err(D::Error::custom);
        }
        let name = found.name;
        find_here(&name, found.id)
            .ok_or_else(|| D::Error::custom(format!("there is no {} named {name}", A::NAME)))
    }
}

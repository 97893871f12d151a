//! Actors named in messages to other programs.

use std::fmt;
use std::marker::PhantomData;

use ipc_core::Address;
use ipc_marshal::AuthKey;
use serde::{Deserialize, Serialize};

use super::client::{RemoteArbiter, RemoteError};
use super::greeting::Shown;
use super::ticket::{Rights, Ticket};
use crate::{Actor, ActorId, Proxy};

/// What another process needs to reach an actor, made by
/// [`Listener::reference`](crate::Listener::reference), or with rights of its own by
/// [`Listener::grant`](crate::Listener::grant): it can be sent in any message. Equal by the actor's id.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Reference<A> {
    address: String,
    name: String,
    id: ActorId,
    /// The rights that it gives and the key that proves them.
    ticket: Option<(Ticket, [u8; 32])>,
    actor: PhantomData<fn(A)>,
}

impl<A: Actor> Reference<A> {
    pub(super) fn new(address: String, name: String, id: ActorId) -> Self {
        Self {
            address,
            name,
            id,
            ticket: None,
            actor: PhantomData,
        }
    }

    pub(super) fn with(mut self, ticket: Ticket, key: [u8; 32]) -> Self {
        self.ticket = Some((ticket, key));
        self
    }

    /// The same with fewer rights, to be passed on: what both allow. Its holder cannot get back to this
    /// one, and nobody has to be asked. One without rights of its own stays as it is.
    ///
    /// ```no_run
    /// # use ipc_actors::{Actor, Reference, Rights};
    /// # use std::time::Duration;
    /// # fn of<A: Actor>(reference: Reference<A>) {
    /// let for_a_minute = reference.narrow(Rights::all().lifetime(Duration::from_secs(60)));
    /// # }
    /// ```
    #[must_use]
    pub fn narrow(mut self, rights: Rights) -> Self {
        let ticket = self.ticket.take();
        self.ticket = ticket.map(|(ticket, key)| ticket.narrow(key, rights));
        self
    }

    /// The actor's id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// The actor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the actor's arbiter and finds it. If the reference gives rights, the connection has
    /// these and no others, and `key` is not looked at. Without, an actor of the same name that was
    /// spawned since is found as well.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    pub fn connect(&self, key: Option<&AuthKey>) -> Result<Proxy<A>, RemoteError> {
        let address: Address = self
            .address
            .parse()
            .map_err(|_| RemoteError::Address(self.address.clone()))?;
        let arbiter = match &self.ticket {
            None => RemoteArbiter::connect(&address, key)?,
            Some((ticket, key)) => {
                let key = AuthKey::new(key);
                RemoteArbiter::connect_with(&address, Shown::Ticket(ticket, &key))?
            }
        };
        arbiter.get_actor(&self.name)
    }
}

impl<A> Clone for Reference<A> {
    fn clone(&self) -> Self {
        let (address, name) = (self.address.clone(), self.name.clone());
        Self {
            address,
            name,
            id: self.id,
            ticket: self.ticket.clone(),
            actor: PhantomData,
        }
    }
}

impl<A> PartialEq for Reference<A> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<A> Eq for Reference<A> {}

/// Without the key.
impl<A> fmt::Debug for Reference<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("id", &self.id)
            .field("ticket", &self.ticket.as_ref().map(|(ticket, _)| ticket))
            .finish()
    }
}

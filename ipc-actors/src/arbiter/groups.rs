//! Actors that belong together by a name.

use std::collections::{BTreeMap, HashMap};

use crate::ActorId;
use crate::id::IdMap;
use crate::remote::Erased;

/// The members of one group, by when they joined.
type Members = BTreeMap<u64, Box<dyn Erased>>;

/// All groups. Whoever leaves costs as much as it has groups, however large those are.
#[derive(Default)]
pub(super) struct Groups {
    groups: HashMap<String, Members>,
    /// The groups of each member, and its place in each.
    places: IdMap<ActorId, Vec<(String, u64)>>,
    joined: u64,
}

impl Groups {
    pub(super) fn join(
        &mut self,
        group: &str,
        id: ActorId,
        member: impl FnOnce() -> Box<dyn Erased>,
    ) {
        let places = self.places.entry(id).or_default();
        if places.iter().any(|(name, _)| name == group) {
            return;
        }
        self.joined += 1;
        places.push((group.to_owned(), self.joined));
        let members = self.groups.entry(group.to_owned()).or_default();
        members.insert(self.joined, member());
    }

    pub(super) fn leave(&mut self, group: &str, id: ActorId) {
        let Some(places) = self.places.get_mut(&id) else {
            return;
        };
        if let Some(index) = places.iter().position(|(name, _)| name == group) {
            let (_, place) = places.swap_remove(index);
            if places.is_empty() {
                self.places.remove(&id);
            }
            self.vacate(group, place);
        }
    }

    pub(super) fn forget(&mut self, id: ActorId) {
        for (group, place) in self.places.remove(&id).into_iter().flatten() {
            self.vacate(&group, place);
        }
    }

    fn vacate(&mut self, group: &str, place: u64) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&place);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    pub(super) fn members(&self, group: &str) -> impl Iterator<Item = &dyn Erased> {
        let members = self.groups.get(group).into_iter();
        members.flat_map(|members| members.values().map(|member| &**member))
    }
}

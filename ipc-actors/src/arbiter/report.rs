//! What is below the arbiter, told without asking anybody.

use std::collections::HashMap;
use std::time::Instant;

use super::handle::Arbiter;
use super::tree::{NodeId, Owner, ROOT, Tree};
use crate::deferred::deferred;
use crate::{ActorStatus, Deferred, PoolStatus, SpawnError, TreeInfo};

/// How many actors a report names.
const ACTORS_MAX: usize = 10_000;

impl Arbiter {
    /// Replaces the workers of all pools, as [`Monitor::reload`](crate::Monitor::reload) does.
    pub fn reload(&self) {
        // An arbiter that is gone has no workers left.
        let _ = self.shared.poster.post(Tree::reload_all);
    }

    /// Tells of all pools and actors: ids, process ids, states, restarts, what waits and what was
    /// handled. Costs nothing until it is asked for, and waits for no actor.
    pub fn tree(&self) -> Deferred<TreeInfo, SpawnError> {
        let (resolver, tree) = deferred();
        let begun = self.shared.clock.begun();
        let posted = self
            .shared
            .poster
            .post(move |ctx| resolver.resolve(Ok(ctx.state.report(begun))));
        match posted {
            Ok(()) => tree.brought_by(self.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }
}

impl Tree {
    fn report(&self, begun: Instant) -> TreeInfo {
        let mut paths = HashMap::new();
        self.name_supervisors(ROOT, "", &mut paths);
        let mut ids: Vec<_> = self.actors.keys().copied().collect();
        // Ids count upwards.
        ids.sort_unstable();
        let omitted = ids.len().saturating_sub(ACTORS_MAX);
        let named = ids.iter().take(ACTORS_MAX);
        let actors = named
            .filter_map(|id| {
                let entry = self.actors.get(id)?;
                let parent = match entry.owner {
                    Owner::Child(node, _) => paths.get(&node).cloned(),
                    Owner::Pool(pool, _) => {
                        self.pools.get(&pool).map(|pool| pool.name().to_owned())
                    }
                    Owner::Nobody => None,
                };
                Some(ActorStatus {
                    parent: parent.unwrap_or_default(),
                    info: entry.slot.describe(),
                    last_failure: entry.rare().and_then(|rare| rare.failure.clone()),
                })
            })
            .collect();
        let mut pools: Vec<PoolStatus> = self.pools.values().map(|pool| pool.describe()).collect();
        pools.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        TreeInfo {
            pid: std::process::id(),
            uptime_ms: begun.elapsed().as_millis() as u64,
            ending: self.is_ending(),
            pools,
            actors,
            omitted: omitted as u64,
        }
    }

    fn name_supervisors(&self, id: NodeId, path: &str, paths: &mut HashMap<NodeId, String>) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        for (name, below) in node.supervisors() {
            let path = match path {
                "" => name.to_owned(),
                outer => format!("{outer}/{name}"),
            };
            self.name_supervisors(below, &path, paths);
            paths.insert(below, path);
        }
    }
}

//! The tree of an application, as tables and as JSON.

use ipc_actors::TreeInfo;
use serde_json::{Value, json};

/// The arbiter, in a line.
pub(crate) fn summary(tree: &TreeInfo) -> String {
    let (pid, seconds) = (tree.pid, tree.uptime_ms / 1000);
    let ending = if tree.ending { ", ending" } else { "" };
    let omitted = match tree.omitted {
        0 => String::new(),
        count => format!(", {count} more actors"),
    };
    format!("arbiter: pid {pid}, up {seconds} s{ending}{omitted}")
}

/// The pools, below a heading.
pub(crate) fn pool_rows(tree: &TreeInfo) -> Vec<Vec<String>> {
    let heading = ["POOL", "WORKERS", "UP", "WAITING"].map(String::from);
    let mut rows = vec![heading.to_vec()];
    rows.extend(tree.pools.iter().map(|pool| {
        let (size, up, waiting) = (pool.size, pool.up, pool.waiting);
        vec![
            pool.name.clone(),
            size.to_string(),
            up.to_string(),
            waiting.to_string(),
        ]
    }));
    rows
}

/// The actors, below a heading.
pub(crate) fn rows(tree: &TreeInfo) -> Vec<Vec<String>> {
    let heading = [
        "ACTOR", "ID", "IN", "WHERE", "PID", "STATE", "RESTARTS", "MAILBOX", "REQUESTS", "BUSY",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(tree.actors.iter().map(|actor| {
        let info = &actor.info;
        let pid = match info.pid {
            0 => "-".to_owned(),
            pid => pid.to_string(),
        };
        let busy = info
            .busy_us
            .map_or("-".to_owned(), |us| format!("{} ms", us / 1000));
        vec![
            info.name.clone(),
            info.id.to_string(),
            actor.parent.clone(),
            info.placement.to_string(),
            pid,
            info.state.to_string(),
            info.incarnation.to_string(),
            info.waiting.to_string(),
            info.handled.to_string(),
            busy,
        ]
    }));
    rows
}

/// The whole tree. Ids are text: they have 64 bits.
pub(crate) fn tree_json(tree: &TreeInfo) -> Value {
    let pools: Vec<_> = tree
        .pools
        .iter()
        .map(|pool| {
            json!({
                "name": pool.name, "size": pool.size, "up": pool.up, "total": pool.total,
                "waiting": pool.waiting,
            })
        })
        .collect();
    let actors: Vec<_> = tree
        .actors
        .iter()
        .map(|actor| {
            let info = &actor.info;
            json!({
                "name": info.name, "id": info.id.to_string(), "kind": info.kind,
                "parent": actor.parent, "placement": info.placement.to_string(),
                "pid": (info.pid != 0).then_some(info.pid), "state": info.state.to_string(),
                "restarts": info.incarnation, "mailbox": info.waiting, "requests": info.handled,
                "busy_us": info.busy_us, "uptime_ms": info.uptime_ms,
            })
        })
        .collect();
    json!({
        "pid": tree.pid, "uptime_ms": tree.uptime_ms, "ending": tree.ending,
        "pools": pools, "actors": actors, "omitted": tree.omitted,
    })
}

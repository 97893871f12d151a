//! Who is compared with whom.

use super::{Measurement, Run};

/// What a peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This project's.
    Ours,
    /// Written by hand for one purpose, without safety or convenience: what the machine can do.
    Limit,
    /// What others would use instead.
    Rival,
}

/// How the name begins that ours were given with `--with`; a colon ends it.
const OURS: &str = "ipc";

const LIMITS: [&str; 19] = [
    "shm-spin",
    "shm-spin-inplace",
    "shm-hybrid",
    "shm-futex",
    "shm-hybrid+bincode",
    "socketpair+bincode",
    "socketpair-stream",
    "pipe-pair",
    "unix-seqpacket",
    "tcp-nodelay",
    "memcpy",
    "clone",
    "epoll-raw",
    "mio",
    "raw-pool-w1",
    "raw-pool-w2",
    "raw-pool-w16",
    "fork+pipe",
    "rust-exec-worker",
];

/// Ours, and what does the same thing by hand or directly: the first of these that was measured.
const COUNTERPARTS: [(&str, &[&str]); 22] = [
    ("ring", &["shm-spin", "shm-futex"]),
    ("ring-spin", &["shm-spin"]),
    ("ring-park", &["shm-futex"]),
    ("ring-inplace", &["shm-spin-inplace"]),
    ("socket", &["socketpair-stream"]),
    ("pipe", &["pipe-pair"]),
    ("tcp", &["tcp-nodelay"]),
    ("duct-ring", &["shm-hybrid+bincode"]),
    ("duct-ring-feed", &["shm-hybrid+bincode"]),
    ("duct-ring-spin", &["shm-hybrid+bincode"]),
    ("duct-socket", &["socketpair+bincode"]),
    ("duct-socket-feed", &["socketpair+bincode"]),
    ("marshal-bincode", &["bincode"]),
    ("marshal-json", &["serde_json"]),
    ("marshal-messagepack", &["rmp-serde"]),
    ("marshal-postcard", &["postcard"]),
    ("ipc-dispatch", &["mio"]),
    ("ipc-mio", &["mio"]),
    ("exchange-exec", &["rust-exec-worker"]),
    ("exchange-zygote", &["fork+pipe"]),
    ("local", &["tokio-mpsc-ct"]),
    ("thread", &["std-mpsc-thread"]),
];

/// Peers that read and answer in place and do not give the receiver a message of its own: not
/// compared with transports that do.
const IN_PLACE: [&str; 2] = ["iceoryx2-poll", "shm-spin-inplace"];

impl Class {
    /// What `peer` is.
    pub fn of(peer: &str) -> Self {
        let base = peer.split('@').next().unwrap_or(peer);
        if base.starts_with(OURS) && base.contains(':') {
            Self::Ours
        } else if LIMITS.contains(&base) {
            Self::Limit
        } else {
            Self::Rival
        }
    }
}

/// One of ours beside what it is compared with, in one metric.
#[derive(Clone, Debug)]
pub struct Ratio<'a> {
    /// Ours.
    pub ours: &'a Measurement,
    /// The same by hand, or else the best that was written by hand.
    pub limit: Option<&'a Measurement>,
    /// The best library, pinned in the same way.
    pub rival: Option<&'a Measurement>,
}

/// Compares all of ours by the metric that comes first in each case.
pub fn ratios(run: &Run) -> Vec<Ratio<'_>> {
    let mut ratios = Vec::new();
    for (case, sizes) in run.cases() {
        for size in sizes {
            let Some(metric) = run.metrics(case, size).first().copied() else {
                continue;
            };
            let all: Vec<&Measurement> = run
                .of(case, size)
                .filter(|one| one.metric == metric)
                .collect();
            let ours = all.iter().filter(|one| Class::of(&one.peer) == Class::Ours);
            ratios.extend(ours.map(|ours| Ratio {
                ours,
                limit: limit(ours, &all),
                rival: best(ours, &all, Class::Rival),
            }));
        }
    }
    ratios
}

fn limit<'a>(ours: &Measurement, all: &[&'a Measurement]) -> Option<&'a Measurement> {
    let name = ours.base().rsplit(':').next().unwrap_or("");
    let Some((_, counterparts)) = COUNTERPARTS.iter().find(|(one, _)| *one == name) else {
        return best(ours, all, Class::Limit);
    };
    counterparts.iter().find_map(|counterpart| {
        let mut same = all.iter().filter(|one| one.pinning() == ours.pinning());
        same.find(|one| one.base() == *counterpart).copied()
    })
}

fn best<'a>(ours: &Measurement, all: &[&'a Measurement], class: Class) -> Option<&'a Measurement> {
    all.iter()
        .filter(|one| Class::of(&one.peer) == class && one.pinning() == ours.pinning())
        .filter(|one| !IN_PLACE.contains(&one.base()) && one.base() != "memcpy")
        .min_by(|left, right| {
            ours.times_worse_than(right)
                .total_cmp(&ours.times_worse_than(left))
        })
        .copied()
}

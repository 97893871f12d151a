//! The scheduler beside a list that is searched.

use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Scheduler};

/// What is armed, the plain way: deadline, order of arming, value.
#[derive(Debug, Default)]
struct Model {
    armed: Vec<(u64, u64, u64)>,
    sequence: u64,
}

impl Model {
    fn arm(&mut self, due: u64, value: u64) {
        self.armed.push((due, self.sequence, value));
        self.sequence += 1;
    }

    fn cancel(&mut self, value: u64) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| armed.2 != value);
        self.armed.len() < before
    }

    fn awaken(&mut self, now: u64) -> Option<u64> {
        let first = self.armed.iter().min().copied()?;
        (first.0 <= now).then(|| {
            self.cancel(first.2);
            first.2
        })
    }
}

/// Arming, moving, cancelling and ringing in any order does what a sorted list would.
pub fn scheduler(data: &[u8]) {
    let origin = Instant::now();
    let at = |tick: u64| origin + Duration::from_millis(tick);
    let mut scheduler = Scheduler::new(origin);
    let lanes = [3, 50].map(|ticks| (ticks, scheduler.lane(Duration::from_millis(ticks))));
    let mut model = Model::default();
    let mut ids: Vec<(AlarmId, u64)> = Vec::new();
    let mut now = 0;
    for (index, pair) in (0..).zip(data.chunks_exact(2)) {
        let (what, number) = (pair[0], u64::from(pair[1]));
        let pick = ids.get(usize::from(pair[1]) % ids.len().max(1)).copied();
        match (what % 6, pick) {
            (0, _) => {
                ids.push((scheduler.arm(at(now + number), index), index));
                model.arm(now + number, index);
            }
            (1, _) => {
                let (ticks, lane) = lanes[usize::from(pair[1] % 2)];
                ids.push((scheduler.arm_in(lane, at(now), index), index));
                model.arm(now + ticks, index);
            }
            (2, Some((id, value))) => {
                let cancelled = scheduler.cancel(id);
                assert_eq!(cancelled, model.cancel(value).then_some(value));
            }
            (3, Some((id, value))) => {
                let moved = scheduler.move_to(id, at(now + number));
                assert_eq!(moved, model.cancel(value));
                if moved {
                    model.arm(now + number, value);
                }
            }
            _ => now += number / 16,
        }
        while let Some(fired) = scheduler.awaken(at(now)) {
            assert_eq!(Some(fired.value), model.awaken(now));
            scheduler.finish(fired.id);
        }
        assert_eq!(model.awaken(now), None, "an alarm did not ring");
        assert_eq!(scheduler.len(), model.armed.len());
        let next = model.armed.iter().min().map(|armed| at(armed.0));
        assert_eq!(scheduler.next_deadline(), next);
    }
}

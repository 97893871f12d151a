//! Frames that cannot be forged, changed, repeated, left out or turned back.
//!
//! With a session key each frame is preceded by the HMAC-SHA-256 of its number and itself, under a key
//! that only this connection has, and in this direction. The numbers do not travel: a frame that is
//! repeated, missing or in the wrong place has the wrong one. Nothing is encrypted.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ipc_core::Deadline;
use ipc_marshal::AuthKey;

const TAG_LEN: usize = 32;

/// What sealing adds to a frame, at most.
pub(super) const SEAL_LEN: usize = TAG_LEN;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Seal {
    key: Option<AuthKey>,
    number: u64,
}

impl Seal {
    /// Frames under this key; without one they travel as they are, which is for sockets whose peer the
    /// kernel vouches for.
    pub(super) fn new(key: Option<AuthKey>) -> Self {
        Self { key, number: 0 }
    }

    /// The frame for `payload`, which takes the place of the next number. Call [`sent`](Self::sent)
    /// when it has left.
    pub(super) fn seal(&self, payload: Vec<u8>) -> Vec<u8> {
        match &self.key {
            None => payload,
            Some(key) => {
                let mut frame = key.sign(&[&self.number.to_le_bytes(), &payload]).to_vec();
                frame.extend_from_slice(&payload);
                frame
            }
        }
    }

    pub(super) fn sent(&mut self) {
        self.number += 1;
    }

    /// The payload of the next frame; `None` if it is not that.
    pub(super) fn open<'a>(&mut self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let Some(key) = &self.key else {
            return Some(frame);
        };
        let (tag, payload) = frame.split_at_checked(TAG_LEN)?;
        if !key.verify(&[&self.number.to_le_bytes(), payload], tag) {
            return None;
        }
        self.number += 1;
        Some(payload)
    }
}

/// A sealed direction that several threads send on, one after the other.
pub(super) struct Lane {
    seal: Mutex<Option<Seal>>,
    free: Condvar,
}

impl Lane {
    pub(super) fn new(seal: Seal) -> Self {
        Self {
            seal: Mutex::new(Some(seal)),
            free: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seal>> {
        self.seal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody from sending until the answer is dropped. `None` when that cannot be had before
    /// the deadline.
    pub(super) fn hold(&self, deadline: Deadline) -> Option<Held<'_>> {
        let lane = self;
        let seal = self.take(deadline)?;
        Some(Held {
            lane,
            seal: Some(seal),
        })
    }

    /// Has `send` send what the seal makes of `payload`, when it is this caller's turn. `None` when that
    /// does not come before the deadline.
    pub(super) fn send<T, E>(
        &self,
        payload: Vec<u8>,
        deadline: Deadline,
        send: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let mut held = self.hold(deadline)?;
        Some(held.send(payload, send))
    }

    fn take(&self, deadline: Deadline) -> Option<Seal> {
        let mut place = self.lock();
        loop {
            if let Some(seal) = place.take() {
                return Some(seal);
            }
            place = match deadline.remaining() {
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    let woken = self.free.wait_timeout(place, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.free.wait(place);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// A direction that nobody else sends on meanwhile.
pub(super) struct Held<'a> {
    lane: &'a Lane,
    /// `None` only while it is dropped.
    seal: Option<Seal>,
}

impl Held<'_> {
    /// Has `send` send what the seal makes of `payload`.
    pub(super) fn send<T, E>(
        &mut self,
        payload: Vec<u8>,
        send: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, E> {
        let seal = self.seal.as_mut().expect("only the drop takes it");
        let sent = send(&seal.seal(payload))?;
        seal.sent();
        Ok(sent)
    }

    /// Seals what follows in another way.
    pub(super) fn replace(&mut self, seal: Seal) {
        self.seal = Some(seal);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.lane.lock() = self.seal.take();
        self.lane.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Seal, Seal) {
        let key = AuthKey::new("between two");
        (Seal::new(Some(key.clone())), Seal::new(Some(key)))
    }

    #[test]
    fn frames_are_taken_once_whole_and_in_order() {
        let (mut ours, mut theirs) = pair();
        let first = ours.seal(b"first".to_vec());
        ours.sent();
        let second = ours.seal(b"second".to_vec());
        assert_eq!(theirs.open(&second), None, "one is missing");
        assert_eq!(theirs.open(&first), Some(&b"first"[..]));
        assert_eq!(theirs.open(&first), None, "a repetition");
        for at in 0..second.len() {
            let mut changed = second.clone();
            changed[at] ^= 1;
            assert_eq!(theirs.open(&changed), None, "byte {at}");
        }
        assert_eq!(theirs.open(&second[..TAG_LEN - 1]), None);
        assert_eq!(theirs.open(&second), Some(&b"second"[..]));
    }

    #[test]
    fn a_frame_that_did_not_leave_does_not_count() {
        let (ours, mut theirs) = pair();
        let lane = Lane::new(ours);
        let refused = lane.send(vec![1], Deadline::Now, |_| Err::<(), _>(()));
        assert_eq!(refused, Some(Err(())));
        let mut frame = Vec::new();
        let sent = lane.send(vec![2], Deadline::Now, |bytes| {
            frame = bytes.to_vec();
            Ok::<_, ()>(())
        });
        assert_eq!(sent, Some(Ok(())));
        assert_eq!(theirs.open(&frame), Some(&[2][..]));
    }
}

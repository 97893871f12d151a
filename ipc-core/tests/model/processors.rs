//! `membarrier`, as a model: a full fence on the other thread too, at a point of its own program that
//! it reaches before the call returns.

use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::sync::{Condvar, Mutex, MutexGuard};

/// Who runs.
#[derive(Clone, Copy)]
pub(crate) enum Thread {
    Consumer = 0,
    Producer = 1,
}

/// Two processors with a thread each.
///
/// The other processor is interrupted where its thread looks at `wanted`, relaxed: such a look may
/// answer what was, which is an interruption that comes later, and it orders nothing. Only one that is
/// taken goes through the lock, which orders what the fence does, both ways. A thread in the kernel
/// has passed a fence on its way there.
pub(crate) struct Processors {
    in_kernel: Mutex<[bool; 2]>,
    wanted: [AtomicBool; 2],
    served: Condvar,
}

impl Processors {
    pub(crate) fn new() -> Self {
        Self {
            in_kernel: Mutex::new([false; 2]),
            wanted: [AtomicBool::new(false), AtomicBool::new(false)],
            served: Condvar::new(),
        }
    }

    /// Where an interruption may come in `me`'s program.
    pub(crate) fn interrupted(&self, me: Thread) {
        if self.wanted[me as usize].load(Ordering::Relaxed) {
            let kernel = self.in_kernel.lock().unwrap();
            self.serve(me, &kernel);
        }
    }

    pub(crate) fn enter_kernel(&self, me: Thread) {
        let mut kernel = self.in_kernel.lock().unwrap();
        kernel[me as usize] = true;
        self.serve(me, &kernel);
    }

    pub(crate) fn leave_kernel(&self, me: Thread) {
        self.in_kernel.lock().unwrap()[me as usize] = false;
    }

    /// The system call itself.
    pub(crate) fn barrier(&self, me: Thread) {
        self.enter_kernel(me);
        let mut kernel = self.in_kernel.lock().unwrap();
        let other = 1 - me as usize;
        if !kernel[other] {
            self.wanted[other].store(true, Ordering::Relaxed);
            while self.wanted[other].load(Ordering::Relaxed) {
                kernel = self.served.wait(kernel).unwrap();
            }
        }
        kernel[me as usize] = false;
        fence(Ordering::SeqCst);
    }

    fn serve(&self, me: Thread, _kernel: &MutexGuard<'_, [bool; 2]>) {
        fence(Ordering::SeqCst);
        if self.wanted[me as usize].load(Ordering::Relaxed) {
            self.wanted[me as usize].store(false, Ordering::Relaxed);
            self.served.notify_all();
        }
    }
}

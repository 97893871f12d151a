//! An allocator that counts what each thread asks for.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; every call is handed on as it is"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has allocated or grown memory while `operation` ran.
pub(crate) fn allocations(operation: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    operation();
    ALLOCATIONS.get() - before
}

fn count() {
    // A `Cell<u64>` made by a constant needs neither memory nor a destructor: it is always there.
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every method is `System`'s, which is a `GlobalAlloc`; counting does not allocate or unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

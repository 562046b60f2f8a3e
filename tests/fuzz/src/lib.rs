//! What the targets share.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process;

/// Most bytes of one allocation: what decoding an image may take. The TIFF decoder reserves up to as much for the values
/// of a tag before it looks for them. More means that a length in a file was believed.
const MAX_ALLOCATION: usize = moue_datasets::decode::MAX_BYTES as usize;

/// The system's allocator, which ends the process at an allocation that no input justifies.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// SAFETY: every call is passed on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

fn check(bytes: usize) {
    if bytes > MAX_ALLOCATION {
        process::abort();
    }
}

/// Makes parallel iterators run where they are called: another thread's wakening costs more than an execution.
pub fn one_thread() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("no pool was used before");
}

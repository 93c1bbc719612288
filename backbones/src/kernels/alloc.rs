//! A global allocator that keeps large blocks for the next step.
//!
//! A training step asks for the same few hundred blocks of up to tens of megabytes every time. The
//! system's allocator gives such blocks back to the kernel and gets them again, page by page and zeroed:
//! a third of the time of a small step. Here a freed large block waits in a list of its size class.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Smallest block that is kept; smaller ones are the system's business.
const SMALLEST: usize = 1 << 16;
/// Largest block that is kept: greater ones are asked for too rarely to be worth it.
const LARGEST: usize = 1 << 28;
/// Size classes per doubling: at most an eighth of a block is unused.
const STEPS: usize = 8;
/// Size classes from [`SMALLEST`] to [`LARGEST`].
const CLASSES: usize = (LARGEST.ilog2() - SMALLEST.ilog2()) as usize * STEPS + 1;
/// Bytes that may wait in all lists together. What a training reuses fits; a reader of large results
/// files does not make the process keep more than this.
const CAPACITY: usize = 4 << 30;
/// Alignment of every kept block: a cache line, which vector loads like.
const ALIGN: usize = 64;

/// Keeps freed blocks of 64 KiB to 256 MiB in lists by size, and leaves all others to the system.
///
/// A program that trains names it as its `#[global_allocator]`; nothing else depends on it.
pub struct KeepLarge;

/// First block of each class's list; a block holds the address of the next in its first bytes.
static LISTS: [Mutex<usize>; CLASSES] = [const { Mutex::new(0) }; CLASSES];
/// Bytes in all lists.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Class of a request, and the size of the class's blocks; none for what is not kept.
fn class(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if !(SMALLEST..=LARGEST).contains(&size) || layout.align() > ALIGN {
        return None;
    }
    // 2^k <= size - 1 < 2^(k + 1), cut into STEPS equal steps.
    let below = size - 1;
    let octave = below.ilog2();
    let step = 1 << (octave - STEPS.ilog2());
    let rounded = size.next_multiple_of(step);
    let index = (rounded - (1 << octave)) / step + (octave as usize) * STEPS;
    let first = (SMALLEST.ilog2() as usize) * STEPS;
    // SMALLEST itself is the last step of the octave below.
    Some((index - first, rounded))
}

fn block(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).unwrap_or_else(|_| unreachable!("{size} bytes are a valid layout"))
}

/// Takes a block off a list, or null. A poisoned lock guards one word that is always valid.
fn take(class: usize, size: usize) -> *mut u8 {
    let mut head = LISTS[class].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = *head as *mut u8;
    if !found.is_null() {
        // SAFETY: a block in a list is owned by the list alone, is at least `SMALLEST` bytes long and
        // aligned to `ALIGN`, and `give` wrote a `usize` at its start.
        #[expect(unsafe_code, reason = "the list lies in the free blocks themselves")]
        #[expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to a cache line")]
        let next = unsafe { found.cast::<usize>().read() };
        *head = next;
        WAITING.fetch_sub(size, Ordering::Relaxed);
    }
    found
}

/// Puts a block on a list, unless the lists are full.
fn give(class: usize, size: usize, pointer: *mut u8) -> bool {
    if WAITING.fetch_add(size, Ordering::Relaxed) + size > CAPACITY {
        WAITING.fetch_sub(size, Ordering::Relaxed);
        return false;
    }
    let mut head = LISTS[class].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: the block was just freed by its owner, so nobody else reads or writes it; it is long and
    // aligned enough for a `usize`.
    #[expect(unsafe_code, reason = "the list lies in the free blocks themselves")]
    #[expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to a cache line")]
    unsafe {
        pointer.cast::<usize>().write(*head);
    }
    *head = pointer as usize;
    true
}

/// Gives all waiting blocks back to the system: between two stages, whose blocks have other sizes.
pub fn release_memory() {
    for index in 0..CLASSES {
        // The sizes of a class are the steps of `class`, counted from the octave below `SMALLEST`.
        let step = index + (SMALLEST.ilog2() as usize) * STEPS - 1;
        let octave = step / STEPS;
        let size = (1 << octave) + (step % STEPS + 1) * (1 << (octave - STEPS.ilog2() as usize));
        loop {
            let found = take(index, size);
            if found.is_null() {
                break;
            }
            // SAFETY: a block of this class, which nobody else owns any more, see below.
            #[expect(unsafe_code, reason = "the system's allocator takes raw blocks")]
            unsafe {
                System.dealloc(found, block(size));
            }
        }
    }
}

// SAFETY: every block comes from `System` with the layout `block(size)` of its class, or with its own
// layout where `class` gives none; `class` depends on size and alignment only, so the layout at freeing
// gives the same class and the same layout as at allocation. A block is in a list, or owned by the
// caller, never both: `take` and `give` move it under the list's lock. Nothing here allocates or unwinds.
#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
unsafe impl GlobalAlloc for KeepLarge {
    // SAFETY: as the trait asks of its callers.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((class, size)) = class(layout) else {
            // SAFETY: the caller's own promise about `layout`.
            return unsafe { System.alloc(layout) };
        };
        let found = take(class, size);
        if found.is_null() {
            // SAFETY: `block(size)` is not empty.
            return unsafe { System.alloc(block(size)) };
        }
        found
    }

    // SAFETY: as the trait asks of its callers.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((class, size)) = class(layout) else {
            // SAFETY: the caller's own promise about `layout`.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let found = take(class, size);
        if found.is_null() {
            // SAFETY: `block(size)` is not empty.
            return unsafe { System.alloc_zeroed(block(size)) };
        }
        // SAFETY: the block is ours and holds at least `layout.size()` bytes.
        unsafe { found.write_bytes(0, layout.size()) };
        found
    }

    // SAFETY: as the trait asks of its callers.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((class, size)) = class(layout) else {
            // SAFETY: allocated by `System` with this layout, see above.
            return unsafe { System.dealloc(pointer, layout) };
        };
        if !give(class, size, pointer) {
            // SAFETY: allocated by `System` with the layout of its class, see above.
            unsafe { System.dealloc(pointer, block(size)) };
        }
    }
}

//! A global allocator that keeps large blocks for the next step.
//!
//! A training step asks for the same few hundred blocks of up to tens of megabytes every time. The
//! system's allocator gives such blocks back to the kernel and gets them again, page by page and zeroed:
//! a third of the time of a small step. Here a freed large block waits in a list of its size class.
//!
//! A request takes a waiting block of its own class or, where there is none, of one somewhat larger: the forward
//! and the backward pass ask for different sizes, and would otherwise each keep blocks of their own while the other
//! runs. So that a block is known when it comes back, its class stands in a header before it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
/// Bytes before what a request gets: the block's class, and nothing else in its cache line.
const HEADER: usize = ALIGN;
/// How many classes larger a block may be than its request: at most twice as large.
const REACH: u32 = 8;

/// Keeps freed blocks of 64 KiB to 256 MiB in lists by size, and leaves all others to the system.
///
/// A program that trains names it as its `#[global_allocator]`; nothing else depends on it.
pub struct KeepLarge;

/// The blocks that wait.
struct Lists {
    /// First block of each class's list; a block holds the address of the next behind its class.
    heads: [usize; CLASSES],
    /// Bit of every class whose list is not empty.
    filled: u128,
    /// Bytes in all lists.
    waiting: usize,
}

/// What stands at the start of every block.
#[repr(C)]
struct Header {
    class: usize,
    next: usize,
}

static LISTS: Mutex<Lists> = Mutex::new(Lists { heads: [0; CLASSES], filled: 0, waiting: 0 });

/// A panic while the lists are locked is impossible, and they are whole at every moment of it.
fn lists() -> MutexGuard<'static, Lists> {
    LISTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Class of a request; none for what is not kept.
fn class(layout: Layout) -> Option<usize> {
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
    // SMALLEST itself is the last step of the octave below.
    Some(index - (SMALLEST.ilog2() as usize) * STEPS)
}

/// Bytes of a class's blocks without their header.
fn size_of(class: usize) -> usize {
    // The sizes of a class are the steps of `class`, counted from the octave below `SMALLEST`.
    let step = class + (SMALLEST.ilog2() as usize) * STEPS - 1;
    let octave = step / STEPS;
    (1 << octave) + (step % STEPS + 1) * (1 << (octave - STEPS.ilog2() as usize))
}

/// What a block of a class is to the system.
fn block(class: usize) -> Layout {
    let size = HEADER + size_of(class);
    Layout::from_size_align(size, ALIGN).unwrap_or_else(|_| unreachable!("{size} bytes are a valid layout"))
}

/// Takes a block of a class, or of the next larger one that has any, off its list; or null.
fn take(class: usize) -> *mut Header {
    let mut lists = lists();
    let near = lists.filled >> class & ((1 << (REACH + 1)) - 1);
    if near == 0 {
        return std::ptr::null_mut();
    }
    let class = class + near.trailing_zeros() as usize;
    let found = lists.heads[class] as *mut Header;
    // SAFETY: a block in a list is owned by the list alone, is longer than a header and aligned to `ALIGN`,
    // and `give` wrote the address of the next one into it; `filled` says that there is a block.
    #[expect(unsafe_code, reason = "the list lies in the free blocks themselves")]
    let next = unsafe { (*found).next };
    lists.heads[class] = next;
    if next == 0 {
        lists.filled &= !(1 << class);
    }
    lists.waiting -= size_of(class);
    found
}

/// Puts a block on the list of its class, unless the lists are full.
///
/// # Safety
/// The block has a header of ours, and its owner has given it up.
#[expect(unsafe_code, reason = "the list lies in the free blocks themselves")]
// SAFETY: the caller's promise, which both blocks below need.
unsafe fn give(pointer: *mut Header) -> bool {
    // SAFETY: the caller's promise.
    let class = unsafe { (*pointer).class };
    let mut lists = lists();
    if lists.waiting + size_of(class) > CAPACITY {
        return false;
    }
    // SAFETY: nobody else reads or writes the block.
    unsafe { (*pointer).next = lists.heads[class] };
    lists.heads[class] = pointer as usize;
    lists.filled |= 1 << class;
    lists.waiting += size_of(class);
    true
}

/// Gives all waiting blocks back to the system: between two stages, whose blocks have other sizes.
pub fn release_memory() {
    for class in 0..CLASSES {
        let mut next = {
            let mut lists = lists();
            let head = std::mem::take(&mut lists.heads[class]) as *mut Header;
            lists.filled &= !(1 << class);
            head
        };
        while !next.is_null() {
            let found = next;
            // SAFETY: a block of the list that was just taken over whole, so nobody else owns it; it is read before
            // it is given back, see below.
            #[expect(unsafe_code, reason = "the system's allocator takes raw blocks")]
            unsafe {
                next = (*found).next as *mut Header;
                System.dealloc(found.cast(), block(class));
            }
            lists().waiting -= size_of(class);
        }
    }
}

/// A block for a request of a class: the bytes behind its header, and whether they are fresh zeros.
fn get(class: usize, zeroed: bool) -> (*mut u8, bool) {
    let found = take(class);
    let (found, is_fresh) = if found.is_null() {
        // SAFETY: `block(class)` is not empty.
        #[expect(unsafe_code, reason = "the system's allocator gives raw blocks")]
        let fresh = unsafe { if zeroed { System.alloc_zeroed(block(class)) } else { System.alloc(block(class)) } };
        #[expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to a cache line")]
        let fresh = fresh.cast::<Header>();
        if fresh.is_null() {
            return (std::ptr::null_mut(), false);
        }
        // SAFETY: the block is ours, longer than a header and aligned to `ALIGN`.
        #[expect(unsafe_code, reason = "the header of a raw block")]
        unsafe {
            (*fresh).class = class;
        }
        (fresh, true)
    } else {
        (found, false)
    };
    // SAFETY: a block is longer than `HEADER`.
    #[expect(unsafe_code, reason = "the data lie behind the header")]
    let data = unsafe { found.cast::<u8>().add(HEADER) };
    (data, is_fresh && zeroed)
}

// SAFETY: a kept block comes from `System` with the layout of the class in its header. Which requests get kept blocks
// depends on their layout only, so freeing knows whether there is a header; all others go to `System` as they are. Data
// are aligned to `ALIGN` and at least as long as asked for, since `take` gives blocks of a request's class or a larger
// one. A block is in a list or its caller's, never both: the lists' lock is held. Nothing here allocates or unwinds.
#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
unsafe impl GlobalAlloc for KeepLarge {
    // SAFETY: as the trait asks of its callers.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some(class) => get(class, false).0,
            // SAFETY: the caller's own promise about `layout`.
            None => unsafe { System.alloc(layout) },
        }
    }

    // SAFETY: as the trait asks of its callers.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            // SAFETY: the caller's own promise about `layout`.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let (found, is_zero) = get(class, true);
        if !found.is_null() && !is_zero {
            // SAFETY: the block is ours and holds at least `layout.size()` bytes.
            unsafe { found.write_bytes(0, layout.size()) };
        }
        found
    }

    // SAFETY: as the trait asks of its callers.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if class(layout).is_none() {
            // SAFETY: allocated by `System` with this layout, see above.
            return unsafe { System.dealloc(pointer, layout) };
        }
        // SAFETY: `get` gave out this pointer, which lies `HEADER` bytes behind a header.
        unsafe {
            #[expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to a cache line")]
            let start = pointer.sub(HEADER).cast::<Header>();
            if !give(start) {
                System.dealloc(start.cast(), block((*start).class));
            }
        }
    }
}

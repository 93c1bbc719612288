//! What the kernels do with the machine: memory that is kept, instruction sets that are pinned.

use std::collections::BTreeSet;

use reid_backbones::{InstructionSet, instruction_set, release_memory, use_instruction_set};

/// Blocks of every class's borders are what was asked for, whoever had them before.
#[test]
fn kept_blocks_are_as_good_as_new() {
    let sizes =
        (16..22).flat_map(|octave| [-1_isize, 0, 1, 4097].map(|off| (1_usize << octave).wrapping_add_signed(off)));
    for size in sizes {
        for fill in [0xA5_u8, 0x5A] {
            let mut block = vec![fill; size];
            block[size - 1] ^= 1;
            drop(block);
            assert!(vec![0_u8; size].iter().all(|&byte| byte == 0), "{size} bytes that were asked for as zeros");
        }
        // Another thread frees it, and growing moves what is in it.
        let mut grown: Vec<u8> = std::thread::spawn(move || vec![7; size]).join().expect("a block");
        grown.extend(std::iter::repeat_n(9, size));
        assert!(grown[..size].iter().all(|&byte| byte == 7) && grown[size..].iter().all(|&byte| byte == 9));
    }
    release_memory();
    assert_eq!(vec![1_u8; 1 << 17].len(), 1 << 17);
}

/// Up to a cache line by us, beyond it by the system.
#[test]
fn blocks_are_aligned() {
    #[repr(C, align(4096))]
    struct Page([u8; 4096]);
    let pages: Vec<Page> = (0..40).map(|_| Page([3; 4096])).collect();
    assert_eq!(pages.as_ptr() as usize % 4096, 0);
    assert!(pages.iter().all(|page| page.0[4095] == 3));
    let values = vec![1.0_f32; 1 << 16];
    assert_eq!(values.as_ptr() as usize % 64, 0, "vectors never straddle cache lines");
}

#[test]
fn the_best_instruction_set_comes_first() {
    let sets = InstructionSet::available();
    assert_eq!(instruction_set(), sets[0]);
    let names: BTreeSet<&str> = sets.iter().map(|set| set.name()).collect();
    assert_eq!(names.len(), sets.len());
    assert!(use_instruction_set(sets[0]));
}

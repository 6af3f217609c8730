//! Brotli (RFC 7932), without the "large window" that no RFC knows.
//!
//! A few bytes may ask for a window of 16 MiB, so its allocator counts.

use super::{Broken, DAMAGED, Progress};
use brotli_decompressor::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc};
use std::cell::Cell;
use std::rc::Rc;

/// A brotli stream.
pub(in crate::wire) struct Brotli {
    state: BrotliState<Counting, Counting, Counting>,
    bytes: Counted,
}

type Counted = Rc<Cell<u64>>;

/// The standard allocator, which says how much it has given.
struct Counting(Counted);

impl Brotli {
    pub(super) fn begin() -> Self {
        let bytes = Counted::default();
        let count = || Counting(bytes.clone());
        Self { state: BrotliState::new_strict(count(), count(), count()), bytes }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        let (mut to_read, mut read) = (input.len(), 0);
        let (mut to_write, mut written) = (output.len(), 0);
        let result = BrotliDecompressStream(
            &mut to_read,
            &mut read,
            input,
            &mut to_write,
            &mut written,
            output,
            &mut 0,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => Err(DAMAGED),
            BrotliResult::ResultSuccess => Ok(Progress { read, written, ended: true }),
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
                Ok(Progress { read, written, ended: false })
            }
        }
    }

    pub(super) fn memory(&self) -> u64 {
        size_of::<Self>() as u64 + self.bytes.get()
    }
}

impl<T: Clone + Default> Allocator<T> for Counting {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    fn alloc_cell(&mut self, length: usize) -> Self::AllocatedMemory {
        self.0.set(self.0.get() + (length * size_of::<T>()) as u64);
        StandardAlloc::default().alloc_cell(length)
    }

    fn free_cell(&mut self, memory: Self::AllocatedMemory) {
        self.0.set(self.0.get().saturating_sub(size_of_val(memory.slice()) as u64));
    }
}

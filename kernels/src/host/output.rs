//! Rows of an output that several threads write, each its own part.
#![allow(unsafe_code, reason = "threads write parts of one slice, which the borrow checker can't follow")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Threads;

/// Rows of an output: `width` numbers at every `stride`.
#[derive(Debug)]
pub struct OutputRows<'a> {
    /// Atomic, so that no order of writes is undefined; on its own a relaxed store is a plain one.
    data: &'a [AtomicU32],
    stride: usize,
    width: usize,
    memory: PhantomData<&'a mut [f32]>,
}

impl<'a> OutputRows<'a> {
    /// The rows that lie in some memory.
    pub fn new(data: &'a mut [f32], stride: usize, width: usize) -> OutputRows<'a> {
        // SAFETY: a float has the size and alignment of an atomic word, and any bits are either; the memory is borrowed for nobody else.
        let data = unsafe { std::slice::from_raw_parts(data.as_mut_ptr().cast::<AtomicU32>(), data.len()) };
        OutputRows { data, stride, width, memory: PhantomData }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes some numbers of a row.
    #[inline(always)]
    pub fn put(&self, row: usize, first: usize, numbers: &[f32]) {
        let place = &self.data[row * self.stride + first..][..numbers.len()];
        for (place, number) in place.iter().zip(numbers) {
            place.store(number.to_bits(), Ordering::Relaxed);
        }
    }

    /// A row as it was written.
    pub fn row(&mut self, row: usize) -> &[f32] {
        let row = &self.data[row * self.stride..][..self.width];
        // SAFETY: a float has the size and alignment of an atomic word, and `self` is borrowed mutably, so that nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(row.as_ptr().cast::<f32>(), row.len()) }
    }

    /// Copies rows that lie one after the other.
    pub fn copy_from(&self, rows: &[f32]) {
        rows.chunks(self.width.max(1)).enumerate().for_each(|(index, row)| self.put(index, 0, row));
    }

    /// Has each of some rows written by one thread: ranges of them, in parts.
    pub(super) fn each_row(
        &mut self,
        threads: &dyn Threads,
        parts: usize,
        rows: usize,
        write: &(impl Fn(usize, &mut [f32]) + Sync),
    ) {
        let (data, stride, width): (&[AtomicU32], usize, usize) = (self.data, self.stride, self.width);
        let range = |part: usize| -> Range<usize> { rows * part / parts..rows * (part + 1) / parts };
        threads.each(parts, &|part| {
            for row in range(part) {
                let row_data = &data[row * stride..][..width];
                // SAFETY: ranges of rows are disjoint and each part runs once, so this thread alone has the row; `self` is borrowed mutably.
                let out = unsafe { std::slice::from_raw_parts_mut(row_data.as_ptr().cast_mut().cast::<f32>(), width) };
                write(row, out);
            }
        });
    }
}

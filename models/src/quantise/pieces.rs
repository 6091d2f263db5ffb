//! Rows of tensors, quantised in pieces on all cores and handed on in order, with few of them in memory.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::error::{Error, Result};

use super::source::Tensor;
use super::{Plan, Target};

/// Elements of a piece, unless one row has more.
const PIECE_ELEMENTS: usize = 1 << 18;

/// Finished pieces that wait for each thread's turn.
const WAITING: usize = 2;

/// Rows of a tensor.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The place of the tensor.
    pub tensor: usize,
    rows: Range<usize>,
}

impl Plan {
    /// Quantises all tensors and hands their bytes on, piece by piece and in order, until all is done or something fails.
    pub(super) fn quantise(&self, mut take: impl FnMut(&Piece, &[u8]) -> Result<()>) -> Result<()> {
        let pieces = self.pieces();
        let threads = thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
        thread::scope(|scope| {
            // Piece by piece, each thread in turn: so they come in order, and a fast thread waits for its place.
            let receivers: Vec<Receiver<Result<Vec<u8>>>> = (0..threads)
                .map(|thread| {
                    let (sender, receiver) = sync_channel(WAITING);
                    let mine = pieces.iter().skip(thread).step_by(threads);
                    scope.spawn(move || self.work(mine, &sender));
                    receiver
                })
                .collect();
            for (piece, receiver) in pieces.iter().zip(receivers.iter().cycle()) {
                // A thread that is gone without a word has panicked, which the scope passes on.
                let Ok(bytes) = receiver.recv() else { break };
                take(piece, &bytes?)?;
            }
            Ok(())
        })
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (index, tensor) in self.source.tensors.iter().enumerate() {
            let rows = (PIECE_ELEMENTS / tensor.columns().max(1)).max(1);
            let begins = (0..tensor.rows()).step_by(rows);
            pieces.extend(begins.map(|first| Piece { tensor: index, rows: first..(first + rows).min(tensor.rows()) }));
        }
        pieces
    }

    /// Quantises some pieces, until nobody wants them any more.
    fn work<'a>(&self, pieces: impl Iterator<Item = &'a Piece>, sender: &SyncSender<Result<Vec<u8>>>) {
        for piece in pieces {
            let bytes = self.piece(piece);
            let failed = bytes.is_err();
            if sender.send(bytes).is_err() || failed {
                return;
            }
        }
    }

    fn piece(&self, piece: &Piece) -> Result<Vec<u8>> {
        let (tensor, target) = (&self.source.tensors[piece.tensor], &self.targets[piece.tensor]);
        let importance = match &self.importance {
            Some(importance) if tensor.is_matrix() => importance.of(tensor)?,
            _ => None,
        };
        let stored = self.source.read(tensor, piece.rows.start, piece.rows.len())?;
        let (columns, expert_rows) = (tensor.columns(), tensor.rows() / tensor.experts());
        let order = self.source.order(tensor);
        let (mut elements, mut ordered) = (vec![0.0; columns], vec![0.0; columns]);
        let mut written = vec![0; target.bytes as usize / tensor.rows() * piece.rows.len()];
        let row_bytes = written.len() / piece.rows.len();
        let rows = stored.chunks_exact(stored.len() / piece.rows.len()).zip(written.chunks_exact_mut(row_bytes));
        for (row, (stored, written)) in piece.rows.clone().zip(rows) {
            tensor.format.decode_row(stored, &mut elements);
            if let Some(order) = order {
                order.iter().zip(&elements).for_each(|(column, element)| ordered[*column as usize] = *element);
                elements.copy_from_slice(&ordered);
            }
            if !elements.iter().all(|element| element.is_finite()) {
                return Err(Error::NotFinite { tensor: tensor.name.clone(), row });
            }
            if tensor.format == target.format {
                written.copy_from_slice(stored);
                continue;
            }
            let importance = importance.map(|all| &all[row / expert_rows * columns..][..columns]);
            target.format.encode_row(&elements, importance, written);
            check_written(tensor, target, row, written, &mut elements)?;
        }
        Ok(written)
    }
}

/// Checks that what was written is finite: a number may be too large for a format's scales.
fn check_written(tensor: &Tensor, target: &Target, row: usize, written: &[u8], elements: &mut [f32]) -> Result<()> {
    let format = target.format;
    let finite = if format.is_float() {
        format.decode_row(written, elements);
        elements.iter().all(|element| element.is_finite())
    } else {
        !format.is_saturated(written)
    };
    match finite {
        true => Ok(()),
        false => Err(Error::TooLarge { tensor: tensor.name.clone(), row, format: format.to_string() }),
    }
}

//! A stretch of text and the pieces it came in.

use common::runlog::{Piece, Stream};

/// What one stream prints within this many milliseconds is one piece.
const PIECE_MILLIS: u32 = 10;

/// More pieces are not told apart, for a record has to stay small. Then that time is doubled until half as many
/// are left; where the streams alternate so often that no time helps, the last piece takes what follows of both.
const MAX_PIECES: usize = 2048;

/// So much longer than its limit a part gets before it is cut, that not each line moves all that is kept.
const SLACK: usize = 64 << 10;

/// Text that may be cut at its beginning.
#[derive(Debug)]
pub(super) struct Part {
    limit: usize,
    text: String,
    pieces: Vec<Piece>,
    /// What a stream prints within so many milliseconds is one piece.
    gap: u32,
    /// The last piece takes everything.
    coarse: bool,
}

impl Part {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, text: String::new(), pieces: Vec::new(), gap: PIECE_MILLIS, coarse: false }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    pub(super) const fn len(&self) -> usize {
        self.text.len()
    }

    /// It is time to [`Self::trim`] it.
    pub(super) const fn is_overfull(&self) -> bool {
        self.text.len() >= self.limit.saturating_add(SLACK)
    }

    pub(super) fn push(&mut self, millis: u32, stream: Stream, text: &str) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.note(millis, stream, text.len());
        }
    }

    /// Cuts it to its limit, at a character's begin; gives how many bytes went.
    pub(super) fn trim(&mut self) -> u64 {
        let mut cut = self.text.len().saturating_sub(self.limit);
        while !self.text.is_char_boundary(cut) {
            cut += 1;
        }
        self.text.drain(..cut);
        let mut left = cut;
        self.pieces.retain_mut(|piece| {
            let taken = left.min(piece.2 as usize);
            left -= taken;
            piece.2 -= u32::try_from(taken).unwrap_or(piece.2);
            piece.2 > 0
        });
        if self.pieces.len() < MAX_PIECES / 4 {
            // What made it coarse may have gone.
            (self.gap, self.coarse) = (PIECE_MILLIS, false);
        }
        cut as u64
    }

    /// Empties it; gives how many bytes went.
    pub(super) fn clear(&mut self) -> u64 {
        let limit = self.limit;
        std::mem::replace(self, Self::new(limit)).text.len() as u64
    }

    /// Text and pieces from an offset on; one inside a character counts from the character's begin.
    pub(super) fn since(&self, from: u64) -> (String, Vec<Piece>) {
        let mut from = usize::try_from(from).unwrap_or(usize::MAX).min(self.text.len());
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let mut pieces = Vec::new();
        let mut end = self.text.len();
        // From the end, as a follower asks for the last few again and again.
        for &Piece(millis, stream, bytes) in self.pieces.iter().rev() {
            if end <= from {
                break;
            }
            let start = end - bytes as usize;
            // No piece is longer than its own `u32`.
            pieces.push(Piece(millis, stream, bytes.min((end - from) as u32)));
            end = start;
        }
        pieces.reverse();
        (self.text[from..].to_owned(), pieces)
    }

    fn note(&mut self, millis: u32, stream: Stream, bytes: usize) {
        // The whole text is no longer than a `u32` can say.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (gap, coarse) = (self.gap, self.coarse);
        if let Some(last) = self.pieces.last_mut() {
            let near = last.1 == stream && millis.saturating_sub(last.0) < gap;
            if coarse || near {
                last.2 = last.2.saturating_add(bytes);
                return;
            }
        }
        self.pieces.push(Piece(millis, stream, bytes));
        if self.pieces.len() == MAX_PIECES {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        while self.pieces.len() > MAX_PIECES / 2 && self.gap < u32::MAX {
            self.gap = self.gap.saturating_mul(2);
            let gap = self.gap;
            self.pieces.dedup_by(|next, kept| {
                let near = next.1 == kept.1 && next.0.saturating_sub(kept.0) < gap;
                if near {
                    kept.2 = kept.2.saturating_add(next.2);
                }
                near
            });
        }
        self.coarse = self.pieces.len() > MAX_PIECES / 2;
    }
}

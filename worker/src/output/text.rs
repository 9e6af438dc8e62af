//! Bytes of two streams as one bounded text and the pieces it came in.

use common::runlog::{Piece, Stream};

/// What one stream prints within this many milliseconds is one piece.
const PIECE_MILLIS: u32 = 10;

/// More pieces are not told apart, for a record has to stay small. Then that time is doubled until half as many
/// are left; where the streams alternate so often that no time helps, the last piece takes what follows of both.
const MAX_PIECES: usize = 4096;

const REPLACEMENT: &str = "\u{FFFD}";

/// Text up to a limit, and what became of the rest.
#[derive(Debug)]
pub(super) struct Text {
    limit: usize,
    text: String,
    pieces: Vec<Piece>,
    /// The begin of a character whose end has not come yet, per stream; and when it came.
    open: [Vec<u8>; 2],
    millis: u32,
    total: u64,
    truncated: u64,
    /// The limit was met: nothing more is kept, also not what would just fit.
    full: bool,
    /// What a stream prints within so many milliseconds is one piece.
    gap: u32,
    /// The last piece takes everything.
    coarse: bool,
}

impl Text {
    /// Keeps `limit` bytes, but never more than a piece can count.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(u32::MAX as usize),
            text: String::new(),
            pieces: Vec::new(),
            open: [Vec::new(), Vec::new()],
            millis: 0,
            total: 0,
            truncated: 0,
            full: false,
            gap: PIECE_MILLIS,
            coarse: false,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) const fn truncated(&self) -> u64 {
        self.truncated
    }

    pub(super) fn append(&mut self, millis: u32, stream: Stream, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.millis = millis;
        let mut open = std::mem::take(&mut self.open[stream as usize]);
        if open.is_empty() {
            self.decode(stream, bytes);
        } else {
            open.extend_from_slice(bytes);
            self.decode(stream, &open);
        }
    }

    /// Characters that never got their end become U+FFFD.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let open = std::mem::take(&mut self.open[stream as usize]);
            if !open.is_empty() {
                self.push(stream, REPLACEMENT, open.len());
            }
        }
    }

    /// Text and pieces from an offset on; one inside a character counts from the character's begin.
    pub(super) fn since(&self, from: usize) -> (String, Vec<Piece>) {
        let mut from = from.min(self.text.len());
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

    fn decode(&mut self, stream: Stream, bytes: &[u8]) {
        if self.full {
            self.truncated += bytes.len() as u64;
            return;
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            let (valid, invalid) = (chunk.valid(), chunk.invalid());
            self.push(stream, valid, valid.len());
            if invalid.is_empty() {
                continue;
            }
            let unfinished =
                chunks.peek().is_none() && str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if unfinished && !self.full {
                self.open[stream as usize] = invalid.to_vec();
            } else {
                self.push(stream, REPLACEMENT, invalid.len());
            }
        }
    }

    /// Keeps what fits of `text`, which `raw` bytes stand for.
    fn push(&mut self, stream: Stream, text: &str, raw: usize) {
        if text.is_empty() {
            return;
        }
        let mut fits = if self.full { 0 } else { text.len().min(self.limit - self.text.len()) };
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        if fits < text.len() {
            self.full = true;
            // A replacement stands for other bytes than its own and fits whole or not at all.
            self.truncated += raw.saturating_sub(fits) as u64;
        }
        if fits > 0 {
            self.text.push_str(&text[..fits]);
            self.note(stream, fits);
        }
    }

    fn note(&mut self, stream: Stream, bytes: usize) {
        // The whole text is no longer than a `u32` can say.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (gap, coarse) = (self.gap, self.coarse);
        if let Some(last) = self.pieces.last_mut() {
            let near = last.1 == stream && self.millis.saturating_sub(last.0) < gap;
            if coarse || near {
                last.2 = last.2.saturating_add(bytes);
                return;
            }
        }
        self.pieces.push(Piece(self.millis, stream, bytes));
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

//! Bytes of two streams as one bounded text and the pieces it came in.

use common::{
    job::Keep,
    runlog::{Gap, Piece, Stream},
};

use part::Part;

mod part;

const REPLACEMENT: &str = "\u{FFFD}";

/// Text up to a limit: its first part, its last part, and how much between them is gone.
///
/// Offsets count the text as it came, with what is gone: so they mean the same before and after something goes.
#[derive(Debug)]
pub(super) struct Text {
    keep: Keep,
    head: Part,
    /// The newest text behind the head.
    tail: Part,
    /// So much text between head and tail is gone.
    gone: u64,
    /// The begin of a character whose end has not come yet, per stream; and when it came.
    open: [Vec<u8>; 2],
    millis: u32,
    total: u64,
    /// Bytes behind a head that has no tail: they are not even made text of.
    unread: u64,
    /// The head is full: nothing more goes there, also not what would just fit.
    full: bool,
}

/// A text from an offset on.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    /// Where in it something is missing.
    pub(super) gap: Option<Gap>,
}

impl Text {
    /// Keeps `limit` bytes, but never more than a piece can count.
    pub(super) fn new(limit: usize, keep: Keep) -> Self {
        let limit = limit.min(u32::MAX as usize);
        let head = match keep {
            Keep::Head => limit,
            Keep::Tail => 0,
            Keep::Both => limit / 2,
        };
        Self {
            keep,
            head: Part::new(head),
            tail: Part::new(limit - head),
            gone: 0,
            open: [Vec::new(), Vec::new()],
            millis: 0,
            total: 0,
            unread: 0,
            full: false,
        }
    }

    pub(super) const fn keep(&self) -> Keep {
        self.keep
    }

    /// So much is kept at most.
    pub(super) const fn limit(&self) -> usize {
        self.head.limit() + self.tail.limit()
    }

    /// So much text has come: the offset behind it.
    pub(super) const fn end(&self) -> u64 {
        self.head.len() as u64 + self.gone + self.tail.len() as u64
    }

    /// Raw bytes that came.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are gone.
    pub(super) const fn truncated(&self) -> u64 {
        self.gone + self.unread
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

    /// What follows comes so many bytes later: the tail so far lies before them, and is gone as well.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.full = true;
        self.gone += bytes + self.tail.clear();
    }

    /// Characters that never got their end become U+FFFD, and the tail gets no longer than it may be.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let open = std::mem::take(&mut self.open[stream as usize]);
            if !open.is_empty() {
                self.push(stream, REPLACEMENT, open.len());
            }
        }
        self.gone += self.tail.trim();
    }

    /// Text and pieces from an offset on; one inside a character counts from the character's begin.
    pub(super) fn since(&self, from: u64) -> Rest {
        let head = self.head.len() as u64;
        let tail = head + self.gone;
        let (mut text, mut pieces) = self.head.since(from);
        let at = text.len() as u64;
        let missing = tail.saturating_sub(from.max(head));
        let (last, mut its_pieces) = self.tail.since(from.saturating_sub(tail));
        text.push_str(&last);
        pieces.append(&mut its_pieces);
        Rest { text, pieces, gap: (missing > 0).then_some(Gap { at, bytes: missing }) }
    }

    fn decode(&mut self, stream: Stream, bytes: &[u8]) {
        if self.full && self.tail.limit() == 0 {
            self.unread += bytes.len() as u64;
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
            if unfinished && !(self.full && self.tail.limit() == 0) {
                self.open[stream as usize] = invalid.to_vec();
            } else {
                self.push(stream, REPLACEMENT, invalid.len());
            }
        }
    }

    /// Keeps what fits of `text`, which `raw` bytes stand for.
    fn push(&mut self, stream: Stream, text: &str, raw: usize) {
        let mut fits = if self.full { 0 } else { text.len().min(self.head.limit() - self.head.len()) };
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.head.push(self.millis, stream, &text[..fits]);
        if fits == text.len() {
            return;
        }
        self.full = true;
        if self.tail.limit() == 0 {
            // A replacement stands for other bytes than its own and fits whole or not at all.
            self.unread += raw.saturating_sub(fits) as u64;
        } else {
            self.tail.push(self.millis, stream, &text[fits..]);
            if self.tail.is_overfull() {
                self.gone += self.tail.trim();
            }
        }
    }
}

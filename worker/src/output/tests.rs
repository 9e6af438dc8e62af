use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use common::{
    job::Keep,
    runlog::Stream::{Err as StdErr, Out as StdOut},
};

fn output(limit: u64) -> Arc<Output> {
    keeping(Keep::Both, limit)
}

fn keeping(keep: Keep, limit: u64) -> Arc<Output> {
    Output::new(OutputLimit { keep, ..OutputLimit::of(limit) }, Instant::now(), None)
}

fn lengths(pieces: &[Piece]) -> Vec<(Stream, u32)> {
    pieces.iter().map(|Piece(_, stream, bytes)| (*stream, *bytes)).collect()
}

#[test]
fn a_character_that_comes_in_two_reads_stays_whole() {
    let output = output(100);
    output.append(StdOut, b"a\xc3");
    output.append(StdErr, b"x\xe2\x82");
    output.append(StdOut, b"\xa4b");
    output.append(StdErr, b"\xac");
    let collected = output.finish();
    assert_eq!(collected.text, "axäb€");
    assert_eq!(lengths(&collected.pieces), [(StdOut, 1), (StdErr, 1), (StdOut, 3), (StdErr, 3)]);
}

#[test]
fn a_character_without_its_end_is_replaced_at_the_end() {
    let output = output(100);
    output.append(StdOut, b"a\xe2\x82");
    assert_eq!(output.snapshot(0).text, "a");
    assert_eq!(output.finish().text, "a\u{FFFD}");
    assert_eq!(output.finish().text, "a\u{FFFD}");
}

#[test]
fn the_limit_cuts_between_characters_and_counts_the_rest() {
    let output = keeping(Keep::Head, 4);
    output.append(StdOut, "ab€c".as_bytes());
    output.append(StdErr, b"d\xff");
    let collected = output.finish();
    assert_eq!((collected.text.as_str(), collected.truncated), ("ab", 6));
    assert_eq!(output.total(), 8);
    assert_eq!(lengths(&collected.pieces), [(StdOut, 2)]);
}

#[test]
fn of_a_long_output_the_end_is_kept_and_what_is_missing_is_told() {
    let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    for (keep, limit) in [(Keep::Tail, 1_000), (Keep::Both, 1_000), (Keep::Both, 100_001), (Keep::Both, 1)] {
        let output = keeping(keep, limit);
        output.append(StdOut, lines.as_bytes());
        output.append(StdErr, b"error: no such table\n");
        let whole = format!("{lines}error: no such table\n");
        let collected = output.finish();
        let at = usize::try_from(collected.gap.unwrap()).unwrap();
        let (first, last) = collected.text.split_at(at);
        let half = usize::try_from(limit).unwrap() / 2;
        assert_eq!(first.len(), if keep == Keep::Tail { 0 } else { half });
        assert_eq!(collected.text.len() as u64, limit);
        assert!(whole.starts_with(first) && whole.ends_with(last));
        assert_eq!(collected.truncated, whole.len() as u64 - limit);
        let sum: usize = collected.pieces.iter().map(|piece| piece.2 as usize).sum();
        assert_eq!(sum, collected.text.len());
        assert_eq!(collected.pieces.last().unwrap().1, StdErr);
    }
}

#[test]
fn who_follows_a_long_output_reads_all_of_it_and_who_comes_late_is_told_what_is_missing() {
    let output = keeping(Keep::Both, 200_000);
    let (mut read, mut from) = (String::new(), 0);
    let mut whole = String::new();
    for n in 0..20_000 {
        let line = format!("line {n} of a long output\n");
        output.append(StdOut, line.as_bytes());
        whole.push_str(&line);
        if n % 100 == 0 {
            let part = output.snapshot(from);
            assert_eq!(part.gap, None);
            read.push_str(&part.text);
            from = part.next;
        }
    }
    read.push_str(&output.snapshot(from).text);
    assert!(read == whole, "a follower that kept up has read something else");

    let late = output.snapshot(150_000);
    let Gap { at, bytes } = late.gap.unwrap();
    assert_eq!((at, late.next), (0, whole.len() as u64));
    assert_eq!(late.text, whole[150_000 + usize::try_from(bytes).unwrap()..]);
    let early = output.snapshot(50_000);
    let Gap { at, bytes } = early.gap.unwrap();
    let (at, bytes) = (usize::try_from(at).unwrap(), usize::try_from(bytes).unwrap());
    assert_eq!(early.text[..at], whole[50_000..100_000]);
    assert_eq!(early.text[at..], whole[100_000 + bytes..]);
    assert_eq!(bytes as u64, early.truncated);
}

#[test]
fn a_snapshot_goes_on_where_the_last_one_ended() {
    let output = output(1000);
    output.append(StdOut, b"one ");
    output.append(StdErr, b"two ");
    let first = output.snapshot(0);
    assert_eq!((first.text.as_str(), first.next), ("one two ", 8));
    output.append(StdErr, b"three");
    let second = output.snapshot(first.next);
    assert_eq!(
        (second.text.as_str(), second.next, lengths(&second.pieces)),
        ("three", 13, vec![(StdErr, 5)])
    );
    let middle = output.snapshot(2);
    assert_eq!(
        (middle.text.as_str(), lengths(&middle.pieces)),
        ("e two three", vec![(StdOut, 2), (StdErr, 9)])
    );
    assert_eq!(output.snapshot(u64::MAX).text, "");
    assert_eq!(output.snapshot(u64::MAX).live(3).attempt, 3);
}

#[test]
fn many_pieces_become_coarser_before_streams_are_mixed() {
    let mut text = Text::new(1 << 20, Keep::Head);
    for second in 0..10_000 {
        text.append(second * 1000, if second % 50 == 0 { StdErr } else { StdOut }, b"x");
    }
    let Rest { pieces, .. } = text.since(0);
    assert!((1000..2048).contains(&pieces.len()), "{}", pieces.len());
    let errors: u32 = pieces.iter().filter(|piece| piece.1 == StdErr).map(|piece| piece.2).sum();
    assert_eq!(errors, 200);
    assert!(pieces.is_sorted_by_key(|piece| piece.0));
}

#[test]
fn streams_that_alternate_for_ever_stay_bounded() {
    let mut text = Text::new(1 << 20, Keep::Head);
    for n in 0..100_000 {
        text.append(n, if n % 2 == 0 { StdOut } else { StdErr }, b"x");
    }
    let Rest { text, pieces, .. } = text.since(0);
    assert!(pieces.len() <= 2048);
    assert_eq!(pieces.iter().map(|piece| piece.2 as usize).sum::<usize>(), text.len());
}

#[tokio::test]
async fn silence_is_counted_from_the_last_output() {
    let output = output(100);
    let span = Duration::from_millis(60);
    let prints = async {
        tokio::time::sleep(span / 3).await;
        output.append(StdOut, b"x");
    };
    tokio::join!(output.silence(span), prints);
    assert!(output.last_output() > output.started());
    assert!(Instant::now() >= output.last_output() + span);
}

fn spilled(limit: u64, dir: &TempDir) -> (Arc<Output>, PathBuf) {
    spilled_keeping(Keep::Both, limit, dir)
}

fn spilled_keeping(keep: Keep, limit: u64, dir: &TempDir) -> (Arc<Output>, PathBuf) {
    let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
    let path = Output::spill_path(&dir.path().join("output"), &run, 2);
    let to = SpillTo { path: path.clone(), head: Box::new(|| b"head".to_vec()) };
    (Output::new(OutputLimit { keep, ..OutputLimit::of(limit) }, Instant::now(), Some(to)), path)
}

#[test]
fn a_copy_on_disk_says_what_the_output_says() {
    let dir = TempDir::new().unwrap();
    let (output, path) = spilled(1000, &dir);
    output.append(StdOut, "one ä ".as_bytes());
    assert!(!path.exists());
    output.spill_now();
    output.append(StdErr, b"two ");
    output.append(StdOut, b"three\xff");
    output.spill_now();
    let collected = output.finish();
    let recovered = Recovered { head: b"head".to_vec(), output: collected.clone() };
    assert_eq!(Output::recover(&path).unwrap(), recovered);
    assert_eq!(collected.text, "one ä two three\u{FFFD}");
    let found = Output::runs_with_spill(path.parent().unwrap()).unwrap();
    assert_eq!(found, [("01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(), 2, path.clone())]);
    output.discard_spill();
    assert!(!path.exists());
    output.append(StdOut, b"late");
    output.spill_now();
    assert!(!path.exists());
}

/// A copy that is written by hand.
fn spill(dir: &TempDir) -> (Spill, PathBuf) {
    let path = dir.path().join("copy");
    (Spill::new(SpillTo { path: path.clone(), head: Box::new(|| b"head".to_vec()) }), path)
}

#[test]
fn of_two_that_would_copy_only_one_writes() {
    let dir = TempDir::new().unwrap();
    let (mut spill, path) = spill(&dir);
    let mut text = Text::new(1000, Keep::Both);
    text.append(1, StdOut, b"one ");
    assert!(spill.begin(&text));
    text.append(2, StdErr, b"two ");
    assert!(!spill.begin(&text));
    let job = spill.next(&text, None).unwrap();
    text.append(3, StdOut, b"three");
    assert!(!spill.begin(&text));
    assert!(spill.next(&text, None).is_none());
    let job = spill.next(&text, Some(job.write())).unwrap();
    assert!(spill.next(&text, Some(job.write())).is_none());
    let Recovered { head, output } = Output::recover(&path).unwrap();
    assert_eq!((head.as_slice(), output.text.as_str()), (b"head".as_slice(), "one two three"));
    text.append(4, StdOut, b" four");
    assert!(spill.begin(&text));
}

#[test]
fn nothing_is_created_after_a_discard() {
    let dir = TempDir::new().unwrap();
    let mut text = Text::new(1000, Keep::Both);
    text.append(1, StdOut, b"one");

    let (mut early, path) = spill(&dir);
    assert!(early.begin(&text));
    early.discard();
    assert!(early.next(&text, None).is_none());
    assert!(!early.begin(&text) && !path.exists());

    let (mut late, path) = spill(&dir);
    assert!(late.begin(&text));
    let job = late.next(&text, None).unwrap();
    late.discard();
    // Nobody but the writer can tell when the file is no longer written.
    assert!(late.next(&text, None).is_none());
    assert!(late.next(&text, Some(job.write())).is_none());
    assert!(!late.begin(&text) && !path.exists());
}

#[test]
fn a_big_output_is_copied_at_once_and_within_the_limit() {
    let dir = TempDir::new().unwrap();
    let (output, path) = spilled_keeping(Keep::Head, 100_000, &dir);
    for _ in 0..100 {
        output.append(StdOut, &[b'x'; 40_000]);
    }
    let collected = output.finish();
    let copy = Output::recover(&path).unwrap().output;
    assert_eq!((copy.text, copy.pieces), (collected.text, collected.pieces));
    assert!(copy.truncated >= collected.truncated / 2 && copy.truncated <= collected.truncated);
    assert!(std::fs::metadata(&path).unwrap().len() < 101_000);
}

#[test]
fn the_copy_of_a_long_output_has_its_end_and_stays_small() {
    for keep in [Keep::Tail, Keep::Both] {
        let dir = TempDir::new().unwrap();
        let (output, path) = spilled_keeping(keep, 100_000, &dir);
        let mut largest = 0;
        for n in 0..50_000 {
            output.append(if n % 7 == 0 { StdErr } else { StdOut }, format!("line {n} of it\n").as_bytes());
            if n % 1000 == 0 {
                largest = largest.max(std::fs::metadata(&path).map_or(0, |copy| copy.len()));
            }
        }
        let collected = output.finish();
        let Recovered { head, output: copy } = Output::recover(&path).unwrap();
        assert_eq!(head, b"head");
        assert!(copy.text == collected.text, "the copy has another text");
        assert_eq!((copy.gap, copy.truncated), (collected.gap, collected.truncated));
        assert!(largest > 100_000 && largest < 1_000_000, "{largest}");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn a_copy_that_was_to_take_anothers_place_is_removed() {
    let dir = TempDir::new().unwrap();
    let (output, path) = spilled(1000, &dir);
    output.append(StdOut, b"one");
    output.spill_now();
    std::fs::copy(&path, path.with_extension("output.new")).unwrap();
    assert_eq!(Output::runs_with_spill(path.parent().unwrap()).unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_torn_copy_gives_what_is_there() {
    let dir = TempDir::new().unwrap();
    let (output, path) = spilled(1000, &dir);
    output.append(StdOut, b"one");
    output.append(StdErr, b"two");
    output.spill_now();
    let bytes = std::fs::read(&path).unwrap();
    let mut last = String::new();
    for end in "quorate output 1\n".len()..=bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let Recovered { head, output: Collected { text, .. } } = Output::recover(&path).unwrap();
        assert!(b"head".starts_with(&head) && (text.is_empty() || head == b"head"));
        assert!("onetwo".starts_with(&text) && text.starts_with(&last), "{text}");
        last = text;
    }
    assert_eq!(last, "onetwo");
    std::fs::write(&path, "something else").unwrap();
    assert!(Output::recover(&path).unwrap_err().to_string().contains("not a copy of a run's output"));
}

#[test]
fn a_disk_that_refuses_does_not_hurt_the_run() {
    // A device on which every write fails as on a full disk.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let output = Output::new(
        OutputLimit::of(1000),
        Instant::now(),
        Some(SpillTo { path: path.clone(), head: Box::new(Vec::new) }),
    );
    output.append(StdOut, b"one ");
    output.spill_now();
    output.append(StdOut, b"two");
    output.spill_now();
    assert_eq!(output.finish().text, "one two");
    output.discard_spill();
    assert!(!path.is_symlink());
}

#[test]
fn no_directory_holds_no_copies() {
    assert_eq!(Output::runs_with_spill(Path::new("/no/such/dir")).unwrap(), []);
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    std::fs::write(dir.path().join("x.1.output"), "").unwrap();
    assert_eq!(Output::runs_with_spill(dir.path()).unwrap(), []);
}

proptest! {
    #[test]
    fn any_bytes_in_any_reads_give_bounded_text_in_whole_pieces(
        reads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..50),
        limit in 0_u64..200,
        keep in prop::sample::select(vec![Keep::Head, Keep::Tail, Keep::Both]),
    ) {
        let output = keeping(keep, limit);
        for (err, bytes) in &reads {
            output.append(if *err { StdErr } else { StdOut }, bytes);
        }
        let collected = output.finish();
        prop_assert!(collected.text.len() as u64 <= limit);
        let sum: usize = collected.pieces.iter().map(|piece| piece.2 as usize).sum();
        prop_assert_eq!(sum, collected.text.len());
        prop_assert_eq!(output.total(), reads.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        let mut from = 0;
        for piece in &collected.pieces {
            from += piece.2 as usize;
            prop_assert!(collected.text.is_char_boundary(from));
        }
    }

    #[test]
    fn one_stream_without_a_limit_is_read_as_the_standard_library_reads_it(
        reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..30),
    ) {
        let output = output(u64::MAX);
        for bytes in &reads {
            output.append(StdOut, bytes);
        }
        let whole = reads.concat();
        prop_assert_eq!(output.finish().text, String::from_utf8_lossy(&whole));
    }
}

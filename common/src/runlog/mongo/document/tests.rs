use mongodb::bson::{doc, rawdoc};

use super::*;
use crate::runlog::{Stream, TickOutcome};

fn run() -> RunRecord {
    RunRecord {
        job_name: "nightly".parse().unwrap(),
        command: "backup --full".to_owned(),
        err: "exit status 1".to_owned(),
        output: "one\ntwo\n".to_owned(),
        plan_time: 1_795_310_523_000,
        schedule_time: 1_795_310_523_001,
        start_time: 1_795_310_523_002,
        end_time: 1_795_310_524_000,
        run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
        task: false,
        attempt: 2,
        state: RunState::Failed,
        reason: "it said so".to_owned(),
        by: Author::Caretaker,
        trigger: Cause::CatchUp,
        tick: Some("2026-11-22T01:02:03Z".parse().unwrap()),
        worker: "web1-3f9c".parse().unwrap(),
        fence: crate::revision::Token(1 << 45),
        claim_time: 1_795_310_523_001,
        exit_code: Some(1),
        signal: None,
        truncated: 5_000_000_000,
        gap: Some(4),
        pieces: vec![Piece(0, Stream::Out, 4), Piece(17, Stream::Err, 4)],
        expires: 1_797_902_524_000,
    }
}

#[test]
fn a_run_is_read_back_and_gdts_finds_its_fields_first() {
    let document = of_run(&run()).unwrap();
    assert_eq!(read_run(&document).unwrap(), run());

    let keys: Vec<String> =
        document.iter_elements().map(|field| field.unwrap().key().as_str().to_owned()).collect();
    let gdts = ["jobName", "command", "err", "output", "planTime", "scheduleTime", "startTime", "endTime"];
    assert_eq!(keys[0], "_id");
    assert_eq!(keys[1..9], gdts);
    let names = serde_json::to_value(run()).unwrap();
    assert_eq!(keys[1..], names.as_object().unwrap().keys().cloned().collect::<Vec<_>>());

    let read: bson::Document = document.try_into().unwrap();
    assert_eq!(read.get_str("_id").unwrap(), "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b/2");
    assert_eq!(read.get_i64("planTime").unwrap(), 1_795_310_523_000);
    assert_eq!(read.get_datetime("expires").unwrap().timestamp_millis(), 1_797_902_524_000);
    assert_eq!(read["pieces"].as_array().unwrap()[1], bson::bson!([17_i64, "err", 4_i64]));
}

#[test]
fn a_small_time_is_stored_in_64_bits_too() {
    let document = of_run(&RunRecord { plan_time: 7, ..run() }).unwrap();
    assert_eq!(document.get_i64("planTime").unwrap(), 7);
}

#[test]
fn a_run_of_gdts_gets_what_it_lacks() {
    let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
    for (err, state) in
        [("", RunState::Succeeded), ("signal: killed", RunState::Killed), ("exit status 2", RunState::Failed)]
    {
        let record = read_run(&rawdoc! {
            "_id": id, "jobName": "old", "command": "echo", "err": err, "output": "x\n", "planTime": 1_000_i64,
            "scheduleTime": 1_001_i64, "startTime": 1_002_i64, "endTime": 1_003_i64,
        })
        .unwrap();
        assert_eq!((record.state, record.attempt, record.claim_time), (state, 1, 1_001));
        assert_eq!(gdts_id(&record.run), Some(id));
        assert_eq!(record.worker.as_str(), "gdts");
    }
    assert_eq!(gdts_id(&run().run), None);
}

#[test]
fn times_in_other_kinds_of_number_are_read() {
    let record = read_run(&rawdoc! {
        "_id": "x", "run": run().run.to_string(), "jobName": "old", "planTime": 1_000.0, "scheduleTime": 1_001,
        "startTime": DateTime::from_millis(1_002), "endTime": 1_003_i64, "expires": "never",
    })
    .unwrap();
    assert_eq!(
        [record.plan_time, record.schedule_time, record.start_time, record.end_time, record.expires],
        [1_000, 1_001, 1_002, 1_003, 0]
    );
}

#[test]
fn output_that_is_no_utf8_is_mended() {
    let mut bytes = of_run(&RunRecord { output: "abcd".to_owned(), ..run() }).unwrap().into_bytes();
    let at = bytes.windows(4).position(|window| window == b"abcd").unwrap();
    bytes[at] = 0xff;
    let record = read_run(&RawDocumentBuf::from_bytes(bytes).unwrap()).unwrap();
    assert_eq!(record.output, "\u{fffd}bcd");
}

#[test]
fn what_is_no_run_says_which_and_why() {
    for document in [
        rawdoc! { "_id": "this one" },
        rawdoc! { "_id": "this one", "jobName": 7 },
        rawdoc! { "_id": "this one", "jobName": "a", "planTime": 1, "scheduleTime": 1, "startTime": 1, "endTime": 1 },
        rawdoc! {
            "_id": "this one", "run": run().run.to_string(), "jobName": "a/b", "planTime": 1, "scheduleTime": 1,
            "startTime": 1, "endTime": 1,
        },
    ] {
        let error = read_run(&document).unwrap_err().to_string();
        assert!(error.contains("this one"), "{error}");
    }
}

/// For tests: small enough to be quick.
const LIMIT: usize = 512 * 1024;

#[test]
fn an_output_beyond_what_mongodb_takes_is_cut_and_says_so() {
    let length = 600_000;
    let record = RunRecord {
        output: "é".repeat(length / 2),
        truncated: 7,
        gap: None,
        pieces: vec![
            Piece(0, Stream::Out, 1_001),
            Piece(1, Stream::Err, 598_000),
            Piece(2, Stream::Out, 999),
        ],
        ..run()
    };
    let document = of_run_within(LIMIT, &record).unwrap();
    assert!(document.as_bytes().len() <= LIMIT);
    let read = read_run(&document).unwrap();
    assert!(read.output.len() > LIMIT - 2 * FIXED_BYTES);
    assert_eq!(read.truncated, 7 + (length - read.output.len()) as u64);
    assert_eq!(read.pieces.iter().map(|piece| piece.2 as usize).sum::<usize>(), read.output.len());
    assert_eq!(read.pieces.len(), 2);
}

#[test]
fn an_output_whose_middle_is_missing_loses_more_of_it_and_keeps_its_end() {
    let output = format!("{}{}end", "é".repeat(150_000), "x".repeat(300_000));
    let record = RunRecord {
        output: output.clone(),
        truncated: 7,
        gap: Some(300_000),
        pieces: vec![Piece(0, Stream::Out, 300_000), Piece(1, Stream::Err, 300_003)],
        ..run()
    };
    let document = of_run_within(LIMIT, &record).unwrap();
    assert!(document.as_bytes().len() <= LIMIT);
    let read = read_run(&document).unwrap();
    assert!(read.output.len() > LIMIT - 2 * FIXED_BYTES && read.output.ends_with("xend"));
    assert_eq!((read.gap, &read.output[..300_000]), (Some(300_000), &output[..300_000]));
    assert_eq!(read.truncated, 7 + (output.len() - read.output.len()) as u64);
    assert_eq!(read.pieces.iter().map(|piece| piece.2 as usize).sum::<usize>(), read.output.len());
}

#[test]
fn pieces_beyond_what_mongodb_takes_are_joined_or_left_out() {
    let pieces = |stream: fn(u32) -> Stream| (0..20_000).map(|n| Piece(n, stream(n), 1)).collect::<Vec<_>>();
    let record = RunRecord { output: "x".repeat(20_000), pieces: pieces(|_| Stream::Err), ..run() };
    let joined = read_run(&of_run_within(LIMIT, &record).unwrap()).unwrap();
    assert_eq!((joined.pieces, joined.truncated), (vec![Piece(0, Stream::Err, 20_000)], record.truncated));

    let mixed = pieces(|n| if n % 2 == 0 { Stream::Out } else { Stream::Err });
    let read = read_run(&of_run_within(LIMIT, &RunRecord { pieces: mixed, ..record }).unwrap()).unwrap();
    assert_eq!((read.pieces.len(), read.output.len()), (0, 20_000));
}

#[test]
fn ticks_are_read_back() {
    let record = TickRecord {
        job_name: "nightly".parse().unwrap(),
        from: "2026-11-22T01:02:03Z".parse().unwrap(),
        to: "2026-11-22T01:02:09Z".parse().unwrap(),
        count: 7,
        outcome: TickOutcome::Missed,
        reason: "nobody was there".to_owned(),
        worker: "web1-3f9c".parse().unwrap(),
        expires: 1_797_902_524_000,
    };
    let document = of_ticks(&record).unwrap();
    assert_eq!(read_ticks(&document).unwrap(), record);
    let read: bson::Document = document.try_into().unwrap();
    assert_eq!(read.get_str("from").unwrap(), "2026-11-22T01:02:03Z");
    assert!(read.get_datetime("expires").is_ok());
    assert!(read_ticks(&RawDocumentBuf::try_from(&doc! { "_id": 1 }).unwrap()).is_err());
}

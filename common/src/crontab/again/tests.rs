use chrono::{TimeZone as _, Utc};
use chrono_tz::Tz;

use super::*;
use crate::{
    crontab::{Format, Options, parse},
    span::Span,
};

/// The jobs of a table.
fn table(text: &str) -> Vec<Job> {
    let options = Options {
        format: Format::User,
        file: "/tmp/ops".to_owned(),
        source: "web1:/tmp/ops".to_owned(),
        name_prefix: String::new(),
        zone: Tz::UTC,
        user: None,
        require: Vec::new(),
        now: Utc.with_ymd_and_hms(2026, 11, 22, 1, 2, 3).unwrap(),
    };
    parse(text.as_bytes(), &options).jobs().map(|(_, job)| job.clone()).collect()
}

/// What an import of this table makes of the jobs that are there, those that are gone removed; and the changes.
fn import(there: &mut Vec<Job>, text: &str) -> (Vec<Change>, Vec<String>) {
    let jobs = table(text);
    let (lines, gone) = again(&jobs.iter().collect::<Vec<_>>(), there);
    let gone = gone.into_iter().map(|place| there[place].name.to_string()).collect();
    let saved = |line: &Again| match (line.change.clone(), line.was) {
        (Change::Edited | Change::Conflict, Some(was)) => there[was].clone(),
        _ => line.job.clone(),
    };
    let changes = lines.iter().map(|line| line.change.clone()).collect();
    *there = lines.iter().map(saved).collect();
    (changes, gone)
}

fn commands(jobs: &[Job]) -> Vec<(&str, &str)> {
    jobs.iter().map(|job| (job.name.as_str(), what(job).unwrap().0)).collect()
}

#[test]
fn the_same_table_changes_nothing_however_often_it_is_imported() {
    let mut there = Vec::new();
    let text = "1 * * * * a\n2 * * * * a\n3 * * * * b --x\n";
    assert_eq!(import(&mut there, text).0, [const { Change::Added }; 3]);
    let first = there.clone();
    for _ in 0..4 {
        assert_eq!(import(&mut there, text), (vec![Change::Unchanged; 3], Vec::new()));
        assert_eq!(there, first);
    }
    // A comment moves the lines, and nothing else.
    assert_eq!(import(&mut there, &format!("# moved\n\n{text}")).0, [const { Change::Unchanged }; 3]);
}

#[test]
fn a_line_that_is_edited_stays_its_job() {
    for (before, after) in [
        ("0 3 * * * backup --full\n", "0 4 * * * backup --full\n"),
        ("0 3 * * * backup --full\n", "0 3 * * * backup --full --verify\n"),
        ("0 3 * * * backup --full\n", "0 5 * * * backup\n"),
        ("0 3 * * * backup --full\n", "LEVEL=9\n0 3 * * * backup --full\n"),
    ] {
        let mut there = Vec::new();
        import(&mut there, before);
        let (changes, gone) = import(&mut there, after);
        assert_eq!((changes, gone.len()), (vec![Change::Changed], 0), "{after}");
        assert_eq!(there[0].name.as_str(), "ops-backup-full");
        assert_eq!(there[0].trigger, table(after)[0].trigger);
        assert_eq!(there[0].driver, table(after)[0].driver);
        // And so it is from then on.
        assert_eq!(import(&mut there, after).0, [Change::Unchanged]);
    }
}

#[test]
fn a_line_with_another_program_is_another_job_and_the_old_one_is_named() {
    let mut there = Vec::new();
    import(&mut there, "0 3 * * * backup\n0 4 * * * report\n");
    let (changes, gone) = import(&mut there, "0 3 * * * cleanup\n0 4 * * * report\n");
    assert_eq!(changes, [Change::Added, Change::Unchanged]);
    assert_eq!(gone, ["ops-backup"]);
    assert_eq!(commands(&there), [("ops-cleanup", "cleanup"), ("ops-report", "report")]);
}

#[test]
fn equal_commands_keep_their_jobs_when_one_of_them_goes() {
    let mut there = Vec::new();
    import(&mut there, "1 * * * * a\n2 * * * * a\n3 * * * * a\n");
    let (changes, gone) = import(&mut there, "1 * * * * a\n3 * * * * a\n");
    assert_eq!((changes, gone), (vec![Change::Unchanged; 2], vec!["ops-a-2".to_owned()]));
    assert_eq!(commands(&there), [("ops-a", "a"), ("ops-a-3", "a")]);
    // The new one gets a name that nobody has.
    let (changes, _) = import(&mut there, "1 * * * * a\n3 * * * * a\n5 * * * * a\n");
    assert_eq!(changes, [Change::Unchanged, Change::Unchanged, Change::Added]);
    assert_eq!(commands(&there)[2].0, "ops-a-3-2");
}

#[test]
fn what_a_person_changed_is_kept_and_said() {
    let mut there = Vec::new();
    import(&mut there, "0 3 * * * backup\n");
    // What the table says nothing about is the person's, and stays.
    there[0].timeout = Some(Span::seconds(60));
    assert_eq!(import(&mut there, "0 3 * * * backup\n").0, [Change::Unchanged]);
    assert_eq!(import(&mut there, "0 4 * * * backup\n").0, [Change::Changed]);
    assert_eq!(there[0].timeout, Some(Span::seconds(60)));
    // A trigger of their own.
    there[0].trigger = table("30 5 * * * backup\n")[0].trigger.clone();
    let edited = there[0].clone();
    assert_eq!(import(&mut there, "0 4 * * * backup\n").0, [Change::Edited]);
    assert_eq!(import(&mut there, "0 6 * * * backup\n").0, [Change::Conflict]);
    assert_eq!(there, [edited]);
    // The table says by now what they said.
    assert_eq!(import(&mut there, "30 5 * * * backup\n").0, [Change::Changed]);
    assert_eq!(import(&mut there, "30 5 * * * backup\n").0, [Change::Unchanged]);
}

#[test]
fn a_job_of_an_import_that_left_no_imprint_is_the_tables() {
    let mut there = Vec::new();
    import(&mut there, "0 3 * * * backup\n");
    there[0].labels.remove(IMPRINT_LABEL);
    assert_eq!(import(&mut there, "0 4 * * * backup\n").0, [Change::Changed]);
    assert_eq!(import(&mut there, "0 4 * * * backup\n").0, [Change::Unchanged]);
}

use super::*;

#[test]
fn tokens_differ_and_are_plain_words() {
    let (one, two) = (new_session_token(), new_session_token());
    assert_ne!(one, two);
    assert!(one.len() == 32 && one.chars().all(|c| c.is_ascii_hexdigit()));
}

#[test]
fn a_session_that_nobody_carries_is_quickly_swept() {
    assert_eq!(kill_session(&new_session_token()).unwrap(), 0);
}

#[test]
fn what_ended_is_not_killed_later() {
    let group = |n| Pid::from_raw(i32::MAX - n);
    let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
    let mut guarded = Guarded::default();
    for message in [
        Message::Started(group(1)),
        Message::Started(group(2)),
        Message::Kept(group(3), run),
        Message::Ended(group(1)),
        Message::Ended(group(3)),
    ] {
        guarded.take(message);
    }
    assert_eq!(guarded.groups, HashSet::from([group(2)]));
    assert!(guarded.kept.is_empty());
    guarded.take(Message::Forget);
    assert!(guarded.groups.is_empty());
}

#[test]
fn a_group_is_killed_once_for_a_trust_that_ran_out() {
    let mut guarded = Guarded::default();
    guarded.take(Message::Started(Pid::from_raw(i32::MAX - 1)));
    guarded.take(Message::Trust(Duration::ZERO));
    guarded.kill_untrusted();
    assert!(guarded.groups.is_empty() && !guarded.armed);
    guarded.take(Message::Trust(Duration::MAX));
    assert!(guarded.armed);
}

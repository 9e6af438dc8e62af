use super::*;

#[test]
fn schedules_are_told_in_english() {
    for (expression, english) in [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/25 * * * *", "at minutes 0, 25 and 50 of every hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("@hourly", "every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("30 */2 * * *", "every 2 hours at minute 30"),
        ("0 */12 * * *", "every 12 hours"),
        ("0 0,12 * * *", "at 00:00 and 12:00 every day"),
        ("0 */7 * * *", "at 00:00, 07:00, 14:00 and 21:00 every day"),
        ("@daily", "at 00:00 every day"),
        ("@weekly", "at 00:00 on Sundays"),
        ("@monthly", "at 00:00 on the 1st of the month"),
        ("@yearly", "at 00:00 on the 1st of the month in January"),
        ("30 9 * * MON-FRI", "at 09:30 on weekdays"),
        ("0 9,17 * * 6,0", "at 09:00 and 17:00 on weekends"),
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:45 on weekdays"),
        ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
        ("0,30 1,3,5,9 * * *", "every 30 minutes in the hours 1, 3, 5 and 9"),
        ("0 0 1,15 * FRI", "at 00:00 on the 1st and 15th of the month, and on Fridays"),
        ("30 2 L JAN ?", "at 02:30 on the last day of the month in January"),
        ("0 0 LW * *", "at 00:00 on the last workday of the month"),
        ("0 0 15W * *", "at 00:00 on the workday nearest the 15th of the month"),
        (
            "0 0 2,3,11-13,21-23,31 * *",
            "at 00:00 on the 2nd, 3rd, 11th to 13th, 21st to 23rd and 31st of the month",
        ),
        ("0 0 * * FRI#2", "at 00:00 on the 2nd Friday of the month"),
        ("0 0 * * 5L,MON", "at 00:00 on Mondays and the last Friday of the month"),
        ("0 0 * * FRI-SUN", "at 00:00 on Fridays, Saturdays and Sundays"),
        ("0 12 1 3-5,12 *", "at 12:00 on the 1st of the month in March to May and December"),
        ("0 12 * * * 2030", "at 12:00 every day in 2030"),
        (
            "0 0 0 1 1 ? 2020-2026/2",
            "at 00:00 on the 1st of the month in January in 2020, 2022, 2024 and 2026",
        ),
        ("* * * * * 2026-2030", "every minute in 2026 to 2030"),
        ("*/5 * * * * * *", "every 5 seconds"),
        ("* * * * * * *", "every second"),
        ("15 * * * * * *", "at second 15 of every minute"),
        ("15 30 9 * * * *", "at 09:30:15 every day"),
        ("*/10 30 9 * * ? *", "every 10 seconds in minute 30 of hour 9"),
        ("30 0 * * * * *", "at second 30 of every minute in minute 0 of every hour"),
        ("@every 1s", "every second"),
        ("@every 90s", "every 90 seconds"),
        ("@every 15m", "every 15 minutes"),
        ("@every 1day", "every 24 hours"),
        ("@reboot", "at boot of each worker"),
    ] {
        assert_eq!(cron(expression).describe(), english, "{expression}");
    }
}

#[test]
fn several_expressions_are_told_one_after_the_other() {
    let schedule = Schedule::cron(&["@daily", "@reboot"], Tz::UTC, DateTime::UNIX_EPOCH).unwrap();
    assert_eq!(schedule.describe(), "at 00:00 every day; at boot of each worker");
    assert_eq!(schedule.to_string(), "@daily; @reboot");
    assert_eq!(Schedule::at(instant("2026-11-22T01:02:03Z")).describe(), "once, at 2026-11-22 01:02:03 UTC");
    assert_eq!(Schedule::at(instant("2026-11-22T01:02:03Z")).to_string(), "@at 2026-11-22T01:02:03Z");
}

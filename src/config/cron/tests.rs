//! Expected instants are worked out by hand from the zones' published rules.

use super::*;
use chrono_tz::Tz;

const NEW_YORK: Tz = chrono_tz::America::New_York; // 2025-03-09T07:00Z: 2:00 -> 3:00; 2025-11-02T06:00Z: 2:00 -> 1:00
const LONDON: Tz = chrono_tz::Europe::London; // 2025-03-30T01:00Z: 1:00 -> 2:00; 2025-10-26T01:00Z: 2:00 -> 1:00
const KOLKATA: Tz = chrono_tz::Asia::Kolkata; // always +05:30
const LORD_HOWE: Tz = chrono_tz::Australia::Lord_Howe; // 2025-10-04T15:30Z: 2:00 -> 2:30; 2025-04-05T15:00Z: 2:00 -> 1:30
const SAO_PAULO: Tz = chrono_tz::America::Sao_Paulo; // 2018-11-04T03:00Z: 0:00 -> 1:00; 2018-02-18T02:00Z: 0:00 -> 23:00

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(text: &str) -> Cron {
    Cron::parse(text).unwrap()
}

/// The slots in (after, until], as text.
fn slots(text: &str, tz: Tz, after: &str, until: &str) -> Vec<String> {
    let cron = cron(text);
    let mut found = Vec::new();
    let mut from = at(after);
    while let Some(slot) = cron.next_after(from, tz).filter(|&slot| slot <= at(until)) {
        assert!(slot > from, "{text}: {slot} is not after {from}");
        found.push(slot.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        from = slot;
    }
    // The other question must be answered alike.
    assert_eq!(cron.latest_between(at(after), at(until), tz), found.last().map(|slot| at(slot)), "{text}");
    found
}

#[test]
fn six_fields_are_read() {
    assert_eq!(cron("  0 0  2 * * *").as_str(), "0 0 2 * * *");
    assert_eq!(cron("0 0 2 * * *").to_string(), "0 0 2 * * *");
    assert_eq!(
        slots("*/20 0 9 * * *", Tz::UTC, "2025-01-01T09:00:00Z", "2025-01-02T09:00:00Z"),
        ["2025-01-01T09:00:20Z", "2025-01-01T09:00:40Z", "2025-01-02T09:00:00Z"]
    );
}

#[test]
fn zero_and_seven_are_sunday() {
    // 2025-06-01 is a Sunday.
    for sunday in ["0", "7", "SUN", "sun"] {
        assert_eq!(
            slots(&format!("0 0 12 * * {sunday}"), Tz::UTC, "2025-05-31T00:00:00Z", "2025-06-09T00:00:00Z"),
            ["2025-06-01T12:00:00Z", "2025-06-08T12:00:00Z"],
            "{sunday}"
        );
    }
}

#[test]
fn day_and_weekday_both_given_either_suffices() {
    // The 13th of June 2025 is a Friday, the 15th a Sunday.
    assert_eq!(
        slots("0 0 0 15 * FRI", Tz::UTC, "2025-06-10T00:00:00Z", "2025-06-21T00:00:00Z"),
        ["2025-06-13T00:00:00Z", "2025-06-15T00:00:00Z", "2025-06-20T00:00:00Z"]
    );
}

#[test]
fn a_day_field_that_begins_with_a_star_is_not_restricted() {
    // June 2025: Mondays are 2, 9, 16, 23, 30. cronie: odd days that are Mondays.
    let june = |text: &str| {
        let found = slots(text, Tz::UTC, "2025-05-31T12:00:00Z", "2025-06-30T12:00:00Z");
        found.iter().map(|slot| slot[8..10].parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(june("0 0 0 */2 * MON"), [9, 23]);
    assert_eq!(june("0 0 0 ? * MON"), [2, 9, 16, 23, 30]);
    // Sundays, Tuesdays, Thursdays and Saturdays.
    assert_eq!(june("0 0 0 1-7 * */2"), [1, 3, 5, 7]);
    assert_eq!(june("0 0 0 1-7 * +MON"), [2]);
    // A range over everything is restricted all the same.
    assert_eq!(june("0 0 0 1-31 * MON").len(), 30);
    assert_eq!(june("0 0 0 1/15 * MON"), [1, 2, 9, 16, 23, 30]);
}

#[test]
fn the_last_of_the_week_and_of_the_month() {
    let june = |weekdays: &str| {
        slots(&format!("0 0 0 * * {weekdays}"), Tz::UTC, "2025-05-31T12:00:00Z", "2025-06-30T12:00:00Z").join(" ")
    };
    assert_eq!(june("L"), june("SAT"));
    assert_eq!(june("L"), "2025-06-07T00:00:00Z 2025-06-14T00:00:00Z 2025-06-21T00:00:00Z 2025-06-28T00:00:00Z");
    assert_eq!(june("MON,l"), june("MON,SAT"));
    for sunday in ["0L", "7L", "SUNL", "sun#L", "7#5"] {
        assert_eq!(june(sunday), "2025-06-29T00:00:00Z", "{sunday}");
    }
    assert_eq!(june("5-SUN#L"), "2025-06-27T00:00:00Z 2025-06-28T00:00:00Z 2025-06-29T00:00:00Z");
}

#[test]
fn last_days_and_nth_weekdays() {
    assert_eq!(
        slots("0 0 0 L * *", Tz::UTC, "2024-02-01T00:00:00Z", "2024-03-31T00:00:00Z"),
        ["2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z"]
    );
    assert_eq!(
        slots("0 0 0 ? * MON#2", Tz::UTC, "2025-06-01T00:00:00Z", "2025-06-30T00:00:00Z"),
        ["2025-06-09T00:00:00Z"]
    );
    assert_eq!(
        slots("0 0 0 * * FRIL", Tz::UTC, "2025-06-01T00:00:00Z", "2025-06-30T00:00:00Z"),
        ["2025-06-27T00:00:00Z"]
    );
}

#[test]
fn five_fields_get_the_hint() {
    let fault = Cron::parse("*/5 * * * *").unwrap_err();
    assert_eq!(fault, CronError::FiveFields("*/5 * * * *".to_owned()));
    assert_eq!(fault.to_string(), "a schedule has six fields, seconds first; put `0` in front: `0 */5 * * * *`");
}

#[test]
fn other_numbers_of_fields_are_refused() {
    for (text, fields) in [("", 0), ("daily", 1), ("* * * *", 4), ("0 0 0 * * * 2025", 7)] {
        assert_eq!(Cron::parse(text).unwrap_err(), CronError::Fields(fields), "{text}");
    }
}

#[test]
fn nicknames_stand_for_six_fields() {
    for (name, fields) in [
        ("@hourly", "0 0 * * * *"),
        ("@daily", "0 0 0 * * *"),
        ("@midnight", "0 0 0 * * *"),
        ("@weekly", "0 0 0 * * 0"),
        ("@monthly", "0 0 0 1 * *"),
        ("@yearly", "0 0 0 1 1 *"),
        ("@annually", "0 0 0 1 1 *"),
        (" @Daily ", "0 0 0 * * *"),
    ] {
        assert_eq!(cron(name), cron(fields), "{name}");
        assert_eq!(cron(name).as_str(), fields, "a changed spelling is no changed schedule");
    }
    let names = "`@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`";
    for text in ["@reboot", "@REBOOT"] {
        assert_eq!(
            Cron::parse(text).unwrap_err().to_string(),
            format!(
                "`@reboot` names no time, and nothing is run at a start of the daemon; there are {names}, and six fields"
            )
        );
    }
    for text in ["@every 5m", "@dayly", "@daily *", "@"] {
        let expected = format!("`{text}` is no schedule; there are {names}, and six fields");
        assert_eq!(Cron::parse(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_field_that_does_not_read_is_named() {
    for (text, name) in [
        ("60 * * * * *", "second"),
        ("*/0 * * * * *", "second"),
        (", * * * * *", "second"),
        ("1,,2 * * * * *", "second"),
        ("+5 * * * * *", "second"),
        ("L * * * * *", "second"),
        ("1- * * * * *", "second"),
        ("-1 * * * * *", "second"),
        ("1/ * * * * *", "second"),
        ("*/2/3 * * * * *", "second"),
        ("99999999 * * * * *", "second"),
        ("MON * * * * *", "second"),
        ("* 5-1 * * * *", "minute"),
        ("* * 24 * * *", "hour"),
        ("* * ? * * *", "hour"),
        ("* * * 0 * *", "day of the month"),
        ("* * * 32 * *", "day of the month"),
        ("* * * LX * *", "day of the month"),
        ("* * * LW * *", "day of the month"),
        ("* * * L-3 * *", "day of the month"),
        ("* * * 5L * *", "day of the month"),
        ("* * * 32W * *", "day of the month"),
        ("* * * 1-5W * *", "day of the month"),
        ("* * * 1#2 * *", "day of the month"),
        ("* * * * 13 *", "month"),
        ("* * * * JANFEB *", "month"),
        ("* * * * MON *", "month"),
        ("* * * * * 8", "weekday"),
        ("* * * * * SUNDAY", "weekday"),
        ("* * * * * MON#6", "weekday"),
        ("* * * * * MON#0", "weekday"),
        ("* * * * * #2", "weekday"),
        ("* * * * * L5", "weekday"),
        ("* * * * * 1-5L", "weekday"),
        ("* * * * * 15W", "weekday"),
        ("* * * * * FRI-MON", "weekday"),
        ("* * * * * ++1", "weekday"),
    ] {
        match Cron::parse(text).unwrap_err() {
            CronError::Field { name: named, .. } => assert_eq!(named, name, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
    assert_eq!(
        Cron::parse("* * 24 * * *").unwrap_err().to_string(),
        "the hour `24` does not read, it takes 0-23 and `* , - /`"
    );
}

#[test]
fn a_day_that_never_comes_is_refused() {
    for (text, why) in [
        ("0 0 0 30 2 *", "no month of `2` has a day `30`"),
        ("0 0 0 31 4,6,9,11 *", "no month of `4,6,9,11` has a day `31`"),
        ("0 0 0 30 FEB ?", "no month of `FEB` has a day `30`"),
        ("0 0 0 30W feb */2", "no month of `feb` has a day `30W`"),
        ("0 0 0 1-7 * +MON#2", "no day of the month `1-7` is a weekday `+MON#2`"),
        ("0 0 0 1W * +SAT,SUN", "no day of the month `1W` is a weekday `+SAT,SUN`"),
    ] {
        let fault = Cron::parse(text).unwrap_err();
        assert_eq!(fault.to_string(), format!("no day is ever in this schedule: {why}"), "{text}");
    }
    // Rare is not never. 2096 is a leap year, 2100 is not.
    assert_eq!(cron("0 0 0 29 2 *").next_after(at("2096-03-01T00:00:00Z"), Tz::UTC), Some(at("2104-02-29T00:00:00Z")));
}

#[test]
fn strictly_after_also_within_a_second() {
    let cron = cron("* * * * * *");
    assert_eq!(cron.next_after(at("2025-01-01T00:00:00Z"), KOLKATA), Some(at("2025-01-01T00:00:01Z")));
    assert_eq!(cron.next_after(at("2025-01-01T00:00:00.999Z"), KOLKATA), Some(at("2025-01-01T00:00:01Z")));
    assert_eq!(cron.next_after(at("2024-12-31T23:59:59.001Z"), KOLKATA), Some(at("2025-01-01T00:00:00Z")));
}

#[test]
fn half_hour_zones() {
    assert_eq!(
        slots("0 0 2 * * *", KOLKATA, "2025-03-30T00:00:00Z", "2025-04-01T00:00:00Z"),
        ["2025-03-30T20:30:00Z", "2025-03-31T20:30:00Z"]
    );
}

#[test]
fn a_time_that_does_not_exist_runs_after_the_gap() {
    // 2:30 EST the day before, 3:00 EDT, 2:30 EDT the day after.
    assert_eq!(
        slots("0 30 2 * * *", NEW_YORK, "2025-03-08T00:00:00Z", "2025-03-10T12:00:00Z"),
        ["2025-03-08T07:30:00Z", "2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"]
    );
    // Exactly at its beginning: 1:00 in London.
    assert_eq!(
        slots("0 0 1 * * *", LONDON, "2025-03-29T12:00:00Z", "2025-03-31T12:00:00Z"),
        ["2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"]
    );
    // A gap of half an hour: 2:15 on Lord Howe runs at 2:30, 2:30 itself exists.
    assert_eq!(
        slots("0 15 2 * * *", LORD_HOWE, "2025-10-04T00:00:00Z", "2025-10-05T16:00:00Z"),
        ["2025-10-04T15:30:00Z", "2025-10-05T15:15:00Z"]
    );
    // At midnight: the day begins at 1:00.
    assert_eq!(
        slots("0 0 0 * * *", SAO_PAULO, "2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z"),
        ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
    );
}

#[test]
fn a_day_that_does_not_exist_runs_after_it() {
    // Samoa left out the whole of 30 December 2011: 2011-12-30T10:00Z is 31 December 0:00.
    assert_eq!(
        slots("0 0 12 30 12 *", chrono_tz::Pacific::Apia, "2011-01-01T00:00:00Z", "2012-01-02T00:00:00Z"),
        ["2011-12-30T10:00:00Z"]
    );
}

#[test]
fn several_times_in_one_gap_run_once() {
    // 2:00, 2:20, 2:40 do not exist; 3:00, which does, is the same instant as the end of the gap.
    assert_eq!(
        slots("0 */20 1-3 * * *", NEW_YORK, "2025-03-09T06:20:00Z", "2025-03-09T07:20:00Z"),
        ["2025-03-09T06:40:00Z", "2025-03-09T07:00:00Z", "2025-03-09T07:20:00Z"]
    );
    assert_eq!(
        slots("0 5,35 2 * * *", NEW_YORK, "2025-03-09T00:00:00Z", "2025-03-10T00:00:00Z"),
        ["2025-03-09T07:00:00Z"]
    );
}

#[test]
fn a_time_that_exists_twice_runs_at_the_first() {
    // 1:30 EDT, not again at 1:30 EST (06:30Z).
    assert_eq!(
        slots("0 30 1 * * *", NEW_YORK, "2025-11-01T12:00:00Z", "2025-11-03T12:00:00Z"),
        ["2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"]
    );
    assert_eq!(
        slots("0 0 1 * * *", LONDON, "2025-10-25T12:00:00Z", "2025-10-27T12:00:00Z"),
        ["2025-10-26T00:00:00Z", "2025-10-27T01:00:00Z"]
    );
    // 1:45 LHDT is 14:45Z, 1:45 LHST would be 15:15Z.
    assert_eq!(
        slots("0 45 1 * * *", LORD_HOWE, "2025-04-05T00:00:00Z", "2025-04-06T20:00:00Z"),
        ["2025-04-05T14:45:00Z", "2025-04-06T15:15:00Z"]
    );
    // The repeated hour is 23:00 of the day before.
    assert_eq!(
        slots("0 30 23 * * *", SAO_PAULO, "2018-02-17T12:00:00Z", "2018-02-19T12:00:00Z"),
        ["2018-02-18T01:30:00Z", "2018-02-19T02:30:00Z"]
    );
}

#[test]
fn asking_from_inside_the_repeated_hour_does_not_run_it_again() {
    let cron = cron("0 30 1 * * *");
    assert_eq!(cron.next_after(at("2025-11-02T06:10:00Z"), NEW_YORK), Some(at("2025-11-03T06:30:00Z")));
    assert_eq!(cron.latest_between(at("2025-11-02T05:30:00Z"), at("2025-11-02T07:00:00Z"), NEW_YORK), None);
}

#[test]
fn intervals_go_on_through_the_repeated_hour() {
    let after = "2025-11-02T04:00:00Z"; // 0:00 EDT
    let until = "2025-11-02T08:00:00Z"; // 3:00 EST
    assert_eq!(slots("*/30 * * * * *", NEW_YORK, after, until).len(), 4 * 120);
    assert_eq!(slots("0 */5 * * * *", NEW_YORK, after, until).len(), 4 * 12);
    assert_eq!(
        slots("0 0 * * * *", NEW_YORK, after, until),
        ["2025-11-02T05:00:00Z", "2025-11-02T06:00:00Z", "2025-11-02T07:00:00Z", "2025-11-02T08:00:00Z"]
    );
    // Half an hour on Lord Howe is repeated from 15:00Z to 15:30Z.
    assert_eq!(
        slots("0 */15 * * * *", LORD_HOWE, "2025-04-05T14:30:00Z", "2025-04-05T15:45:00Z"),
        [
            "2025-04-05T14:45:00Z",
            "2025-04-05T15:00:00Z",
            "2025-04-05T15:15:00Z",
            "2025-04-05T15:30:00Z",
            "2025-04-05T15:45:00Z"
        ]
    );
}

#[test]
fn intervals_go_on_over_a_gap_and_nothing_is_made_up() {
    assert_eq!(
        slots("10/30 * * * * *", NEW_YORK, "2025-03-09T06:59:30Z", "2025-03-09T07:00:40Z"),
        ["2025-03-09T06:59:40Z", "2025-03-09T07:00:10Z", "2025-03-09T07:00:40Z"]
    );
    assert_eq!(
        slots("0 30 * * * *", NEW_YORK, "2025-03-09T06:00:00Z", "2025-03-09T08:00:00Z"),
        ["2025-03-09T06:30:00Z", "2025-03-09T07:30:00Z"]
    );
}

#[test]
fn the_latest_slot_of_many_years() {
    let (long_ago, now) = (at("1995-01-01T00:00:00Z"), at("2025-06-01T12:00:29.5Z"));
    for tz in [NEW_YORK, LONDON, KOLKATA, LORD_HOWE, SAO_PAULO] {
        assert_eq!(cron("* * * * * *").latest_between(long_ago, now, tz), Some(at("2025-06-01T12:00:29Z")));
        assert_eq!(cron("*/30 * * * * *").latest_between(long_ago, now, tz), Some(at("2025-06-01T12:00:00Z")));
    }
    // 2:00 in New York is 6:00Z in summer.
    assert_eq!(cron("0 0 2 * * *").latest_between(long_ago, now, NEW_YORK), Some(at("2025-06-01T06:00:00Z")));
    assert_eq!(cron("0 0 0 29 2 *").latest_between(long_ago, now, Tz::UTC), Some(at("2024-02-29T00:00:00Z")));
}

#[test]
fn the_latest_slot_includes_the_end_and_not_the_beginning() {
    let cron = cron("0 0 * * * *");
    let (ten, eleven) = (at("2025-06-01T10:00:00Z"), at("2025-06-01T11:00:00Z"));
    assert_eq!(cron.latest_between(ten, eleven, Tz::UTC), Some(eleven));
    assert_eq!(cron.latest_between(ten, eleven - TimeDelta::milliseconds(1), Tz::UTC), None);
    assert_eq!(cron.latest_between(eleven, ten, Tz::UTC), None);
    assert_eq!(cron.latest_between(ten, ten, Tz::UTC), None);
}

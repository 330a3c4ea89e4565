//! Cron expressions with seconds, evaluated in a time zone.
//!
//! The expression is read by the crate croner; which instants it means is decided here, because what croner does at a
//! change of the clocks depends on how often a schedule runs, and its search stops at the year 5000. Not here: when
//! anything is run. That is the worker's business.
//!
//! # When the clocks change
//!
//! A schedule that names hours (`0 0 2 * * *`, `0 */5 9-17 * * *`) is about the clock on the wall. A local time that
//! does not exist runs at the first instant after the gap, once, however many of its times fall into the gap. A local
//! time that exists twice runs at the first.
//!
//! A schedule that leaves the hours open (every one of the 24 is in it, as in `*/30 * * * * *`) is about intervals:
//! people who write "every five minutes" do not mean "except for an hour in autumn". It goes on by elapsed time, through
//! both passes of a repeated hour, and nothing is made up for a gap. This is the rule of Vixie cron for `*` hours.

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// A checked cron expression of six fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    /// As written, with single spaces.
    text: String,
    /// Bit n: second n.
    seconds: u64,
    /// Bit n: minute n.
    minutes: u64,
    /// Bit n: hour n.
    hours: u64,
    /// Asked for days and months only.
    days: croner::Cron,
}

/// Why a text is no cron expression. None of them passes by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The seconds are missing.
    #[error("a schedule has six fields, seconds first; put `0` in front: `0 {0}`")]
    FiveFields(String),
    /// Neither five nor six.
    #[error("a schedule has six fields (second minute hour day month weekday), this has {0}")]
    Fields(usize),
    /// One field does not read.
    #[error("the {name} `{field}` does not read, it takes {takes}")]
    Field {
        /// Which field.
        name: &'static str,
        /// As written.
        field: String,
        /// What it takes.
        takes: &'static str,
    },
    /// Every field reads, but no day has them all.
    #[error("no day is ever in this schedule")]
    Never,
}

/// Name of each field, what it takes, and the words it may hold.
const FIELDS: [(&str, &str, &[&str]); 6] = [
    ("second", "0-59 and `* , - /`", &[]),
    ("minute", "0-59 and `* , - /`", &[]),
    ("hour", "0-23 and `* , - /`", &[]),
    ("day of the month", "1-31, `L` for the last, `15W` for the nearest working day, and `* , - /`", &["L", "W"]),
    (
        "month",
        "1-12 or JAN-DEC and `* , - /`",
        &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    ),
    (
        "weekday",
        "0-7 (0 and 7 are Sunday) or SUN-SAT, `5L` for the last Friday, `1#2` for the second Monday, and `* , - /`",
        &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L", "SUNL", "MONL", "TUEL", "WEDL", "THUL", "FRIL", "SATL"],
    ),
];

/// The calendar repeats itself, weekdays included, after this many days (400 years).
const CALENDAR_CYCLE: u64 = 146_097;

/// All 24 hours.
const EVERY_HOUR: u64 = (1 << 24) - 1;

impl Cron {
    /// Reads six fields: second, minute, hour, day of the month, month, weekday (0 and 7 are Sunday). Where day and
    /// weekday are both restricted, either suffices (cron's rule).
    ///
    /// # Errors
    /// The text has another number of fields, a field does not read, or no day is ever in the schedule.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        match fields.len() {
            6 => {}
            5 => return Err(CronError::FiveFields(fields.join(" "))),
            n => return Err(CronError::Fields(n)),
        }
        for (i, &(name, takes, words)) in FIELDS.iter().enumerate() {
            if !field_reads(&fields, i, words) {
                return Err(CronError::Field { name, field: fields[i].to_owned(), takes });
            }
        }
        let days = croner(&fields.join(" ")).ok_or(CronError::Never)?;
        let mask = |top: u32, set: &dyn Fn(u32) -> bool| (0..top).filter(|&n| set(n)).fold(0, |m, n| m | (1_u64 << n));
        let cron = Self {
            text: fields.join(" "),
            seconds: mask(60, &|n| days.pattern.second_match(n).unwrap_or(false)),
            minutes: mask(60, &|n| days.pattern.minute_match(n).unwrap_or(false)),
            hours: mask(24, &|n| days.pattern.hour_match(n).unwrap_or(false)),
            days,
        };
        let some_day = NaiveDate::default();
        if cron.has_no_time() || cron.next_day(some_day, CALENDAR_CYCLE).is_none() {
            return Err(CronError::Never);
        }
        Ok(cron)
    }

    /// As written, with single spaces between the fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first slot strictly after `after`.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, tz: Tz) -> Option<DateTime<Utc>> {
        self.next_within(after, DateTime::<Utc>::MAX_UTC, tz)
    }

    /// The latest slot in (`after`, `until`]. Its cost does not depend on how many slots lie between.
    #[must_use]
    pub fn latest_between(&self, after: DateTime<Utc>, until: DateTime<Utc>, tz: Tz) -> Option<DateTime<Utc>> {
        // The later one starts, the fewer slots are left before `until`: bisect for the last start that has one.
        let mut latest = self.next_within(after, until, tz)?;
        let mut none_after = until;
        loop {
            let middle = latest + TimeDelta::seconds((none_after - latest).num_seconds() / 2);
            match self.next_within(middle, until, tz) {
                Some(slot) => latest = slot,
                None if middle == latest => return Some(latest),
                None => none_after = middle,
            }
        }
    }

    /// The first slot in (`after`, `until`].
    fn next_within(&self, after: DateTime<Utc>, until: DateTime<Utc>, tz: Tz) -> Option<DateTime<Utc>> {
        // Stretches without a change of the clocks are walked one after the other. Slots are whole seconds.
        let (mut from, until) = (after.with_nanosecond(0)?, until.with_nanosecond(0)?);
        let mut earliest = TimeDelta::seconds(1);
        loop {
            let offset = offset_at(from, tz);
            let local = self.next_local(from.naive_utc().checked_add_signed(offset)?.checked_add_signed(earliest)?)?;
            let slot = local.checked_sub_signed(offset)?.and_utc();
            if let Some(change) = first_change(from, slot.min(until), tz) {
                let skipped_to = change.naive_utc().checked_add_signed(offset_at(change, tz))?;
                if local < skipped_to && !self.leaves_hours_open() {
                    return Some(change);
                }
                (from, earliest) = (change, TimeDelta::zero());
            } else if slot > until {
                return None;
            } else if self.leaves_hours_open() || is_first_pass(local, slot, tz) {
                return Some(slot);
            } else {
                (from, earliest) = (slot, TimeDelta::seconds(1));
            }
        }
    }

    /// Whether this schedule is about intervals, not about the clock on the wall (see the module).
    const fn leaves_hours_open(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    const fn has_no_time(&self) -> bool {
        self.seconds == 0 || self.minutes == 0 || self.hours == 0
    }

    /// The first local time at or after `from` that is in the schedule.
    fn next_local(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        if self.day_is_in(from.date())
            && let Some(time) = self.next_time(from.time())
        {
            return Some(from.date().and_time(time));
        }
        let day = self.next_day(from.date().succ_opt()?, CALENDAR_CYCLE)?;
        Some(day.and_time(self.next_time(NaiveTime::MIN)?))
    }

    /// The first day in the schedule among `days` days from `from` on.
    fn next_day(&self, from: NaiveDate, days: u64) -> Option<NaiveDate> {
        let end = from.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX);
        from.iter_days().take_while(|&day| day < end).find(|&day| self.day_is_in(day))
    }

    fn day_is_in(&self, day: NaiveDate) -> bool {
        let pattern = &self.days.pattern;
        pattern.month_match(day.month()).unwrap_or(false)
            && pattern.day_match(day.year(), day.month(), day.day()).unwrap_or(false)
    }

    /// The first time of day at or after `from` that is in the schedule.
    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let time = NaiveTime::from_hms_opt;
        if self.hours & (1 << hour) != 0 {
            if self.minutes & (1 << minute) != 0
                && let Some(s) = next_bit(self.seconds, second)
            {
                return time(hour, minute, s);
            }
            if let Some(m) = next_bit(self.minutes, minute + 1) {
                return time(hour, m, self.seconds.trailing_zeros());
            }
        }
        let hour = next_bit(self.hours, hour + 1)?;
        time(hour, self.minutes.trailing_zeros(), self.seconds.trailing_zeros())
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number of the lowest set bit from `from` on.
const fn next_bit(mask: u64, from: u32) -> Option<u32> {
    if from >= u64::BITS {
        return None;
    }
    let rest = mask & (u64::MAX << from);
    if rest == 0 { None } else { Some(rest.trailing_zeros()) }
}

fn croner(text: &str) -> Option<croner::Cron> {
    CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build().parse(text).ok()
}

/// Whether field `i` reads. croner replaces names wherever they stand (JANFEB is 12 to it) and passes over empty list
/// items, so words and commas are looked at first.
fn field_reads(fields: &[&str], i: usize, words: &[&str]) -> bool {
    let field = fields[i].to_ascii_uppercase();
    let words_known =
        field.split(|c: char| !c.is_ascii_alphabetic()).all(|word| word.is_empty() || words.contains(&word));
    let lists_full = field.split(',').all(|item| !item.is_empty());
    let mut alone = ["*"; 6];
    alone[i] = fields[i];
    words_known && lists_full && !field.contains('@') && croner(&alone.join(" ")).is_some()
}

/// Seconds to be added to UTC to read the local clock.
fn offset_at(instant: DateTime<Utc>, tz: Tz) -> TimeDelta {
    TimeDelta::seconds(i64::from(tz.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()))
}

/// Whether the clock shows `local` for the first time at `slot`.
fn is_first_pass(local: NaiveDateTime, slot: DateTime<Utc>, tz: Tz) -> bool {
    tz.from_local_datetime(&local).earliest().is_none_or(|first| first == slot)
}

/// The first instant in (`from`, `until`] at which the clocks have changed. Looks once a day: no
/// zone changes its clocks there and back within one.
fn first_change(from: DateTime<Utc>, until: DateTime<Utc>, tz: Tz) -> Option<DateTime<Utc>> {
    let offset = offset_at(from, tz);
    let mut same = from;
    while same < until {
        let looked_at = same.checked_add_days(Days::new(1)).map_or(until, |next| next.min(until));
        if offset_at(looked_at, tz) == offset {
            same = looked_at;
            continue;
        }
        let mut changed = looked_at;
        while changed - same > TimeDelta::seconds(1) {
            let middle = same + TimeDelta::seconds((changed - same).num_seconds() / 2);
            if offset_at(middle, tz) == offset {
                same = middle;
            } else {
                changed = middle;
            }
        }
        return Some(changed);
    }
    None
}

#[cfg(test)]
mod tests;

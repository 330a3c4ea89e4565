//! Cron expressions with seconds, evaluated in a time zone.
//!
//! Read here and not by the crate croner: it takes `*/2` for a restricted day field, passes over `L` and `7L` among the
//! weekdays, and what it does at a change of the clocks depends on how often a schedule runs. Not here: when anything is
//! run. That is the worker's business.
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
    DateTime, Days as DayCount, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

use self::days::Days;
use self::fields::FIELDS;

mod days;
mod fields;

/// A checked cron expression of six fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    /// Six fields with single spaces: as written, or what the nickname stands for.
    text: String,
    /// Bit n: second n.
    seconds: u64,
    /// Bit n: minute n.
    minutes: u64,
    /// Bit n: hour n.
    hours: u64,
    days: Days,
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
    #[error("no day is ever in this schedule: {0}")]
    Never(String),
    /// A word with `@` that means no time.
    #[error("`{0}` is no schedule; there are {names}, and six fields", names = nickname_list())]
    Nickname(String),
    /// `@reboot`, which cron knows and a daemon does not.
    #[error(
        "`@reboot` names no time, and nothing is run at a start of the daemon; there are {names}, and six fields",
        names = nickname_list()
    )]
    Reboot,
}

/// The nicknames of cron, and what they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 0 * * * *"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@monthly", "0 0 0 1 * *"),
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
];

fn nickname_list() -> String {
    crate::document::listed(NICKNAMES.map(|(name, _)| name))
}

/// All 24 hours.
const EVERY_HOUR: u64 = (1 << 24) - 1;

impl Cron {
    /// Reads six fields: second, minute, hour, day of the month, month, weekday (0 and 7 are Sunday), or a nickname such
    /// as `@daily`. Where day and weekday are both restricted, either suffices; where one begins with `*`, a day must be
    /// in both (cron's rule).
    ///
    /// # Errors
    /// The text has another number of fields, a field does not read, or no day is ever in the schedule.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if let Some(nickname) = fields.first().filter(|first| first.starts_with('@')) {
            let is_it = |name: &str| fields.len() == 1 && nickname.eq_ignore_ascii_case(name);
            if is_it("@reboot") {
                return Err(CronError::Reboot);
            }
            let known = NICKNAMES.iter().find(|(name, _)| is_it(name));
            let (_, stands_for) = known.ok_or_else(|| CronError::Nickname(fields.join(" ")))?;
            fields = stands_for.split(' ').collect();
        }
        let fields: [&str; 6] = fields.try_into().map_err(|fields: Vec<&str>| match fields.len() {
            5 => CronError::FiveFields(fields.join(" ")),
            n => CronError::Fields(n),
        })?;
        let mut numbers = [fields::Numbers::default(); 6];
        for ((numbers, field), kind) in numbers.iter_mut().zip(fields).zip(&FIELDS) {
            let fault = || CronError::Field { name: kind.name, field: field.to_owned(), takes: kind.takes };
            *numbers = kind.read(field).ok_or_else(fault)?;
        }
        let [seconds, minutes, hours, days, months, weekdays] = numbers;
        let cron = Self {
            text: fields.join(" "),
            seconds: seconds.plain,
            minutes: minutes.plain,
            hours: hours.plain,
            days: Days::new(months.plain, (days, fields[3]), (weekdays, fields[5])),
        };
        if cron.days.next(NaiveDate::default()).is_none() {
            let [.., day, month, weekday] = fields;
            return Err(CronError::Never(if cron.days.has_day_of_month() {
                format!("no day of the month `{day}` is a weekday `{weekday}`")
            } else {
                format!("no month of `{month}` has a day `{day}`")
            }));
        }
        Ok(cron)
    }

    /// Its six fields with single spaces, of a nickname those that it stands for.
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

    /// The first local time at or after `from` that is in the schedule.
    fn next_local(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        if self.days.contain(from.date())
            && let Some(time) = self.next_time(from.time())
        {
            return Some(from.date().and_time(time));
        }
        let day = self.days.next(from.date().succ_opt()?)?;
        Some(day.and_time(self.next_time(NaiveTime::MIN)?))
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
        let looked_at = same.checked_add_days(DayCount::new(1)).map_or(until, |next| next.min(until));
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
mod properties;
#[cfg(test)]
mod tests;

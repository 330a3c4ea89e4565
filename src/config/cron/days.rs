//! Which days a cron expression means.
//!
//! The two day fields go together as in the cron of Debian and in cronie: where both are restricted a day needs to be in
//! one of them. A field that begins with `*` counts as not restricted, `*/2` included, and then a day must be in both.

use chrono::{Datelike, Days as DayCount, NaiveDate, Weekday};

use super::fields::Numbers;

/// The calendar repeats itself, weekdays included, after this many days (400 years).
const CALENDAR_CYCLE: u64 = 146_097;

/// The days of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Days {
    /// Bit n: month n.
    months: u64,
    days: Numbers,
    weekdays: Numbers,
    /// A day must be in both fields, not in one of them.
    both: bool,
}

impl Days {
    /// The fields as they were read, and the two day fields as they were written.
    pub(super) fn new(
        months: u64,
        (days, day_text): (Numbers, &str),
        (weekdays, weekday_text): (Numbers, &str),
    ) -> Self {
        let unrestricted = |text: &str| text.starts_with(['*', '?']);
        let both = unrestricted(day_text) || unrestricted(weekday_text) || weekday_text.starts_with('+');
        Self { months, days, weekdays, both }
    }

    /// Whether this day is in the schedule.
    pub(super) fn contain(&self, day: NaiveDate) -> bool {
        if self.months & (1 << day.month()) == 0 {
            return false;
        }
        let (in_days, in_weekdays) = (self.is_day_of_month(day), self.is_weekday(day));
        if self.both { in_days && in_weekdays } else { in_days || in_weekdays }
    }

    /// The first day in the schedule from `from` on, if there ever is one.
    pub(super) fn next(&self, from: NaiveDate) -> Option<NaiveDate> {
        first_of_cycle(from, |day| self.contain(day))
    }

    /// Whether the months have such a day of the month at all, whatever the weekday.
    pub(super) fn has_day_of_month(&self) -> bool {
        let is_in = |day: NaiveDate| self.months & (1 << day.month()) != 0 && self.is_day_of_month(day);
        first_of_cycle(NaiveDate::default(), is_in).is_some()
    }

    fn is_day_of_month(&self, day: NaiveDate) -> bool {
        let Numbers { plain, last, workday, .. } = self.days;
        plain & (1 << day.day()) != 0
            || last != 0 && day.day() == days_in_month(day)
            || workday != 0 && (1..=31).any(|n| workday & (1 << n) != 0 && nearest_working_day(day, n) == Some(day))
    }

    fn is_weekday(&self, day: NaiveDate) -> bool {
        let Numbers { plain, last, nth, .. } = &self.weekdays;
        let weekday = 1 << day.weekday().num_days_from_sunday();
        plain & weekday != 0
            || nth[day.day0() as usize / 7] & weekday != 0
            || last & weekday != 0 && day.day() + 7 > days_in_month(day)
    }
}

fn first_of_cycle(from: NaiveDate, is_in: impl Fn(NaiveDate) -> bool) -> Option<NaiveDate> {
    let end = from.checked_add_days(DayCount::new(CALENDAR_CYCLE)).unwrap_or(NaiveDate::MAX);
    from.iter_days().take_while(|&day| day < end).find(|&day| is_in(day))
}

fn days_in_month(day: NaiveDate) -> u32 {
    u32::from(day.num_days_in_month())
}

/// The working day nearest to day `n` of the month of `day`, within that month; `None` if the month has no such day.
fn nearest_working_day(day: NaiveDate, n: u32) -> Option<NaiveDate> {
    let meant = day.with_day(n)?;
    let nearest = match meant.weekday() {
        Weekday::Sat if n == 1 => n + 2,
        Weekday::Sat => n - 1,
        Weekday::Sun if n == days_in_month(day) => n - 2,
        Weekday::Sun => n + 1,
        _ => n,
    };
    day.with_day(nearest)
}

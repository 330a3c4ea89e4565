//! Random expressions against a walk over days and times that shares nothing with the code: fields are made as data,
//! and what they mean is computed from the data, not from their text.

use proptest::prelude::*;

use super::*;

/// One item of a field.
#[derive(Clone, Debug)]
enum Item {
    Every,
    EveryNth(u32),
    One(u32),
    From(u32, u32),
    Range(u32, u32),
    Steps(u32, u32, u32),
    /// Of the month, or of the week.
    Last,
    LastWeekday(u32),
    NthWeekday(u32, u32),
    WorkingDay(u32),
}

#[derive(Clone, Debug)]
struct FieldMade {
    items: Vec<Item>,
    /// Names in place of numbers where there are any.
    named: bool,
    /// `?` for `*`.
    question: bool,
    plus: bool,
}

/// A day of the calendar, without the chrono crate.
#[derive(Clone, Copy, Debug)]
struct Day {
    year: u32,
    month: u32,
    day: u32,
    /// Sunday is 0.
    weekday: u32,
}

impl Day {
    /// 1 January 2024 was a Monday.
    const FIRST: Self = Self { year: 2024, month: 1, day: 1, weekday: 1 };

    fn days_in_month(self) -> u32 {
        let leap = self.year.is_multiple_of(4) && !self.year.is_multiple_of(100) || self.year.is_multiple_of(400);
        [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][self.month as usize - 1]
    }

    fn next(self) -> Self {
        let weekday = (self.weekday + 1) % 7;
        if self.day < self.days_in_month() {
            Self { day: self.day + 1, weekday, ..self }
        } else if self.month < 12 {
            Self { month: self.month + 1, day: 1, weekday, ..self }
        } else {
            Self { year: self.year + 1, month: 1, day: 1, weekday }
        }
    }

    fn is_working_day_nearest_to(self, n: u32) -> bool {
        let length = self.days_in_month();
        // Days of this month with their weekdays, Saturday and Sunday left out, by distance from n.
        let weekday_of = |day: u32| (self.weekday + 35 + day - self.day) % 7;
        let working = (1..=length).filter(|&day| !matches!(weekday_of(day), 0 | 6));
        n <= length && working.min_by_key(|day| day.abs_diff(n)) == Some(self.day)
    }
}

const MONTHS: [&str; 13] = ["", "jan", "Feb", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 8] = ["SUN", "Mon", "TUE", "WED", "THU", "fri", "SAT", "SUN"];

impl FieldMade {
    fn text(&self, at: usize) -> String {
        let number = |n: u32| match at {
            4 if self.named => MONTHS[n as usize].to_owned(),
            5 if self.named => WEEKDAYS[n as usize].to_owned(),
            _ => n.to_string(),
        };
        let star = if self.question { "?" } else { "*" };
        let item = |item: &Item| match *item {
            Item::Every => star.to_owned(),
            Item::EveryNth(step) => format!("{star}/{step}"),
            Item::One(n) => number(n),
            Item::From(n, step) => format!("{}/{step}", number(n)),
            Item::Range(from, to) => format!("{}-{}", number(from), number(to)),
            Item::Steps(from, to, step) => format!("{}-{}/{step}", number(from), number(to)),
            Item::Last => "L".to_owned(),
            Item::LastWeekday(n) => format!("{}L", number(n)),
            Item::NthWeekday(n, nth) => format!("{}#{nth}", number(n)),
            Item::WorkingDay(n) => format!("{n}W"),
        };
        let items: Vec<_> = self.items.iter().map(item).collect();
        format!("{}{}", if self.plus { "+" } else { "" }, items.join(","))
    }

    /// Whether a value is in a field that has no days of its own.
    fn has(&self, value: u32, first: u32) -> bool {
        self.items.iter().any(|item| match *item {
            Item::Every => true,
            Item::EveryNth(step) => (value - first).is_multiple_of(step),
            Item::One(n) => value == n,
            Item::From(n, step) => value >= n && (value - n).is_multiple_of(step),
            Item::Range(from, to) => (from..=to).contains(&value),
            Item::Steps(from, to, step) => (from..=to).contains(&value) && (value - from).is_multiple_of(step),
            _ => false,
        })
    }

    fn has_day(&self, day: Day) -> bool {
        let special = |item: &Item| match *item {
            Item::Last => day.day == day.days_in_month(),
            Item::WorkingDay(n) => day.is_working_day_nearest_to(n),
            _ => false,
        };
        self.has(day.day, 1) || self.items.iter().any(special)
    }

    fn has_weekday(&self, day: Day) -> bool {
        let special = |item: &Item| match *item {
            Item::Last => day.weekday == 6,
            Item::LastWeekday(n) => day.weekday == n % 7 && day.day + 7 > day.days_in_month(),
            Item::NthWeekday(n, nth) => day.weekday == n % 7 && day.day.div_ceil(7) == nth,
            _ => false,
        };
        // Sunday has two numbers.
        self.has(day.weekday, 0) || day.weekday == 0 && self.has(7, 0) || self.items.iter().any(special)
    }

    /// As the cron of Debian and cronie know it.
    fn begins_with_a_star(&self) -> bool {
        matches!(self.items[0], Item::Every | Item::EveryNth(_)) && !self.plus
    }
}

fn field(at: usize) -> BoxedStrategy<FieldMade> {
    let (first, last) = [(0_u32, 59_u32), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)][at];
    let value = first..=last;
    let range = (value.clone(), value.clone()).prop_map(|(a, b): (u32, u32)| (a.min(b), a.max(b)));
    let step = 1..=last;
    let common = prop_oneof![
        3 => Just(Item::Every),
        3 => step.clone().prop_map(Item::EveryNth),
        4 => value.clone().prop_map(Item::One),
        1 => (value.clone(), step.clone()).prop_map(|(n, step)| Item::From(n, step)),
        3 => range.clone().prop_map(|(from, to)| Item::Range(from, to)),
        1 => (range, step).prop_map(|((from, to), step)| Item::Steps(from, to, step)),
    ];
    let item = match at {
        3 => prop_oneof![6 => common, 1 => Just(Item::Last), 1 => value.prop_map(Item::WorkingDay)].boxed(),
        5 => prop_oneof![
            6 => common,
            1 => Just(Item::Last),
            1 => value.clone().prop_map(Item::LastWeekday),
            1 => (value, 1..=5_u32).prop_map(|(n, nth)| Item::NthWeekday(n, nth)),
        ]
        .boxed(),
        _ => common.boxed(),
    };
    let more = prop_oneof![6 => Just(1), 2 => Just(2), 1 => Just(3)];
    let items = more.prop_flat_map(move |count| proptest::collection::vec(item.clone(), count));
    (items, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1))
        .prop_map(move |(items, named, question, plus)| {
            // `SUN` is 0, except at the end of a range: 7 written as a number stays one.
            let seven = |item: &Item| {
                matches!(*item, Item::One(7) | Item::From(7, _) | Item::Range(7, _) | Item::Steps(7, _, _))
            };
            let zero_at_the_end = |item: &Item| matches!(*item, Item::Range(_, 0) | Item::Steps(_, 0, _));
            let ambiguous = at == 5 && items.iter().any(|item| seven(item) || zero_at_the_end(item));
            FieldMade {
                named: named && !ambiguous,
                question: question && matches!(at, 3 | 5),
                plus: plus && at == 5,
                items,
            }
        })
        .boxed()
}

/// Slots of the first days on which there are any, three of each day: its first two and its last.
fn walked(fields: &[FieldMade; 6], wanted: usize) -> Vec<String> {
    let [seconds, minutes, hours, days, months, weekdays] = fields;
    let values = |field: &FieldMade, last| (0..=last).filter(|value| field.has(*value, 0)).collect::<Vec<u32>>();
    let (hours, minutes, seconds) = (values(hours, 23), values(minutes, 59), values(seconds, 59));
    let mut times = Vec::new();
    for hour in hours {
        for minute in &minutes {
            times.extend(seconds.iter().map(|second| (hour, *minute, *second)));
        }
    }
    let last = times.pop().unwrap();
    times.truncate(2);
    times.push(last);

    let both = days.begins_with_a_star() || weekdays.begins_with_a_star() || weekdays.plus;
    let is_in = |day: Day| {
        let (in_days, in_weekdays) = (days.has_day(day), weekdays.has_weekday(day));
        if both { in_days && in_weekdays } else { in_days || in_weekdays }
    };
    let in_months: Vec<u32> = (1..=12).filter(|month| months.has(*month, 1)).collect();
    let mut found = Vec::new();
    let mut day = Day::FIRST;
    // The calendar repeats itself after 400 years.
    while day.year < Day::FIRST.year + 400 && found.len() < wanted {
        if in_months.contains(&day.month) && is_in(day) {
            let Day { year, month, day, .. } = day;
            let slot =
                |(hour, minute, second)| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
            found.extend(times.iter().copied().map(slot));
        }
        day = day.next();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn slots_are_those_of_a_walk_over_days(
        fields in [field(0), field(1), field(2), field(3), field(4), field(5)],
    ) {
        let text: Vec<_> = fields.iter().enumerate().map(|(at, field)| field.text(at)).collect();
        let text = text.join(" ");
        let expected = walked(&fields, 24);
        let cron = match Cron::parse(&text) {
            Ok(cron) => cron,
            Err(CronError::Never(_)) => {
                prop_assert!(expected.is_empty(), "{}: {:?}", text, expected);
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(format!("{text}: {other}"))),
        };
        let instants: Vec<DateTime<Utc>> = expected.iter().map(|slot| slot.parse().unwrap()).collect();
        prop_assert!(!instants.is_empty(), "{}: the walk finds nothing", text);
        let second = TimeDelta::seconds(1);
        let start: DateTime<Utc> = "2023-12-31T23:59:59Z".parse().unwrap();
        prop_assert_eq!(cron.next_after(start, Tz::UTC), Some(instants[0]), "{}", &text);
        for (at, slot) in instants.iter().enumerate() {
            prop_assert_eq!(cron.next_after(*slot - second, Tz::UTC), Some(*slot), "{}", &text);
            // Between the last slot of a day and the first of the next there is nothing.
            if let Some(next) = instants.get(at + 1).filter(|next| next.date_naive() != slot.date_naive()) {
                prop_assert_eq!(cron.next_after(*slot, Tz::UTC), Some(*next), "{}", &text);
                if *next - *slot < TimeDelta::days(8) {
                    let latest = cron.latest_between(*slot - second, *next - second, Tz::UTC);
                    prop_assert_eq!(latest, Some(*slot), "{}", &text);
                }
            }
        }
    }
}

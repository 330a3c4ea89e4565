//! The six fields of a cron expression as sets of numbers. Not here: which days two day fields mean together (`days`).

/// What one field may hold.
pub(super) struct Field {
    /// As messages name it.
    pub(super) name: &'static str,
    /// What it takes, for messages.
    pub(super) takes: &'static str,
    first: u8,
    last: u8,
    /// Names of `first` and the numbers after it.
    names: &'static [&'static str],
    extras: Extras,
}

/// What a field may hold besides numbers, ranges and steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extras {
    None,
    /// `?`, `L`, `15W`.
    DayOfMonth,
    /// `?`, `L`, `5L`, `1#2`, `1-5#L`.
    Weekday,
}

/// Second, minute, hour, day of the month, month, weekday.
pub(super) const FIELDS: [Field; 6] = [
    Field::plain("second", "0-59 and `* , - /`", 59),
    Field::plain("minute", "0-59 and `* , - /`", 59),
    Field::plain("hour", "0-23 and `* , - /`", 23),
    Field {
        first: 1,
        extras: Extras::DayOfMonth,
        ..Field::plain(
            "day of the month",
            "1-31, `L` for the last, `15W` for the nearest working day, and `* , - /`",
            31,
        )
    },
    Field {
        first: 1,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        ..Field::plain("month", "1-12 or JAN-DEC and `* , - /`", 12)
    },
    Field {
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        extras: Extras::Weekday,
        ..Field::plain(
            "weekday",
            "0-7 (0 and 7 are Sunday) or SUN-SAT, `L` for Saturday, `5L` for the last Friday, `1#2` for the second \
             Monday, and `* , - /`",
            7,
        )
    },
];

/// The numbers of a field, number n as bit n.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// These.
    pub(super) plain: u64,
    /// The last of its month: of days any bit, of weekdays those.
    pub(super) last: u64,
    /// At n: the weekdays whose (n+1)th in the month it is.
    pub(super) nth: [u64; 5],
    /// The working days nearest to these days.
    pub(super) workday: u64,
}

impl Field {
    const fn plain(name: &'static str, takes: &'static str, last: u8) -> Self {
        Self { name, takes, first: 0, last, names: &[], extras: Extras::None }
    }

    /// The numbers that a text of this field means; `None` if it does not read.
    pub(super) fn read(&self, text: &str) -> Option<Numbers> {
        let text = text.to_ascii_uppercase();
        // `+` before the weekdays: a day must be in both day fields, see `Days`.
        let list = if self.extras == Extras::Weekday { text.strip_prefix('+').unwrap_or(&text) } else { &text };
        let mut numbers = Numbers::default();
        for item in list.split(',') {
            self.item(item, &mut numbers)?;
        }
        if self.extras == Extras::Weekday {
            let Numbers { plain, last, nth, .. } = &mut numbers;
            for mask in [plain, last].into_iter().chain(nth) {
                // 7 is Sunday too.
                *mask = (*mask | *mask >> 7) & 0x7f;
            }
        }
        Some(numbers)
    }

    /// Adds what one item of the list means.
    fn item(&self, item: &str, numbers: &mut Numbers) -> Option<()> {
        match self.extras {
            Extras::DayOfMonth if item == "L" => numbers.last = 1,
            Extras::DayOfMonth if item.ends_with('W') => numbers.workday |= 1 << self.value(item.strip_suffix('W')?)?,
            // Saturday, the last day of the week, as in Quartz.
            Extras::Weekday if item == "L" => numbers.plain |= 1 << 6,
            Extras::Weekday if item.ends_with("#L") => numbers.last |= self.range(item.strip_suffix("#L")?)?,
            Extras::Weekday if item.ends_with('L') => numbers.last |= 1 << self.value(item.strip_suffix('L')?)?,
            Extras::Weekday if item.contains('#') => {
                let (range, nth) = item.split_once('#')?;
                let nth = usize::from(number(nth)?).checked_sub(1)?;
                *numbers.nth.get_mut(nth)? |= self.range(range)?;
            }
            _ => numbers.plain |= self.range(item)?,
        }
        Some(())
    }

    /// `*`, `5`, `1-5`, `*/2`, `1-5/2`, `5/2` (from 5 on every second).
    fn range(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (text, None),
        };
        let (from, to) = if range == "*" || (range == "?" && self.extras != Extras::None) {
            (self.first, self.last)
        } else if let Some((from, to)) = range.split_once('-') {
            // A week that ends on Sunday: FRI-SUN.
            let to = if self.extras == Extras::Weekday && to == "SUN" { 7 } else { self.value(to)? };
            (self.value(from)?, to)
        } else {
            let from = self.value(range)?;
            (from, if step.is_some() { self.last } else { from })
        };
        let step = usize::from(step.unwrap_or(1));
        (from <= to).then(|| (from..=to).step_by(step).fold(0, |mask, n| mask | 1 << n))
    }

    /// A number within bounds, or a name.
    fn value(&self, text: &str) -> Option<u8> {
        if let Some(at) = self.names.iter().position(|name| *name == text) {
            return u8::try_from(at).ok().map(|at| self.first + at);
        }
        number(text).and_then(|n| u8::try_from(n).ok()).filter(|n| (self.first..=self.last).contains(n))
    }
}

/// Digits only: the standard library would take a sign as well.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

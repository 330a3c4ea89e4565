//! The table `user`: names in several scripts, and now and then a name that breaks careless programs.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;

use super::channels;
use super::draws::{Draws, Of};
use super::plan::{Plan, at};
use super::table::{Division, SampleTable};
use crate::tables::schema::Table;

/// The table `user`.
pub(super) const USERS: SampleTable = SampleTable {
    table: Table::User,
    count: |plan| plan.users,
    rows: |plan, rows, _| users(plan, rows),
    division: Division::Parts,
};

/// One script: given names, family names, places (district, block).
struct Script {
    given: &'static [&'static str],
    family: &'static [&'static str],
    state: &'static str,
    places: &'static [&'static str],
}

const LATIN: Script = Script {
    given: &["Aarti", "Bilal", "Chandra", "Deepa", "Esther", "Farhan", "Gita", "Harish", "Indira", "Joseph", "Kavya"],
    family: &["Sharma", "Pillai", "D'Souza", "Kumar", "Verma", "Das", "Nair", "Singh Rathore", "Banerjee"],
    state: "Uttar Pradesh",
    places: &["Agra", "Bareilly", "Jhansi", "Lucknow (Rural)", "Meerut", "Sant Kabir Nagar"],
};
const DEVANAGARI: Script = Script {
    given: &["आरती", "भारत", "चंद्र", "दीपा", "गीता", "हरीश", "कविता", "मोहन", "प्रिया", "सुनील"],
    family: &["शर्मा", "वर्मा", "गुप्ता", "मिश्रा", "यादव", "त्रिपाठी"],
    state: "मध्य प्रदेश",
    places: &["भोपाल", "इंदौर", "जबलपुर", "ग्वालियर"],
};
const TAMIL: Script = Script {
    given: &["அருண்", "பாலா", "தேவி", "கவிதா", "முருகன்", "செல்வி"],
    family: &["குமார்", "ராஜன்", "சுப்ரமணியம்", "நாதன்"],
    state: "தமிழ்நாடு",
    places: &["சென்னை", "மதுரை", "கோயம்புத்தூர்"],
};
const KANNADA: Script = Script {
    given: &["ಅನಿತಾ", "ಬಸವರಾಜ", "ಗೀತಾ", "ಮಂಜುನಾಥ", "ಸುಮಾ"],
    family: &["ಗೌಡ", "ಪಾಟೀಲ", "ಹೆಗಡೆ", "ರಾವ್"],
    state: "ಕರ್ನಾಟಕ",
    places: &["ಬೆಂಗಳೂರು", "ಮೈಸೂರು", "ಹುಬ್ಬಳ್ಳಿ"],
};
const ACCENTS: Script = Script {
    given: &["José", "Zoë", "François", "Märta", "Łukasz", "Søren"],
    family: &["Núñez", "Müller", "Gonçalves", "Ångström", "Dvořák"],
    state: "Goa",
    places: &["Panjim, São Tomé", "Mapuçá"],
};
const ARABIC: Script = Script {
    given: &["أحمد", "فاطمة", "يوسف", "زينب"],
    family: &["خان", "الهاشمي", "قريشي"],
    state: "جموں و کشمیر",
    places: &["سری نگر", "بارہمولہ"],
};

/// Full names that must come through unchanged, or guarded where they look like a spreadsheet formula.
const ODD: [(&str, &str); 18] = [
    ("Rao, Meera", "K."),
    ("Ravi \"Bobby\"", "Menon"),
    ("Two\nLines", "Fernandes"),
    ("Carriage\r\nReturn", "Lobo"),
    ("=HYPERLINK(\"http://example.org\";\"click\")", "Gupta"),
    ("+91 98765", "Iyer"),
    ("-Anand", "Joshi"),
    ("@home", "Patel"),
    ("  =SUM(A1:A9)", "Khan"),
    ("\tTab", "Bose"),
    ("-12.5", ""),
    ("", "=1+1"),
    ("Trailing ", "Blank "),
    ("Only", ""),
    ("", "Familyname"),
    ("", ""),
    ("👩‍🏫 Teacher", "Zero\u{200d}Width"),
    (" ", ""),
];

const COLUMNS: [&str; 17] = [
    "userid",
    "firstname",
    "lastname",
    "email",
    "phone",
    "maskedemail",
    "maskedphone",
    "externalid",
    "orgname",
    "schoolname",
    "schooludisecode",
    "state",
    "district",
    "block",
    "userchannel",
    "rootorgid",
    "status",
];

/// The user id of a learner: 36 characters like a UUID. The first half is a bijection of the number, so no two agree.
pub(super) fn learner_id(plan: &Plan, learner: u64, out: &mut String) {
    let first = Draws::new(plan.seed, Of::LearnerId, 0, learner).next();
    let second = Draws::new(plan.seed, Of::LearnerId, 1, learner).next();
    out.clear();
    let _ = write!(out, "{:08x}-{:04x}-{:04x}", first >> 32, (first >> 16) & 0xffff, first & 0xffff);
    let _ = write!(out, "-{:04x}-{:012x}", second >> 48, second & 0xffff_ffff_ffff);
}

/// The learner of a row of `user`. A few rows are a second row of the learner before.
fn learner_of_row(plan: &Plan, row: u64) -> (u64, bool) {
    let again = row % 2 == 1 && plan.draws(Of::Duplicate, u64::MAX, row).one_in(200);
    (row - u64::from(again), again)
}

/// Rows of `user`.
fn users(plan: &Plan, rows: &[u64]) -> Result<RecordBatch, ArrowError> {
    let mut columns: [StringBuilder; 17] = std::array::from_fn(|_| StringBuilder::new());
    let mut person = Person::default();
    for &row in rows {
        let (learner, again) = learner_of_row(plan, row);
        person.fill(plan, learner, again);
        for (column, text) in columns.iter_mut().zip(&person.texts) {
            column.append_option((!text.is_empty()).then_some(text));
        }
    }
    let arrays = columns.map(|mut column| Arc::new(column.finish()) as ArrayRef);
    RecordBatch::try_from_iter_with_nullable(COLUMNS.iter().zip(arrays).map(|(&name, array)| (name, array, true)))
}

/// The texts of one learner in the order of [`COLUMNS`]; the buffers are used again for the next.
#[derive(Default)]
struct Person {
    texts: [String; 17],
}

impl Person {
    fn fill(&mut self, plan: &Plan, learner: u64, again: bool) {
        self.texts.iter_mut().for_each(String::clear);
        let mut draws = plan.draws(Of::Learner, 0, learner);
        let script = script(&mut draws);
        let [userid, rest @ ..] = &mut self.texts;
        learner_id(plan, learner, userid);
        let [first, last, email, phone, masked_email, masked_phone, external, rest @ ..] = rest;
        let (given, family) = name(&mut draws, script, learner);
        first.push_str(given);
        last.push_str(family);
        if again && draws.one_in(2) {
            last.push_str(" (new)");
        }
        let (secret, digits) = (draws.next(), draws.below(10_000));
        let _ = write!(email, "{secret:016x}{:016x}==", secret.rotate_left(17) ^ learner);
        let _ = write!(phone, "{:016x}==", secret.rotate_left(31));
        if !draws.one_in(20) {
            let domain = draws.pick(&["gmail.com", "yahoo.co.in", "example.org"]);
            let initial = char::from(b'a' + u8::try_from(learner % 26).unwrap_or_default());
            let _ = write!(masked_email, "{initial}{:x}********@{domain}", secret & 0xff);
        }
        if !draws.one_in(10) {
            let _ = write!(masked_phone, "******{digits:04}");
        }
        external_id(&mut draws, external);
        place(&mut draws, script, rest);
    }
}

fn script(draws: &mut Draws) -> &'static Script {
    match draws.below(100) {
        0..50 => &LATIN,
        50..70 => &DEVANAGARI,
        70..80 => &TAMIL,
        80..90 => &KANNADA,
        90..96 => &ACCENTS,
        _ => &ARABIC,
    }
}

/// Every 25th learner has an odd name, so that even 500 of them have each one.
fn name(draws: &mut Draws, script: &Script, learner: u64) -> (&'static str, &'static str) {
    if learner % 25 == 7 {
        ODD[at(learner / 25) % ODD.len()]
    } else {
        (draws.pick(script.given), draws.pick(script.family))
    }
}

fn external_id(draws: &mut Draws, out: &mut String) {
    let number = draws.next();
    let _ = match draws.below(40) {
        0 => return,
        1 => write!(out, "=cmd|' /C calc'!A{}", number % 100),
        2 => write!(out, "-{}", number % 100_000),
        3..10 => write!(out, "{:019}", number % 10_u64.pow(19)),
        _ => write!(out, "T{:08}", number % 100_000_000),
    };
}

/// From `orgname` on.
fn place(draws: &mut Draws, script: &Script, out: &mut [String]) {
    let [org, school, udise, state, district, block, channel, root, status] = out else { return };
    let (town, area, number) = (draws.pick(script.places), draws.pick(script.places), draws.below(100));
    let _ = write!(
        org,
        "{}",
        draws.pick(&[
            "Department of School Education and Literacy",
            "SCERT",
            "Kendriya Vidyalaya Sangathan",
            "Learning Trust, Delhi"
        ])
    );
    if !draws.one_in(30) {
        let _ = write!(school, "{} {number}, {town}", draws.pick(&["Govt. High School", "Zilla Parishad School No."]));
        let _ = write!(udise, "{:011}", draws.below(36_000_000_000));
    }
    if !draws.one_in(50) {
        state.push_str(script.state);
        district.push_str(town);
    }
    if !draws.one_in(8) {
        let _ = write!(block, "{area}-{}", number % 7);
    }
    if !draws.one_in(100) {
        channel.push_str(channels::channel(draws));
    }
    let _ = write!(root, "0126{:015}", draws.below(10_u64.pow(15)));
    status.push('1');
}

//! Time zones by their IANA names, and what was probably meant by other names.

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::document::near_miss;

/// Abbreviations, and what they stand for: IANA names, with a place where it is needed to choose.
const ABBREVIATIONS: [(&str, &[(&str, &str)]); 46] = [
    ("IST", &[("Asia/Kolkata", "India"), ("Europe/Dublin", "Ireland"), ("Asia/Jerusalem", "Israel")]),
    ("PST", &[("America/Los_Angeles", "US Pacific"), ("Asia/Manila", "Philippines")]),
    ("PDT", &[("America/Los_Angeles", "US Pacific")]),
    ("PT", &[("America/Los_Angeles", "US Pacific")]),
    ("MDT", &[("America/Denver", "US Mountain")]),
    ("MT", &[("America/Denver", "US Mountain")]),
    ("CST", &[("America/Chicago", "US Central"), ("Asia/Shanghai", "China"), ("America/Havana", "Cuba")]),
    ("CDT", &[("America/Chicago", "US Central"), ("America/Havana", "Cuba")]),
    ("CT", &[("America/Chicago", "US Central")]),
    ("EDT", &[("America/New_York", "US Eastern")]),
    ("ET", &[("America/New_York", "US Eastern")]),
    ("AKST", &[("America/Anchorage", "Alaska")]),
    ("AKDT", &[("America/Anchorage", "Alaska")]),
    ("AST", &[("America/Halifax", "Atlantic Canada"), ("Asia/Riyadh", "Arabia")]),
    ("ADT", &[("America/Halifax", "Atlantic Canada")]),
    ("NST", &[("America/St_Johns", "Newfoundland")]),
    ("NDT", &[("America/St_Johns", "Newfoundland")]),
    ("BST", &[("Europe/London", "British summer"), ("Asia/Dhaka", "Bangladesh")]),
    ("CEST", &[("Europe/Berlin", "Central Europe"), ("Europe/Paris", "Central Europe")]),
    ("EEST", &[("Europe/Helsinki", "Eastern Europe"), ("Europe/Athens", "Eastern Europe")]),
    ("WEST", &[("Europe/Lisbon", "Western Europe")]),
    ("MSK", &[("Europe/Moscow", "Moscow")]),
    ("TRT", &[("Europe/Istanbul", "Türkiye")]),
    ("SAST", &[("Africa/Johannesburg", "South Africa")]),
    ("WAT", &[("Africa/Lagos", "West Africa")]),
    ("CAT", &[("Africa/Maputo", "Central Africa")]),
    ("EAT", &[("Africa/Nairobi", "East Africa")]),
    ("GST", &[("Asia/Dubai", "Gulf")]),
    ("PKT", &[("Asia/Karachi", "Pakistan")]),
    ("NPT", &[("Asia/Kathmandu", "Nepal")]),
    ("SLST", &[("Asia/Colombo", "Sri Lanka")]),
    ("MMT", &[("Asia/Yangon", "Myanmar")]),
    ("ICT", &[("Asia/Bangkok", "Indochina")]),
    ("WIB", &[("Asia/Jakarta", "Western Indonesia")]),
    ("SGT", &[("Asia/Singapore", "Singapore")]),
    ("MYT", &[("Asia/Kuala_Lumpur", "Malaysia")]),
    ("PHT", &[("Asia/Manila", "Philippines")]),
    ("HKT", &[("Asia/Hong_Kong", "Hong Kong")]),
    ("JST", &[("Asia/Tokyo", "Japan")]),
    ("KST", &[("Asia/Seoul", "Korea")]),
    ("AWST", &[("Australia/Perth", "Western Australia")]),
    ("ACST", &[("Australia/Darwin", "Central Australia"), ("Australia/Adelaide", "Central Australia")]),
    ("AEST", &[("Australia/Brisbane", "Eastern Australia"), ("Australia/Sydney", "Eastern Australia")]),
    ("AEDT", &[("Australia/Sydney", "Eastern Australia")]),
    ("NZST", &[("Pacific/Auckland", "New Zealand")]),
    ("BRT", &[("America/Sao_Paulo", "Brazil")]),
];

const ADVICE: &str = "write an IANA name such as `Asia/Kolkata`, or `UTC`";

/// A name that is no zone: what is wrong with it, and the zone that was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) what: String,
    pub(super) meant: Option<String>,
}

/// The zone of an IANA name.
pub(super) fn parse(name: &str) -> Result<Tz, Unknown> {
    name.parse().map_err(|_| unknown(name))
}

fn unknown(name: &str) -> Unknown {
    let what = format!("unknown time zone `{name}`");
    let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let whole = names().find(|zone| zone.eq_ignore_ascii_case(name));
    if let Some((_, zones)) =
        ABBREVIATIONS.iter().find(|(short, _)| whole.is_none() && short.eq_ignore_ascii_case(name))
    {
        let zones: Vec<_> = zones.iter().map(|(zone, place)| format!("`{zone}` ({place})")).collect();
        let zones = zones.join(" or ");
        return Unknown { what: format!("{what}; as an abbreviation it is {zones}: write the IANA name"), meant: None };
    }
    if let Some(whole) = whole {
        return Unknown { what, meant: Some(whole.to_owned()) };
    }
    // Near an offset there are only other hours: `Etc/GMT+5` is five hours behind, not before.
    if name.contains(|c: char| c.is_ascii_digit()) && name.contains(['+', '-', ':', '−']) {
        let what = format!("{what}; an offset is no time zone, {ADVICE}");
        return Unknown { what, meant: None };
    }
    // "kolkata" is a city of the list without its continent.
    let city = names().find(|zone| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name)));
    if let Some(city) = city {
        return Unknown { what, meant: Some(city.to_owned()) };
    }
    // So is every abbreviation near others.
    if name.len() <= 5 && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Unknown { what: format!("{what}; {ADVICE}"), meant: None };
    }
    Unknown { what, meant: near_miss(name, names()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_list_read() {
        // Fixed offsets of their own in the list, and links.
        for name in ["Asia/Kolkata", "Asia/Calcutta", "UTC", "GMT", "EST", "CET", "Etc/GMT-5"] {
            assert_eq!(parse(name).unwrap().name(), name);
        }
    }

    #[test]
    fn what_people_write_gets_the_name_that_they_mean() {
        for (name, meant) in [
            ("utc", "UTC"),
            ("Utc", "UTC"),
            ("est", "EST"),
            ("cet", "CET"),
            ("gmt", "GMT"),
            ("zulu", "Zulu"),
            ("asia/kolkata", "Asia/Kolkata"),
            ("kolkata", "Asia/Kolkata"),
            ("Asia/Kolkatta", "Asia/Kolkata"),
            ("America/NewYork", "America/New_York"),
            ("Europe/Londn", "Europe/London"),
        ] {
            let expected = Unknown { what: format!("unknown time zone `{name}`"), meant: Some(meant.to_owned()) };
            assert_eq!(parse(name), Err(expected));
        }
    }

    #[test]
    fn abbreviations_name_all_that_they_stand_for() {
        for (name, zones) in [
            ("IST", "`Asia/Kolkata` (India) or `Europe/Dublin` (Ireland) or `Asia/Jerusalem` (Israel)"),
            ("ist", "`Asia/Kolkata` (India) or `Europe/Dublin` (Ireland) or `Asia/Jerusalem` (Israel)"),
            ("PST", "`America/Los_Angeles` (US Pacific) or `Asia/Manila` (Philippines)"),
            ("CEST", "`Europe/Berlin` (Central Europe) or `Europe/Paris` (Central Europe)"),
            ("JST", "`Asia/Tokyo` (Japan)"),
        ] {
            let what = format!("unknown time zone `{name}`; as an abbreviation it is {zones}: write the IANA name");
            assert_eq!(parse(name), Err(Unknown { what, meant: None }));
        }
        for (short, zones) in ABBREVIATIONS {
            assert!(short.parse::<Tz>().is_err(), "{short} is a name of the list");
            for (zone, _) in zones {
                assert!(zone.parse::<Tz>().is_ok(), "{zone}");
            }
        }
    }

    #[test]
    fn nothing_is_guessed_from_offsets_and_unknown_abbreviations() {
        for name in ["UTC+5:30", "GMT+5", "+05:30", "UTC-8", "GMT+05:30", "IST-5:30"] {
            let what = format!(
                "unknown time zone `{name}`; an offset is no time zone, write an IANA name such as `Asia/Kolkata`, or `UTC`"
            );
            assert_eq!(parse(name), Err(Unknown { what, meant: None }));
        }
        for name in ["XST", "qqt", "UTCC"] {
            let what = format!("unknown time zone `{name}`; write an IANA name such as `Asia/Kolkata`, or `UTC`");
            assert_eq!(parse(name), Err(Unknown { what, meant: None }));
        }
        assert_eq!(parse("no such place at all").unwrap_err().meant, None);
    }
}

//! A request's conditions, applied to the batches there are.
//!
//! Not here: how a jobConfig is read ([`job_config`](super::job_config)), how a content filter compares.

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::job_config::JobConfig;
use crate::tables::catalog::{Batch, BatchIdx, Catalog};

/// What else decides over batches.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The day it is in the configured zone.
    pub today: NaiveDate,
    /// Most batches of one request.
    pub max_batches: usize,
    /// Where given, the course's channel must equal it.
    pub own_channel: Option<&'a str>,
    /// Where given, globs of the channels that the key of the request covers: batches of courses elsewhere are treated
    /// as not existing.
    pub key_channels: Option<&'a [String]>,
    /// The configured zone, for dates in content filters.
    pub timezone: Tz,
}

/// The batches of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Indices in [`Catalog::batches`], rising, and so ordered by batch id.
    pub batches: Vec<BatchIdx>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Batches that were left out, by reason; ids, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// Named, but there is no such batch.
    pub unknown: Vec<String>,
    /// Has ended, and was not named by id.
    pub expired: Vec<String>,
    /// Its end is text that does not read, and it was not named by id.
    pub unreadable_end: Vec<String>,
    /// Named, but its course is not in `content`.
    pub no_content: Vec<String>,
    /// Named, but its course belongs to another channel. (One that is not named and belongs to another channel is
    /// treated as not existing: its id is nobody else's business.)
    pub channel: Vec<String>,
    /// Meets all conditions, but its id cannot be a file's name: it is empty or too long. Long ids are cut.
    pub bad_name: Vec<String>,
    /// Every row of one of its tables is unusable; known only once the batch is loaded.
    pub broken: Vec<String>,
}

impl LeftOut {
    /// The lists by the names that `job_stats` has for them.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, &[String]); 7] {
        [
            ("unknown", &self.unknown),
            ("expired", &self.expired),
            ("unreadable_end", &self.unreadable_end),
            ("no_content", &self.no_content),
            ("channel", &self.channel),
            ("bad_name", &self.bad_name),
            ("broken", &self.broken),
        ]
    }
}

/// Why a request has no batches to deliver. Neither passes by waiting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// None is left.
    #[error("No data found: {why}")]
    NoData {
        /// For the client; the whole message has at most 100 characters.
        why: String,
        /// What was left out.
        left_out: Box<LeftOut>,
    },
    /// More than a request may have.
    #[error("{found} batches match, at most {most} are allowed: narrow the filters")]
    TooMany {
        /// How many match.
        found: usize,
        /// How many are allowed.
        most: usize,
    },
    /// The list of a part's batches does not read.
    #[error("the list of the batches of a part does not read")]
    NoList,
    /// A batch that the request was found to want is not there any more.
    #[error("a batch is not in course_batch any more: {}", shortened(batch))]
    Gone {
        /// Its id.
        batch: String,
    },
}

/// At most [`LONGEST_SHOWN`] characters of an id.
fn shortened(id: &str) -> String {
    id.chars().take(LONGEST_SHOWN).collect()
}

/// The most characters of a batch id that cannot be a name, in what is said of it: it may have megabytes.
const LONGEST_SHOWN: usize = 100;

/// The batches of one part of a request, which were found when it was split: neither another day nor another catalogue
/// changes them.
///
/// # Errors
/// One of them is not in the catalogue any more, or there is none at all.
pub fn listed(ids: &[String], catalog: &Catalog) -> Result<Selection, ResolveError> {
    if ids.is_empty() {
        return Err(ResolveError::NoList);
    }
    let find = |id: &String| catalog.find_batch(id).ok_or_else(|| ResolveError::Gone { batch: id.clone() });
    Ok(Selection { batches: ids.iter().map(find).collect::<Result<_, _>>()?, left_out: LeftOut::default() })
}

/// The batches that a request wants, those that can be delivered and those that cannot. `can_be_named` says whether a
/// batch id can stand in the name of a file of this request.
pub fn resolve(
    config: &JobConfig,
    catalog: &Catalog,
    scope: &Scope<'_>,
    can_be_named: &dyn Fn(&str) -> bool,
) -> Result<Selection, ResolveError> {
    let named = config.named_batches();
    let choice = Choice {
        config,
        catalog,
        scope,
        contents: config.content.as_ref().map(|filter| filter.select(catalog.contents(), scope.timezone)),
        covered: scope.key_channels.map(|globs| globs.iter().map(|glob| WildMatch::new(glob)).collect()),
        yesterday: scope.today.checked_sub_days(Days::new(1)).unwrap_or(scope.today),
        is_named: named.is_some(),
        can_be_named,
    };
    let mut selection = Selection::default();
    match &named {
        // A thousand requests that name one batch each do not walk over all batches.
        Some(ids) => {
            for at in ids.iter().filter_map(|id| catalog.find_batch(id)) {
                choice.consider(at, &mut selection);
            }
            let exists = |id: &str| catalog.find_batch(id).is_some_and(|at| !choice.hides(catalog.batch(at)));
            selection.left_out.unknown = ids.iter().filter(|id| !exists(id)).map(|id| (*id).to_owned()).collect();
        }
        None => (0..catalog.batches().len()).for_each(|at| choice.consider(BatchIdx(at), &mut selection)),
    }
    judge(selection, scope.max_batches)
}

/// What a request chooses by.
struct Choice<'a> {
    config: &'a JobConfig,
    catalog: &'a Catalog,
    scope: &'a Scope<'a>,
    /// By content: whether the content filter selects it.
    contents: Option<Vec<bool>>,
    /// The channels that the key covers.
    covered: Option<Vec<WildMatch>>,
    yesterday: NaiveDate,
    /// Whether batches are named by id.
    is_named: bool,
    can_be_named: &'a dyn Fn(&str) -> bool,
}

impl Choice<'_> {
    /// Whether the batch does not exist for the key.
    fn hides(&self, batch: &Batch) -> bool {
        let Some(globs) = &self.covered else { return false };
        let channel = batch.course.map(|course| self.catalog.contents().channel(course));
        !channel.is_some_and(|channel| globs.iter().any(|glob| glob.matches(channel)))
    }

    /// Adds a batch to the selection, or to what is left out of it, if the request means it.
    fn consider(&self, at: BatchIdx, selection: &mut Selection) {
        let Self { config, catalog, scope, is_named, .. } = self;
        let batch = catalog.batch(at);
        if self.hides(batch) || !config.ids.iter().all(|ids| ids.contains(&batch.id)) {
            return;
        }
        let left_out = &mut selection.left_out;
        let Some(course) = batch.course else {
            if *is_named {
                left_out.no_content.push(batch.id.clone());
            }
            return;
        };
        let is_selected = self.contents.as_ref().is_none_or(|selected| selected[course]);
        if !course_matches(config, catalog, course) || !is_selected {
            return;
        }
        let ends_matter = !is_named && !config.include_expired;
        if scope.own_channel.is_some_and(|channel| catalog.contents().channel(course) != channel) {
            if *is_named {
                left_out.channel.push(batch.id.clone());
            }
        } else if ends_matter && batch.end_date.is_some_and(|end| end < self.yesterday) {
            left_out.expired.push(batch.id.clone());
        } else if ends_matter && batch.unreadable_end {
            left_out.unreadable_end.push(batch.id.clone());
        } else if !(self.can_be_named)(&batch.id) {
            let mut shown: String = batch.id.chars().take(LONGEST_SHOWN).collect();
            if shown.len() < batch.id.len() {
                shown.push('…');
            }
            left_out.bad_name.push(shown);
        } else {
            selection.batches.push(at);
        }
    }
}

/// The conditions on the course other than the content filter.
fn course_matches(config: &JobConfig, catalog: &Catalog, course: usize) -> bool {
    let contents = catalog.contents();
    let channel = config.channels.as_ref().is_none_or(|channels| channels.contains(contents.channel(course)));
    channel
        && config.frameworks.as_ref().is_none_or(|wanted| {
            contents.frameworks(course).iter().any(|framework| wanted.contains(&framework.to_lowercase()))
        })
}

fn judge(selection: Selection, most: usize) -> Result<Selection, ResolveError> {
    let found = selection.batches.len();
    if found > most {
        return Err(ResolveError::TooMany { found, most });
    }
    if found == 0 {
        return Err(ResolveError::NoData { why: why(&selection.left_out), left_out: Box::new(selection.left_out) });
    }
    Ok(selection)
}

/// Why nothing is left, in few words.
fn why(left_out: &LeftOut) -> String {
    let reasons = [
        (&left_out.unknown, "does not exist", "do not exist"),
        (&left_out.expired, "has ended", "have ended"),
        (&left_out.unreadable_end, "has an end that does not read", "have an end that does not read"),
        (&left_out.no_content, "has no course in content", "have no course in content"),
        (&left_out.channel, "belongs to another channel", "belong to another channel"),
        (&left_out.bad_name, "has an id that cannot be a file name", "have ids that cannot be file names"),
    ];
    let mut given = reasons.into_iter().filter(|(ids, _, _)| !ids.is_empty());
    match (given.next(), given.next()) {
        (None, _) => "no batch matches the filters".to_owned(),
        (Some((ids, one, many)), None) => match ids.as_slice() {
            [id] => format!("batch {} {one}", super::job_config::cut(id)),
            ids => format!("{} batches {many}", ids.len()),
        },
        (Some(_), Some(_)) => {
            let counts = reasons.into_iter().filter(|(ids, _, _)| !ids.is_empty());
            let short = |(ids, one, many): (&Vec<String>, &str, &str)| match ids.len() {
                1 => format!("1 {one}"),
                count => format!("{count} {many}"),
            };
            let all: Vec<String> = counts.map(short).collect();
            let text = all.join(", ");
            if text.len() <= 80 { text } else { "every named batch is left out".to_owned() }
        }
    }
}

#[cfg(test)]
mod tests;

//! What object stores fail with, in words for operators: without credentials, signed queries and pages of XML.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// Why an object store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} {place}: {cause}")]
pub struct ObjectError {
    /// What was being done.
    pub action: &'static str,
    /// The key or URL concerned.
    pub place: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a call to an object store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// 401 or 403.
    #[error("the store refuses the credentials ({0})")]
    Refused(String),
    /// No credentials anywhere.
    #[error(
        "no credentials: none in the environment or the cloud's files, and this machine's metadata service gives none"
    )]
    NoCredentials,
    /// The bucket or container.
    #[error("there is no such bucket or container ({0})")]
    NoBucket(String),
    /// The object.
    #[error("there is no such object")]
    NotThere,
    /// It is another version than the one that was begun with.
    #[error("the object was changed meanwhile")]
    Changed,
    /// No connection, or no answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// It answered, with an error.
    #[error("the store answers {0}")]
    Answered(String),
    /// What the environment says of it makes no sense.
    #[error("{0}")]
    Settings(String),
    /// What no store can do, such as a name that it does not take.
    #[error("{0}")]
    Impossible(String),
    /// More than an object can hold.
    #[error("{0}")]
    TooLarge(&'static str),
}

impl ObjectError {
    pub(super) fn of(action: &'static str, place: impl std::fmt::Display, error: &Error) -> Self {
        Self { action, place: place.to_string(), cause: Cause::of(error) }
    }

    /// Whether trying again later may help. Credentials and buckets are put right by operators, so those may pass.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        self.cause.may_pass()
    }
}

impl Cause {
    /// As [`ObjectError::may_pass`].
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        !matches!(self, Self::Impossible(_) | Self::TooLarge(_))
    }

    /// Whether the store says no to what it is asked, and not that it cannot do it now.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::NoCredentials | Self::NoBucket(_) | Self::Impossible(_) | Self::TooLarge(_)
        )
    }

    /// Whether it says by itself that the same would happen to any object.
    #[must_use]
    pub const fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::NoCredentials | Self::NoBucket(_) | Self::Unreachable(_) | Self::Settings(_) | Self::TooLarge(_)
        )
    }

    fn of(error: &Error) -> Self {
        let told = Told::by(error);
        match error {
            _ if told.by_metadata => Self::NoCredentials,
            _ if told.code.as_deref().is_some_and(|code| matches!(code, "NoSuchBucket" | "ContainerNotFound")) => {
                Self::NoBucket(told.answer())
            }
            Error::NotFound { .. } => Self::NotThere,
            Error::Precondition { .. } => Self::Changed,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Refused(told.answer()),
            Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
                Self::Impossible(plain(&error.to_string()))
            }
            _ if told.code.as_deref() == Some("KeyTooLongError") => {
                Self::Impossible(format!("the store does not take this name ({})", told.answer()))
            }
            _ if told.status.is_some() => match told.status.as_deref().map(|status| &status[..3]) {
                // Amazon answers 400 to an access key that is no access key, Google to a token request.
                Some("400") if told.code.as_deref().is_some_and(is_of_credentials) => Self::Refused(told.answer()),
                Some("401" | "403") => Self::Refused(told.answer()),
                _ => Self::Answered(told.answer()),
            },
            _ => Self::Unreachable(told.transport.unwrap_or_else(|| plain(&innermost(error).to_string()))),
        }
    }
}

fn is_of_credentials(code: &str) -> bool {
    matches!(code, "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken" | "AuthorizationHeaderMalformed")
        || code.starts_with("invalid_")
}

/// What an error and its causes tell.
#[derive(Default)]
struct Told {
    /// Such as `403 Forbidden`.
    status: Option<String>,
    /// The store's word for it, such as `SignatureDoesNotMatch`.
    code: Option<String>,
    /// What became of the connection.
    transport: Option<String>,
    /// It was the cloud's metadata service that was asked, for credentials.
    by_metadata: bool,
}

impl Told {
    fn by(error: &Error) -> Self {
        const STATUS: &str = "non-2xx status code: ";
        let mut told = Self::default();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if told.status.is_none()
                && let Some(at) = text.find(STATUS)
            {
                let (status, body) =
                    text[at + STATUS.len()..].split_once(": ").unwrap_or((&text[at + STATUS.len()..], ""));
                told.code = code(body);
                told.status = Some(status.trim().to_owned()).filter(|status| status.len() >= 3 && status.is_ascii());
            }
            if let Some(http) = error.downcast_ref::<HttpError>() {
                let why = plain(&innermost(error).to_string());
                told.transport = Some(match http.kind() {
                    HttpErrorKind::Timeout => "the store does not answer in time".to_owned(),
                    HttpErrorKind::Connect => format!("the store cannot be reached: {why}"),
                    _ => format!("the connection to the store broke: {why}"),
                });
            }
            told.by_metadata |= text.contains("://169.254.169.254") || text.contains("://metadata.google.internal");
            cause = error.source();
        }
        told
    }

    fn answer(&self) -> String {
        match (&self.status, &self.code) {
            (Some(status), Some(code)) => format!("{} {code}", &status[..3]),
            (Some(status), None) => status.clone(),
            (None, _) => "no status".to_owned(),
        }
    }
}

fn innermost<'e>(mut error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

/// `<Code>…</Code>` of an answer in XML, `"error": "…"` of one in JSON.
fn code(body: &str) -> Option<String> {
    let between = |begin: &str, end: &str| Some(body.split_once(begin)?.1.split_once(end)?.0.to_owned());
    let found = between("<Code>", "</Code>")
        .or_else(|| between("\"error\":\"", "\""))
        .or_else(|| between("\"error\": \"", "\""))?;
    Some(found)
        .filter(|code| (1..=60).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// One short line without the query of any URL in it.
fn plain(text: &str) -> String {
    let words = text
        .split_whitespace()
        .map(|word| word.split_once('?').filter(|_| word.contains("://")).map_or(word, |(url, _)| url));
    words.collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_status_and_the_stores_word() {
        let generic = |text: &str| Cause::of(&Error::Generic { store: "S3", source: text.to_owned().into() });
        let body = |status: &str, code: &str| {
            format!(
                "Error performing PUT http://h/b/k?X-Amz-Signature=hunter2 in 1s - Server returned non-2xx status code: \
                 {status}: <?xml?><Error><Code>{code}</Code><Message>hunter2</Message></Error>"
            )
        };
        for (text, cause) in [
            (body("503 Service Unavailable", "SlowDown"), Cause::Answered("503 SlowDown".to_owned())),
            (body("403 Forbidden", "SignatureDoesNotMatch"), Cause::Refused("403 SignatureDoesNotMatch".to_owned())),
            (body("400 Bad Request", "InvalidAccessKeyId"), Cause::Refused("400 InvalidAccessKeyId".to_owned())),
            (body("404 Not Found", "NoSuchBucket"), Cause::NoBucket("404 NoSuchBucket".to_owned())),
            (body("500 Internal Server Error", "<odd>"), Cause::Answered("500 Internal Server Error".to_owned())),
            ("odd http://h/k?sig=hunter2 thing".to_owned(), Cause::Unreachable("odd http://h/k thing".to_owned())),
            ("Error performing PUT http://169.254.169.254/latest in 1s".to_owned(), Cause::NoCredentials),
        ] {
            assert_eq!(generic(&text), cause, "{text}");
            assert!(!cause.to_string().contains("hunter2"));
        }
        let path = "k".to_owned();
        assert_eq!(Cause::of(&Error::NotFound { path, source: "x".into() }), Cause::NotThere);
    }
}

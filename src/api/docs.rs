//! `GET /docs`: Swagger UI over `/openapi.json`, from the binary: no page of ours needs the internet.

use std::io::{Cursor, Read as _};
use std::sync::{Arc, LazyLock};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::clients::ClientAddress;
use super::envelope::{ApiError, ErrorKind};
use super::until_sent::UntilSent;
use super::{Api, error_response};

/// The page's files and their types; all others of the distribution are variants of these.
const FILES: [(&str, &str); 3] =
    [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript"), ("favicon-32x32.png", "image/png")];

/// In place of the distribution's own start, which shows a sample API.
const START: &str = r##"window.onload = () => {
  window.ui = SwaggerUIBundle({ url: "../openapi.json", dom_id: "#swagger-ui", deepLinking: true });
};
"##;
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>exhaustd API</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</body>
</html>
"#;

/// Unpacked at the first call.
static ASSETS: LazyLock<Vec<(&str, &str, Bytes)>> = LazyLock::new(|| {
    let unpacked = unpack().unwrap_or_else(|error| {
        log::error!("the documentation page cannot be unpacked error={error}");
        Vec::new()
    });
    let own = [("", "text/html; charset=utf-8", PAGE), ("start.js", "text/javascript", START)];
    own.into_iter()
        .map(|(name, kind, text)| (name, kind, Bytes::from_static(text.as_bytes())))
        .chain(unpacked)
        .collect()
});

fn unpack() -> zip::result::ZipResult<Vec<(&'static str, &'static str, Bytes)>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let mut files = Vec::new();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at)?;
        let name = file.name()?.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some((name, kind)) = FILES.into_iter().find(|(known, _)| *known == name) {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            files.push((name, kind, Bytes::from(bytes)));
        }
    }
    Ok(files)
}

/// `GET /docs`: the page's files are beside it, so it needs a slash at its end.
pub(super) async fn page() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("docs/"));
    response
}

/// `GET /docs/`
pub(super) async fn start(State(api): State<Arc<Api>>, Extension(from): Extension<ClientAddress>) -> Response<Body> {
    asset(&api, "", from)
}

/// `GET /docs/{file}`
pub(super) async fn file(
    State(api): State<Arc<Api>>,
    Extension(from): Extension<ClientAddress>,
    Path(name): Path<String>,
) -> Response<Body> {
    asset(&api, &name, from)
}

fn asset(api: &Api, name: &str, ClientAddress(address): ClientAddress) -> Response<Body> {
    let Some((_, kind, bytes)) = ASSETS.iter().find(|(known, _, _)| *known == name) else {
        return error_response(api, &ApiError::new(ErrorKind::NotFound, "there is no such path"));
    };
    // More than a connection buffers: it counts as a download until its client has read it.
    let permit = match api.limits.download(address) {
        Ok(permit) => permit,
        Err(error) => return error_response(api, &error),
    };
    let mut response = Response::new(Body::from(bytes.clone()));
    response.extensions_mut().insert(UntilSent::new(permit));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_that_it_names() {
        let names: Vec<&str> = ASSETS.iter().map(|(name, _, _)| *name).collect();
        for wanted in
            PAGE.split("href=\"").chain(PAGE.split("src=\"")).skip(1).filter_map(|rest| rest.split('"').next())
        {
            assert!(wanted.starts_with('<') || names.contains(&wanted), "{wanted} of {names:?}");
        }
        assert!(ASSETS.iter().all(|(_, _, bytes)| bytes.len() > 50));
    }
}

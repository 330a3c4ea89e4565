//! Calls every /job call through the client that openapi-generator made, and fails where an answer is not parsed.
//!
//!     client URL waiting      no daemon works: what is submitted waits
//!     client URL completed    a daemon has worked

use exhaustd_client::apis::configuration::Configuration;
use exhaustd_client::apis::default_api as api;
use exhaustd_client::apis::Error;
use exhaustd_client::models::{
    JobConfig, JobConfigBatchFilters, SearchRequest, SearchRequestRequest, SearchRequestRequestFilters,
    SearchRequestRequestFiltersJobId, SearchRequestRequestFiltersStatus, SubmitRequest, SubmitRequestRequest,
};

const TAG: &str = "rust";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (url, phase) = (arguments.next().unwrap(), arguments.next().unwrap());
    let mut client = Configuration::new();
    client.base_path = url;

    let mut config = JobConfig::new();
    config.batch_filters = Some(Box::new(JobConfigBatchFilters::ArrayVecString(vec!["TPD".to_owned()])));
    let job = serde_json::from_str("\"course-report\"").unwrap();
    let request = SubmitRequestRequest::new(TAG.to_owned(), job, Some(config));
    let submitted = api::submit(&client, SubmitRequest::new(request), None).await.unwrap();
    let id = submitted.result.request_id.as_str();
    let one = api::read(&client, TAG, id).await.unwrap().result;
    let listed = api::list(&client, TAG, Some(10), None).await.unwrap().result;
    assert_eq!((listed.count, listed.jobs[0].request_id.as_str()), (1, id));
    let mut filters = SearchRequestRequestFilters::new();
    filters.job_id = Some(Box::new(SearchRequestRequestFiltersJobId::String("course-report".to_owned())));
    filters.status = Some(Box::new(SearchRequestRequestFiltersStatus::ArrayVecString(vec![one.status.clone()])));
    let wanted = SearchRequest::new(SearchRequestRequest::new(Some(filters)));
    let found = api::search(&client, wanted).await.unwrap().result;
    assert!(found.jobs.iter().any(|job| job.request_id == id), "{found:?}");
    let configured = api::jobs(&client).await.unwrap().result;
    assert!(configured.jobs.iter().any(|job| job.id == "course-report"), "{configured:?}");
    assert!(api::health(&client).await.unwrap().live);

    if phase == "waiting" {
        assert_eq!((one.status.as_str(), one.download_urls.len()), ("SUBMITTED", 0));
        assert_eq!(api::cancel(&client, TAG, id).await.unwrap().result.status, "FAILED");
        assert_eq!(api::retry(&client, TAG, id).await.unwrap().result.status, "SUBMITTED");
    } else {
        assert_eq!((one.status.as_str(), one.download_urls.is_empty()), ("COMPLETED", false));
        assert!(one.job_stats.rows.unwrap().unwrap() > 0, "{one:?}");
    }
    let Err(Error::ResponseError(missing)) = api::read(&client, TAG, "missing").await else {
        panic!("there is no such request");
    };
    assert_eq!(missing.status.as_u16(), 404);
    // Errors of one form are parsed as the first variant, whatever their status.
    let Some(api::ReadError::Status400(error) | api::ReadError::Status404(error)) = missing.entity else {
        panic!("not parsed: {}", missing.content);
    };
    assert!(error.params.errmsg.contains("no such request"), "{error:?}");
    println!("rust {phase}: every answer parsed");
}

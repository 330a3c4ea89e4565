-- What retention reads beside `job_request_finished`: rows that other systems have completed, which they mark SUCCESS. An
-- index of its own, so that the other one, which may be large, stays as it is.
CREATE INDEX IF NOT EXISTS job_request_finished_elsewhere
    ON job_request (job_id, dt_job_completed, tag, request_id)
    WHERE status = 'SUCCESS';

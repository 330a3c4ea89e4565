-- What a claim reads: a job's rows that wait, in the very order in which they are claimed, so that only the first are
-- looked at, however many wait. That order holds within one form of time, so only rows whose time has the form that we
-- write, and is one, are in it. (The end of a February in a leap year goes with the others.) The claim repeats the
-- condition word by word: that is how SQLite sees that it may use it.
CREATE INDEX IF NOT EXISTS job_request_line ON job_request (job_id, dt_job_submitted, tag, request_id)
    WHERE status = 'SUBMITTED'
        AND typeof(dt_job_submitted) = 'text'
        AND dt_job_submitted GLOB
            '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]'
        AND substr(dt_job_submitted, 6, 2) BETWEEN '01' AND '12'
        AND (substr(dt_job_submitted, 9, 2) BETWEEN '01' AND '28'
            OR substr(dt_job_submitted, 9, 2) IN ('29', '30') AND substr(dt_job_submitted, 6, 2) <> '02'
            OR substr(dt_job_submitted, 9, 2) = '31'
                AND substr(dt_job_submitted, 6, 2) IN ('01', '03', '05', '07', '08', '10', '12'))
        AND substr(dt_job_submitted, 12, 2) < '24';

-- All others that wait: a claim reads every one of them.
CREATE INDEX IF NOT EXISTS job_request_odd ON job_request (job_id, status)
    WHERE status = 'SUBMITTED'
        AND NOT (typeof(dt_job_submitted) = 'text'
        AND dt_job_submitted GLOB
            '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]'
        AND substr(dt_job_submitted, 6, 2) BETWEEN '01' AND '12'
        AND (substr(dt_job_submitted, 9, 2) BETWEEN '01' AND '28'
            OR substr(dt_job_submitted, 9, 2) IN ('29', '30') AND substr(dt_job_submitted, 6, 2) <> '02'
            OR substr(dt_job_submitted, 9, 2) = '31'
                AND substr(dt_job_submitted, 6, 2) IN ('01', '03', '05', '07', '08', '10', '12'))
        AND substr(dt_job_submitted, 12, 2) < '24');

-- What lists and searches over all tags read. The raw column, as in job_request_newest.
CREATE INDEX IF NOT EXISTS job_request_newest_of_all ON job_request (dt_job_submitted DESC, tag, request_id);

-- What an overview counts, without reading the rows. In this order, so that no claim takes it for its line.
CREATE INDEX IF NOT EXISTS job_request_counts ON job_request (status, lease_expires_at, job_id);

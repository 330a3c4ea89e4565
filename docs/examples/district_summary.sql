-- Learners of each district, and how many of them have completed the course.
SELECT
    e.batchid,
    nullif(u.district, '') AS district,
    count(DISTINCT e.userid) AS learners,
    count(DISTINCT e.userid) FILTER (WHERE e.completedon <> '') AS completed
FROM user_enrolments AS e
JOIN "user" AS u ON u.userid = e.userid
WHERE e.batchid IN (SELECT batchid FROM {batches})
GROUP BY e.batchid, nullif(u.district, '')

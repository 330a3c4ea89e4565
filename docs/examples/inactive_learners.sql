-- Learners who are enrolled, have not completed the course and have no activity in it.
SELECT e.batchid, e.userid, max(left(nullif(e.enrolled_date, ''), 10)::date) AS enrolled
FROM {batches} AS b
JOIN user_enrolments AS e ON e.batchid = b.batchid AND e.courseid = b.courseid
WHERE lower(e.active) = 'true'
GROUP BY e.batchid, e.userid
HAVING count(*) FILTER (WHERE e.completedon <> '') = 0
    AND NOT EXISTS (
        SELECT 1 FROM user_activity_agg AS a WHERE a.user_id = e.userid AND a.context_id = 'cb:' || e.batchid
    )

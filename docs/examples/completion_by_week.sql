-- How many learners completed the course in each week, by the Monday that the week begins with.
SELECT
    batchid,
    date_trunc('week', left(completedon, 10)::date)::date AS week,
    count(DISTINCT userid) AS learners
FROM user_enrolments
WHERE batchid IN (SELECT batchid FROM {batches}) AND completedon <> ''
GROUP BY 1, 2

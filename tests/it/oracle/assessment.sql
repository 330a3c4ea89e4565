-- The other columns of the assessment report, and who of the listed learners stays.

-- Attempts that count: of this batch and its course, at a content of the type asked for.
DROP TABLE IF EXISTS attempt;
CREATE TEMP TABLE attempt AS
SELECT a.*, c.name
FROM asked
JOIN course_batch AS b ON b.batchid = asked.batch
JOIN assessment_aggregator AS a ON a.batch_id = b.batchid AND a.course_id = b.courseid
JOIN content AS c ON c.identifier = a.content_id AND c.kind = 'SelfAssess';

-- One column for each assessment with such an attempt, whoever made it: headed by its name, its identifier if it has
-- none. A name that equals another heading gets the identifier behind it. Ordered by name, then identifier.
DROP TABLE IF EXISTS assessment;
CREATE TEMP TABLE assessment AS
WITH taken AS (SELECT DISTINCT content_id, name, coalesce(name, content_id) AS title FROM attempt),
     fixed (title) AS (SELECT text FROM heading UNION ALL SELECT 'Total Score')
SELECT content_id,
       CASE WHEN title IN (SELECT title FROM fixed)
              OR EXISTS (SELECT 1 FROM taken AS other WHERE other.title = t.title AND other.content_id <> t.content_id)
            THEN coalesce(name || ' (' || content_id || ')', content_id) ELSE title END AS heading,
       10 + row_number() OVER (ORDER BY title, content_id) AS place
FROM taken AS t;

INSERT INTO heading SELECT place, heading, 1 FROM assessment;
INSERT INTO heading VALUES (9999, 'Total Score', 0);

-- Of a learner's attempts at one assessment one counts. Best: the greatest score, then the latest, then the greatest
-- attempt id. Latest: the latest, then the greatest attempt id.
DROP TABLE IF EXISTS chosen;
CREATE TEMP TABLE chosen AS
SELECT * FROM (
    SELECT attempt.*, row_number() OVER (
               PARTITION BY user_id, content_id
               ORDER BY CASE WHEN asked.attempt = 'best' THEN score END DESC, attempted DESC, attempt_id DESC) AS nth
    FROM attempt, asked
) WHERE nth = 1;

-- Listed learners without such an attempt are not in this report.
DELETE FROM cell WHERE userid NOT IN (SELECT user_id FROM chosen);

-- A cell: 100 times score by maximum of grand_total, "score/maximum", rounded up, with the sign; empty where it does
-- not read or the maximum is 0. Numbers are millionths, so that nothing is lost.
INSERT INTO cell
SELECT l.userid, a.place,
       ((100 * score.millionths + CASE WHEN score.millionths > 0 THEN most.millionths - 1 ELSE 0 END)
           / nullif(most.millionths, 0)) || '%', 0
FROM learner AS l
JOIN assessment AS a
LEFT JOIN chosen AS c ON c.user_id = l.userid AND c.content_id = a.content_id
LEFT JOIN decimal_text AS score ON score.spelled = trim(substr(c.grand_total, 1, instr(c.grand_total, '/') - 1))
LEFT JOIN decimal_text AS most ON most.spelled = trim(substr(c.grand_total, instr(c.grand_total, '/') + 1))
WHERE l.userid IN (SELECT user_id FROM chosen);

-- Total Score: the same of the sums of total_score and total_max_score.
INSERT INTO cell
SELECT user_id, 9999,
       ((100 * sum(score) + CASE WHEN sum(score) > 0 THEN sum(most) - 1 ELSE 0 END) / nullif(sum(most), 0)) || '%', 0
FROM chosen WHERE user_id IN (SELECT userid FROM learner) GROUP BY user_id;

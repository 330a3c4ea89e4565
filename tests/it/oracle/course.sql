-- The other columns of the course report.

-- Modules are the direct children of the course that are collections, courses and visible by default; letter case
-- does not count. One that stands there twice counts once, by its first node. Ordered by identifier.
DROP TABLE IF EXISTS module;
CREATE TEMP TABLE module AS
SELECT identifier, leaves, 16 + row_number() OVER (ORDER BY identifier) AS place FROM (
    SELECT value ->> '$.identifier' AS identifier, CAST(value ->> '$.leafNodesCount' AS INTEGER) AS leaves,
           row_number() OVER (PARTITION BY value ->> '$.identifier' ORDER BY key) AS nth
    FROM asked
    JOIN course_batch AS b ON b.batchid = asked.batch
    JOIN content_hierarchy AS h ON h.identifier = b.courseid
    JOIN json_each(h.hierarchy, '$.children')
    WHERE lower(value ->> '$.mimeType') = 'application/vnd.ekstep.content-collection'
      AND lower(value ->> '$.contentType') = 'course'
      AND lower(value ->> '$.visibility') = 'default'
) WHERE nth = 1 AND identifier <> '';

INSERT INTO heading VALUES
    (11, 'Block Name', 0), (12, 'Enrolment Date', 0), (13, 'Course ID', 0), (14, 'Course Progress', 0),
    (15, 'Completion Date', 0), (16, 'Certificate Status', 0);
INSERT INTO heading SELECT place, identifier || ' - Progress', 1 FROM module;

INSERT INTO cell SELECT userid, 11, CASE WHEN shown THEN block END, 1 FROM learner;

-- Dates are the day in the configured time zone, dd/MM/yyyy. Division cuts towards 0, before 1970 it must round down.
INSERT INTO cell
SELECT userid, place, strftime('%d/%m/%Y', (us - CASE WHEN us < 0 THEN 999999 ELSE 0 END) / 1000000, 'unixepoch'), 0
FROM (SELECT userid, 12 AS place, enrolled + zone_us AS us FROM learner, setting
      UNION ALL SELECT userid, 15, completed + zone_us FROM learner, setting);

INSERT INTO cell SELECT userid, 13, courseid, 1 FROM learner, course_batch, asked WHERE batchid = asked.batch;

-- Per cent done: 100 times the count by the leaf nodes, rounded down, at most 100; nothing where there is no row, no
-- count, or no leaf nodes. Whole numbers: the division of SQL rounds down.
INSERT INTO cell
SELECT l.userid, part.place, min(100, 100 * a.done / nullif(part.leaves, 0)), 0
FROM asked
JOIN (SELECT b.courseid AS identifier, c.leaves, 14 AS place
      FROM asked
      JOIN course_batch AS b ON b.batchid = asked.batch
      LEFT JOIN content AS c ON c.identifier = b.courseid
      UNION ALL SELECT identifier, leaves, place FROM module) AS part
JOIN learner AS l
LEFT JOIN user_activity_agg AS a
       ON a.context_id = 'cb:' || asked.batch AND a.user_id = l.userid AND a.activity_id = part.identifier;

-- Issued if either list has an entry.
INSERT INTO cell SELECT userid, 16, CASE WHEN certificates > 0 OR issued > 0 THEN 'Issued' END, 0 FROM learner;

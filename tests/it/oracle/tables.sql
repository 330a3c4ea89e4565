-- From `raw (tbl, doc)`, one JSON object of texts for each row as it stood in the file, to tables with typed values.
-- `setting (zone_us)` has the configured time zone as a fixed offset in microseconds.

CREATE INDEX raw_tbl ON raw (tbl);

-- Dates and times, each spelling once. ISO 8601 with T or a blank, with or without zone; the legacy form has a colon
-- before the fraction. Without zone: already in the configured one. Whatever does not read is not in the result.
CREATE TABLE instant (spelled TEXT PRIMARY KEY, us INTEGER);
INSERT INTO instant
WITH spelled (x) AS MATERIALIZED (
    SELECT coalesce(doc ->> '$.enrolled_date', doc ->> '$.enrolleddate') FROM raw WHERE tbl = 'user_enrolments'
    UNION SELECT doc ->> '$.completedon' FROM raw WHERE tbl = 'user_enrolments'
    UNION SELECT doc ->> '$.last_attempted_on' FROM raw WHERE tbl = 'assessment_aggregator'
    UNION SELECT CASE WHEN u LIKE '{%' THEN u ->> '$.completedCount' ELSE u END
          FROM (SELECT doc ->> '$.agg_last_updated' AS u FROM raw WHERE tbl = 'user_activity_agg')
), split AS MATERIALIZED (
    -- The zone is what stands after the seconds and their fraction.
    SELECT x, replace(substr(x, 1, 19), 'T', ' ') AS local, substr(x, 20) AS rest,
           CASE WHEN substr(x, 20) LIKE '%Z' THEN length(x)
                WHEN x GLOB '*[+-][0-9][0-9][0-9][0-9]' AND length(x) > 23 THEN length(x) - 4
                WHEN x GLOB '*[+-][0-9][0-9]:[0-9][0-9]' AND length(x) > 23 THEN length(x) - 5
                ELSE length(x) + 1 END AS zone_at
    FROM spelled WHERE x GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
), parts AS MATERIALIZED (
    SELECT x, local, rest, substr(x, 21, max(0, zone_at - 21)) AS fraction,
           replace(substr(x, zone_at), ':', '') AS zone
    FROM split
)
SELECT x,
       strftime('%s', local) * 1000000
       + CASE WHEN fraction = '' THEN 0 ELSE CAST(substr(fraction || '000000', 1, 6) AS INTEGER) END
       - CASE WHEN zone = 'Z' THEN 0
              WHEN zone = '' THEN (SELECT zone_us FROM setting)
              ELSE (substr(zone, 2, 2) * 60 + substr(zone, 4, 2)) * 60000000
                   * CASE WHEN zone LIKE '-%' THEN -1 ELSE 1 END END
FROM parts
WHERE strftime('%s', local) IS NOT NULL
  -- A day that no calendar has, such as the 30th of February, does not read.
  AND date(local) = substr(x, 1, 10)
  AND (fraction = '' OR fraction NOT GLOB '*[^0-9]*')
  AND (rest = '' OR rest GLOB '[.:Z+-]*');

-- Decimals as whole millionths, never as floats. Whatever does not read is not in the result.
CREATE TABLE decimal_text (spelled TEXT PRIMARY KEY, millionths INTEGER);
INSERT INTO decimal_text
WITH spelled (x) AS MATERIALIZED (
    SELECT trim(doc ->> '$.total_score') FROM raw WHERE tbl = 'assessment_aggregator'
    UNION SELECT trim(doc ->> '$.total_max_score') FROM raw WHERE tbl = 'assessment_aggregator'
    -- "7/10": what stands before the slash and what behind it.
    UNION SELECT trim(substr(g, 1, instr(g, '/') - 1))
          FROM (SELECT doc ->> '$.grand_total' AS g FROM raw WHERE tbl = 'assessment_aggregator') WHERE g LIKE '%/%'
    UNION SELECT trim(substr(g, instr(g, '/') + 1))
          FROM (SELECT doc ->> '$.grand_total' AS g FROM raw WHERE tbl = 'assessment_aggregator') WHERE g LIKE '%/%'
), split AS MATERIALIZED (
    SELECT x, ltrim(x, '-') AS digits, CASE WHEN x LIKE '-%' THEN -1 ELSE 1 END AS sign FROM spelled
)
SELECT x,
       sign * (CAST(CASE instr(digits, '.') WHEN 0 THEN digits ELSE substr(digits, 1, instr(digits, '.') - 1) END
                    AS INTEGER) * 1000000
               + CASE instr(digits, '.') WHEN 0 THEN 0
                      ELSE CAST(substr(substr(digits, instr(digits, '.') + 1) || '000000', 1, 6) AS INTEGER) END)
FROM split
WHERE digits GLOB '*[0-9]*' AND digits NOT GLOB '*[^0-9.]*' AND digits NOT GLOB '*.*.*';

CREATE TABLE course_batch AS
-- Two rows of one key: the one whose columns compare greatest, in the order of the table.
SELECT batchid, courseid FROM (
    SELECT doc ->> '$.batchid' AS batchid, doc ->> '$.courseid' AS courseid,
           row_number() OVER (PARTITION BY doc ->> '$.batchid' ORDER BY doc ->> '$.courseid' DESC) AS place
    FROM raw WHERE tbl = 'course_batch'
) WHERE place = 1 AND batchid IS NOT NULL;

CREATE TABLE content AS
SELECT identifier, name, channel, kind, leaves FROM (
    SELECT identifier, name, channel, kind, leaves,
           row_number() OVER (PARTITION BY identifier
                              ORDER BY name DESC, channel DESC, framework DESC, kind DESC, leaves DESC) AS place
    FROM (SELECT doc ->> '$.identifier' AS identifier, doc ->> '$.name' AS name, doc ->> '$.channel' AS channel,
                 doc ->> '$.framework' AS framework, doc ->> '$.contenttype' AS kind,
                 CAST(doc ->> '$.leafnodescount' AS INTEGER) AS leaves
          FROM raw WHERE tbl = 'content')
) WHERE place = 1 AND identifier IS NOT NULL;

CREATE TABLE content_hierarchy AS
SELECT doc ->> '$.identifier' AS identifier, max(doc ->> '$.hierarchy') AS hierarchy
FROM raw WHERE tbl = 'content_hierarchy' GROUP BY 1;

CREATE TABLE user AS
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY userid
        ORDER BY firstname DESC, lastname DESC, maskedemail DESC, maskedphone DESC, externalid DESC, orgname DESC,
                 schoolname DESC, schooludisecode DESC, state DESC, district DESC, block DESC, userchannel DESC) AS place
    FROM (SELECT doc ->> '$.userid' AS userid, doc ->> '$.firstname' AS firstname, doc ->> '$.lastname' AS lastname,
                 doc ->> '$.maskedemail' AS maskedemail, doc ->> '$.maskedphone' AS maskedphone,
                 doc ->> '$.externalid' AS externalid, doc ->> '$.orgname' AS orgname,
                 doc ->> '$.schoolname' AS schoolname, doc ->> '$.schooludisecode' AS schooludisecode,
                 doc ->> '$.state' AS state, doc ->> '$.district' AS district, doc ->> '$.block' AS block,
                 doc ->> '$.userchannel' AS userchannel
          FROM raw WHERE tbl = 'user')
) WHERE place = 1 AND userid IS NOT NULL;
CREATE UNIQUE INDEX user_key ON user (userid);

-- How many entries a list or map has; a bare number is their number.
CREATE TABLE entries_text (spelled TEXT PRIMARY KEY, entries INTEGER);
INSERT INTO entries_text
WITH spelled (x) AS MATERIALIZED (
    SELECT doc ->> '$.certificates' FROM raw WHERE tbl = 'user_enrolments'
    UNION SELECT doc ->> '$.issued_certificates' FROM raw WHERE tbl = 'user_enrolments'
)
SELECT x, CASE WHEN x GLOB '[[{]*' THEN (SELECT count(*) FROM json_each(x)) ELSE CAST(x AS INTEGER) END
FROM spelled WHERE x IS NOT NULL;

CREATE TABLE user_enrolments AS
SELECT doc ->> '$.batchid' AS batchid, doc ->> '$.userid' AS userid, doc ->> '$.courseid' AS courseid,
       -- Flags: true/false in any case, blanks trimmed, 1/0.
       lower(trim(doc ->> '$.active')) IN ('true', '1') AS active,
       enrolled.us AS enrolled, completed.us AS completed,
       old.entries AS certificates, new.entries AS issued
FROM raw
-- Of columns that have two names the one of today comes first.
LEFT JOIN instant AS enrolled ON enrolled.spelled = coalesce(doc ->> '$.enrolled_date', doc ->> '$.enrolleddate')
LEFT JOIN instant AS completed ON completed.spelled = doc ->> '$.completedon'
LEFT JOIN entries_text AS old ON old.spelled = doc ->> '$.certificates'
LEFT JOIN entries_text AS new ON new.spelled = doc ->> '$.issued_certificates'
WHERE tbl = 'user_enrolments'
  -- A row without key, or with a flag that does not read, is unusable.
  AND doc ->> '$.batchid' <> '' AND doc ->> '$.userid' <> '' AND doc ->> '$.courseid' <> ''
  AND coalesce(lower(trim(doc ->> '$.active')), 'false') IN ('true', 'false', '1', '0');
CREATE INDEX user_enrolments_batch ON user_enrolments (batchid);

CREATE TABLE user_activity_agg AS
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY context_id, user_id, activity_id
                                 -- The greatest agg_last_updated, then the greatest completedCount.
                                 ORDER BY us DESC, done DESC) AS place
    FROM (SELECT doc ->> '$.context_id' AS context_id, doc ->> '$.user_id' AS user_id,
                 doc ->> '$.activity_id' AS activity_id,
                 CAST(coalesce(doc ->> '$.aggregates' ->> '$.completedCount', doc ->> '$.agg' ->> '$.completedCount',
                               doc ->> '$.completedcount') AS INTEGER) AS done,
                 CASE WHEN doc ->> '$.agg_last_updated' LIKE '{%'
                      THEN doc ->> '$.agg_last_updated' ->> '$.completedCount'
                      ELSE doc ->> '$.agg_last_updated' END AS updated
          FROM raw WHERE tbl = 'user_activity_agg')
    LEFT JOIN instant ON spelled = updated
) WHERE place = 1;
CREATE UNIQUE INDEX activity_key ON user_activity_agg (context_id, user_id, activity_id);

CREATE TABLE assessment_aggregator AS
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY batch_id, user_id, content_id, attempt_id
        ORDER BY course_id DESC, score DESC, most DESC, grand_total DESC, attempted DESC) AS place
    FROM (SELECT doc ->> '$.course_id' AS course_id, doc ->> '$.batch_id' AS batch_id, doc ->> '$.user_id' AS user_id,
                 doc ->> '$.content_id' AS content_id, doc ->> '$.attempt_id' AS attempt_id,
                 score.millionths AS score, most.millionths AS most, doc ->> '$.grand_total' AS grand_total,
                 instant.us AS attempted
          FROM raw
          LEFT JOIN decimal_text AS score ON score.spelled = trim(doc ->> '$.total_score')
          LEFT JOIN decimal_text AS most ON most.spelled = trim(doc ->> '$.total_max_score')
          LEFT JOIN instant ON instant.spelled = doc ->> '$.last_attempted_on'
          WHERE tbl = 'assessment_aggregator')
) WHERE place = 1;
CREATE INDEX attempts_batch ON assessment_aggregator (batch_id);

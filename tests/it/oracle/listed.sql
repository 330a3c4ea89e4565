-- Who is listed in the batch that `asked (batch, privacy, attempt)` names, and the columns both reports begin with.

-- What becomes of each enrolment of the batch. It is left out for the first of these reasons that holds: it is of
-- another course than the batch, it is not active, nobody is known by its user id, another row of the same learner
-- that passes stays. The one that stays has the greatest (enrolleddate, completedon, other columns as text).
DROP TABLE IF EXISTS enrolment;
CREATE TEMP TABLE enrolment AS
SELECT e.*,
       CASE WHEN e.courseid <> b.courseid THEN 'other_course'
            WHEN NOT e.active THEN 'inactive'
            WHEN u.userid IS NULL THEN 'no_user'
            WHEN row_number() OVER (
                     PARTITION BY e.userid, e.courseid = b.courseid AND e.active AND u.userid IS NOT NULL
                     ORDER BY e.enrolled DESC, e.completed DESC, CAST(e.certificates AS TEXT) DESC,
                              CAST(e.issued AS TEXT) DESC) > 1 THEN 'duplicate'
            ELSE 'listed' END AS fate
FROM asked
JOIN course_batch AS b ON b.batchid = asked.batch
JOIN user_enrolments AS e ON e.batchid = b.batchid
LEFT JOIN user AS u ON u.userid = e.userid;

-- The learners in the list with their texts. School, UDISE code, block and external id are private: under the privacy
-- policy they are shown only where the learner's channel is the course's; where either is empty they differ.
DROP TABLE IF EXISTS learner;
CREATE TEMP TABLE learner AS
SELECT u.*, e.enrolled, e.completed, e.certificates, e.issued,
       NOT asked.privacy OR coalesce(u.userchannel = c.channel, 0) AS shown
FROM asked
JOIN course_batch AS b ON b.batchid = asked.batch
LEFT JOIN content AS c ON c.identifier = b.courseid
JOIN enrolment AS e ON e.fate = 'listed'
JOIN user AS u ON u.userid = e.userid;

-- Headings and cells of the report; `guarded` says that it is text which a spreadsheet must not run as a formula.
DROP TABLE IF EXISTS heading;
CREATE TEMP TABLE heading (place INTEGER, text TEXT, guarded INTEGER);
INSERT INTO heading VALUES
    (1, 'External ID', 0), (2, 'User ID', 0), (3, 'User Name', 0), (4, 'Email ID', 0), (5, 'Mobile Number', 0),
    (6, 'Organisation Name', 0), (7, 'State Name', 0), (8, 'District Name', 0), (9, 'School UDISE Code', 0),
    (10, 'School Name', 0);

DROP TABLE IF EXISTS cell;
CREATE TEMP TABLE cell (userid TEXT, place INTEGER, text TEXT, guarded INTEGER);
INSERT INTO cell
          SELECT userid, 1, CASE WHEN shown THEN externalid END, 1 FROM learner
UNION ALL SELECT userid, 2, userid, 1 FROM learner
          -- First name, a blank, last name; only an empty part is missing and adds no blank.
UNION ALL SELECT userid, 3, coalesce(firstname || ' ' || lastname, firstname, lastname), 1 FROM learner
UNION ALL SELECT userid, 4, maskedemail, 1 FROM learner
UNION ALL SELECT userid, 5, maskedphone, 1 FROM learner
UNION ALL SELECT userid, 6, orgname, 1 FROM learner
UNION ALL SELECT userid, 7, state, 1 FROM learner
UNION ALL SELECT userid, 8, district, 1 FROM learner
UNION ALL SELECT userid, 9, CASE WHEN shown THEN schooludisecode END, 1 FROM learner
UNION ALL SELECT userid, 10, CASE WHEN shown THEN schoolname END, 1 FROM learner;

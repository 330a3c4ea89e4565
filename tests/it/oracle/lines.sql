-- Headings and cells to the lines of a CSV file: `line (userid, text)`, the header has no userid.
DROP TABLE IF EXISTS line;
CREATE TEMP TABLE line AS
WITH field AS (
    SELECT NULL AS userid, place, text, guarded FROM heading
    UNION ALL SELECT userid, place, text, guarded FROM cell
), number AS (
    -- What is left of a number without its sign: before and behind the exponent's e.
    SELECT *, CASE instr(lower(bare), 'e') WHEN 0 THEN bare ELSE substr(bare, 1, instr(lower(bare), 'e') - 1) END
                  AS mantissa,
           CASE instr(lower(bare), 'e') WHEN 0 THEN '0' ELSE substr(bare, instr(lower(bare), 'e') + 1) END AS exponent
    FROM (SELECT *, CASE WHEN text GLOB '[+-]*' THEN substr(text, 2) ELSE text END AS bare FROM field)
), judged AS (
    SELECT *, mantissa GLOB '*[0-9]*' AND mantissa NOT GLOB '*[^0-9.]*' AND mantissa NOT GLOB '*.*.*'
              AND CASE WHEN exponent GLOB '[+-]*' THEN substr(exponent, 2) ELSE exponent END GLOB '[0-9]*'
              AND substr(exponent, 2) NOT GLOB '*[^0-9]*' AS plain_number
    FROM number
), safe AS (
    -- Text that begins with = + - @, tab or a line end, after any blanks, gets a ' before it; a plain number does not.
    SELECT userid, place,
           CASE WHEN guarded AND NOT plain_number
                     AND substr(ltrim(text, ' '), 1, 1) IN ('=', '+', '-', '@', char(9), char(10), char(13))
                THEN '''' || text ELSE coalesce(text, '') END AS text
    FROM judged
)
-- RFC 4180: quotes only where there is a comma, a quote or a line end, and quotes doubled inside.
SELECT userid, group_concat(
           CASE WHEN text GLOB '*[,"' || char(10) || char(13) || ']*' THEN '"' || replace(text, '"', '""') || '"'
                ELSE text END, ',' ORDER BY place) AS text
FROM safe GROUP BY userid;

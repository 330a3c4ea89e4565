-- Pages are filled to 85 of 100, unless somebody has decided otherwise. In a full table the gaps of old pages are what new
-- rows get, one here and one there, and each claim then reads and writes two pages a row. A page that keeps a reserve is
-- passed over: rows that were submitted together stand together. What is in the table stays as it is.
ALTER TABLE job_request SET (fillfactor = 85);

-- How far the commit log beside the database is applied to it: the number of the last record that is. `identity` stands in
-- the log, too: one that was written for another database is none of this one's.
CREATE TABLE commit_log (
    applied INTEGER NOT NULL,
    identity BLOB NOT NULL
) STRICT;

INSERT INTO commit_log (applied, identity) VALUES (0, randomblob(16));

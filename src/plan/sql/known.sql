-- The emails of one source that earlier plans had, too, each once, until they are put in order. It
-- lives in SQLite's temporary file, so that its size is disk, not memory.
DROP TABLE IF EXISTS temp.known;

CREATE TABLE temp.known (
    email_key INTEGER PRIMARY KEY,
    row       INTEGER NOT NULL,
    input     TEXT,                 -- as it was read; NULL: the email itself
    asked_at  TEXT,                 -- last try; NULL: never
    fresh     INTEGER NOT NULL      -- answered within --max-age
) STRICT;

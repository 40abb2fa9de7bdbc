-- Persons, visitors and sessions that callers name, contexts, and revenue.

ALTER TABLE sites ADD COLUMN secret BLOB NOT NULL DEFAULT x''; -- hashes the names that callers give
ALTER TABLE sites ADD COLUMN allowed_hosts TEXT NOT NULL DEFAULT ''; -- separated by spaces; '' for all
ALTER TABLE sites ADD COLUMN hourly_limit INTEGER; -- of requests without a key, per address
UPDATE sites SET secret = randomblob(32);

CREATE TABLE persons (
    number  INTEGER PRIMARY KEY, -- a hash of the id under the site's secret
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    id      TEXT NOT NULL,       -- the caller's
    traits  TEXT NOT NULL,       -- what callers told of them: a JSON object
    created INTEGER NOT NULL
) STRICT;

-- Whose a visitor is, from a time on. What a visitor did before the first of these is that one's, too.
CREATE TABLE ties (
    site    INTEGER NOT NULL,
    visitor INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    person  INTEGER NOT NULL,
    PRIMARY KEY (site, visitor, since, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE kinds_with_context (
    id       INTEGER PRIMARY KEY,
    api      TEXT NOT NULL,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL,
    excluded TEXT NOT NULL, -- why it is in no count ('bot'); '' if it is
    context  TEXT NOT NULL, -- website, product or ''
    currency TEXT NOT NULL, -- what the revenue is in; '' without revenue
    UNIQUE (name, type, api, excluded, context, currency)
) STRICT;

INSERT INTO kinds_with_context SELECT id, api, type, name, excluded, '', '' FROM kinds;
DROP TABLE kinds;
ALTER TABLE kinds_with_context RENAME TO kinds;

ALTER TABLE events ADD COLUMN person INTEGER;  -- who the caller said it was; of other events, `ties` may know
ALTER TABLE events ADD COLUMN revenue INTEGER; -- in minor units of the kind's currency

-- A stay is a visitor's day, or a session that the caller named.
ALTER TABLE open_visits RENAME COLUMN visitor TO stay;

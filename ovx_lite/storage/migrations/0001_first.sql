-- Sites and who may write to them.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('registry', 1), ('touched', 0);

CREATE TABLE sites (
    number         INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, so no event is ever another site's
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    domain         TEXT NOT NULL,
    timezone       TEXT NOT NULL,
    public_key     TEXT NOT NULL UNIQUE,
    jwt_secret     TEXT NOT NULL,
    monthly_limit  INTEGER,
    retention_days INTEGER,
    created        INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    site         INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    label        TEXT NOT NULL,
    tier         TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')),
    hourly_limit INTEGER,
    digest       BLOB NOT NULL UNIQUE, -- SHA-256; the key itself is shown once and kept nowhere
    created      INTEGER NOT NULL,
    revoked      INTEGER
) STRICT;

-- Today's secret of each site. Yesterday's is gone, and with it the way back from a visitor to an address.
CREATE TABLE salts (
    site INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    salt BLOB NOT NULL
) STRICT;

-- The event log. Strings that repeat are in the four tables before it, once, and known here by number.

CREATE TABLE pages (
    id     INTEGER PRIMARY KEY,
    scheme TEXT NOT NULL,
    host   TEXT NOT NULL,
    path   TEXT NOT NULL,
    UNIQUE (path, host, scheme)
) STRICT;

CREATE TABLE origins (
    id           INTEGER PRIMARY KEY,
    referrer     TEXT NOT NULL,
    source       TEXT NOT NULL,
    channel      TEXT NOT NULL,
    utm_source   TEXT NOT NULL,
    utm_medium   TEXT NOT NULL,
    utm_campaign TEXT NOT NULL,
    utm_content  TEXT NOT NULL,
    utm_term     TEXT NOT NULL,
    UNIQUE (referrer, utm_source, utm_medium, utm_campaign, utm_content, utm_term, source, channel)
) STRICT;

CREATE TABLE clients (
    id      INTEGER PRIMARY KEY,
    browser TEXT NOT NULL,
    os      TEXT NOT NULL,
    device  TEXT NOT NULL,
    country TEXT NOT NULL,
    UNIQUE (browser, os, device, country)
) STRICT;

CREATE TABLE kinds (
    id       INTEGER PRIMARY KEY,
    api      TEXT NOT NULL,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL,
    excluded TEXT NOT NULL, -- why it is in no count ('bot'); '' if it is
    UNIQUE (name, type, api, excluded)
) STRICT;

CREATE TABLE events (
    site   INTEGER NOT NULL,
    id     INTEGER NOT NULL, -- Unix milliseconds << 21 | a counter: sorts by time
    kind   INTEGER NOT NULL,
    page   INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    client INTEGER NOT NULL,
    visit  INTEGER,          -- how much greater this id is than its visit's; 0 for the event that began the visit
    props  TEXT,
    line   INTEGER,          -- of imported events: a digest of the log line, without its address
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;

-- What a visitor did without 30 minutes of silence in between.
CREATE TABLE visits (
    site      INTEGER NOT NULL,
    id        INTEGER NOT NULL, -- that of the event that began it
    visitor   INTEGER NOT NULL, -- 48 bits; nobody's on any other day
    before    INTEGER NOT NULL, -- milliseconds by which an event that was told late preceded the one that began it
    after     INTEGER NOT NULL, -- milliseconds from there to the last event
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL, -- all of them, pageviews too
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;

-- Where to find the visits that may go on: those told of under today's salt.
CREATE TABLE open_visits (
    site    INTEGER NOT NULL,
    visitor INTEGER NOT NULL,
    visit   INTEGER NOT NULL,
    PRIMARY KEY (visitor, site, visit)
) STRICT, WITHOUT ROWID;

-- What was answered to requests with an Idempotency-Key, for a day.
CREATE TABLE answers (
    site        INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL, -- of path and body
    status      INTEGER NOT NULL,
    body        BLOB NOT NULL,
    answered    INTEGER NOT NULL,
    PRIMARY KEY (site, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (answered);

-- How many events a limited caller sent, by the second, for an hour.
CREATE TABLE usage (
    caller TEXT NOT NULL,
    second INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (caller, second)
) STRICT, WITHOUT ROWID;

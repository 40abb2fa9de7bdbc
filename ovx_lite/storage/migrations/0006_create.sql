-- The store as of schema 6. Schemas 1 to 5 were never released. `schema.sql` beside this folder describes the tables of
-- today, and makes new stores.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('registry', 1), ('touched', 0), ('retention_ran_at_ms', 0);

CREATE TABLE admin (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    password    TEXT NOT NULL,
    cookie_key  BLOB NOT NULL,
    cookie_name TEXT NOT NULL DEFAULT ''
) STRICT;

INSERT INTO admin VALUES (1, '', randomblob(32), '');

CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,
    began  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sites (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    domain         TEXT NOT NULL,
    timezone       TEXT NOT NULL,
    public_key     TEXT NOT NULL UNIQUE,
    jwt_secret     TEXT NOT NULL,
    monthly_limit  INTEGER,
    retention_days INTEGER,
    created        INTEGER NOT NULL,
    secret         BLOB NOT NULL DEFAULT x'',
    allowed_hosts  TEXT NOT NULL DEFAULT '',
    hourly_limit   INTEGER,
    hourly_events  INTEGER
) STRICT;

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    site         INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    label        TEXT NOT NULL,
    tier         TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')),
    hourly_limit INTEGER,
    digest       BLOB NOT NULL UNIQUE,
    created      INTEGER NOT NULL,
    revoked      INTEGER,
    last_used    INTEGER
) STRICT;

CREATE INDEX keys_of_site ON keys (site);

CREATE TABLE salts (
    site INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    salt BLOB NOT NULL
) STRICT;

CREATE TABLE shares (
    site     INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token    TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE annotations (
    id   TEXT PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX annotations_of_site ON annotations (site, day);

CREATE TABLE answers (
    site             INTEGER NOT NULL,
    credential_class TEXT NOT NULL,
    key              TEXT NOT NULL,
    fingerprint      BLOB NOT NULL,
    status           INTEGER NOT NULL,
    body             BLOB NOT NULL,
    answered         INTEGER NOT NULL,
    PRIMARY KEY (site, credential_class, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (answered);

CREATE TABLE usage (
    caller TEXT NOT NULL,
    second INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (caller, second)
) STRICT, WITHOUT ROWID;

CREATE TABLE months (
    site   INTEGER NOT NULL,
    month  TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (site, month)
) STRICT, WITHOUT ROWID;

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
    excluded TEXT NOT NULL,
    context  TEXT NOT NULL,
    currency TEXT NOT NULL,
    UNIQUE (name, type, api, excluded, context, currency)
) STRICT;

CREATE TABLE events (
    site    INTEGER NOT NULL,
    visit   INTEGER NOT NULL,
    later   INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    page    INTEGER NOT NULL,
    origin  INTEGER NOT NULL,
    client  INTEGER NOT NULL,
    props   TEXT,
    line    INTEGER,
    person  INTEGER,
    revenue INTEGER,
    PRIMARY KEY (site, visit, later)
) STRICT, WITHOUT ROWID;

CREATE TABLE visits (
    site      INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    origin    INTEGER NOT NULL,
    client    INTEGER NOT NULL,
    entry     INTEGER,
    exit      INTEGER,
    seen      INTEGER NOT NULL,
    visitor   INTEGER NOT NULL,
    named     INTEGER NOT NULL,
    alone     INTEGER NOT NULL,
    before    INTEGER NOT NULL,
    after     INTEGER NOT NULL,
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX visits_of_named ON visits (site, visitor, id) WHERE named = 1;

CREATE TABLE open_visits (
    site  INTEGER NOT NULL,
    guest INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    stay  INTEGER,
    PRIMARY KEY (guest, site, visit)
) STRICT, WITHOUT ROWID;

CREATE TABLE persons (
    number  INTEGER PRIMARY KEY,
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    id      TEXT NOT NULL,
    traits  TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE INDEX persons_by_age ON persons (site, created);

CREATE TABLE ties (
    site    INTEGER NOT NULL,
    visitor INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    person  INTEGER NOT NULL,
    PRIMARY KEY (site, visitor, since, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE days (
    site      INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    visitors  INTEGER NOT NULL,
    visits    INTEGER NOT NULL,
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    bounces   INTEGER NOT NULL,
    duration  INTEGER NOT NULL,
    strays    INTEGER NOT NULL,
    PRIMARY KEY (site, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE takings (
    site     INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    currency TEXT NOT NULL,
    times    INTEGER NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (site, day, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE words (
    id   INTEGER PRIMARY KEY,
    word TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE rollups (
    site      INTEGER NOT NULL,
    span      INTEGER NOT NULL,
    begins    INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    value     INTEGER NOT NULL,
    visitors  INTEGER NOT NULL,
    visits    INTEGER NOT NULL,
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    PRIMARY KEY (site, span, begins, dimension, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE settled (
    site  INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;

CREATE TABLE stale (
    site INTEGER NOT NULL,
    day  INTEGER NOT NULL,
    PRIMARY KEY (site, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE goals (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    name    TEXT NOT NULL,
    event   TEXT NOT NULL,
    path    TEXT NOT NULL,
    created INTEGER NOT NULL,
    since   INTEGER NOT NULL
) STRICT;

CREATE TABLE webhooks (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    site          INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    url           TEXT NOT NULL,
    events        TEXT NOT NULL,
    spike_above   INTEGER,
    format        TEXT NOT NULL,
    secret        TEXT NOT NULL,
    old_secret    TEXT NOT NULL,
    rotated       INTEGER NOT NULL,
    enabled       INTEGER NOT NULL,
    why           TEXT NOT NULL,
    failing_since INTEGER,
    exhausted     INTEGER NOT NULL,
    created       INTEGER NOT NULL
) STRICT;

CREATE TABLE deliveries (
    number  INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event   TEXT NOT NULL,
    body    BLOB NOT NULL,
    status  TEXT NOT NULL,
    tries   INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    token   INTEGER,
    lease   INTEGER
) STRICT;

CREATE INDEX deliveries_of_webhook ON deliveries (webhook, number);
CREATE INDEX due ON deliveries (webhook, due) WHERE status = 'pending' AND token IS NULL;
CREATE INDEX being_sent ON deliveries (lease) WHERE token IS NOT NULL;
CREATE INDEX deliveries_by_status ON deliveries (webhook, status);

CREATE TABLE attempts (
    number   INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    began    INTEGER NOT NULL,
    took     INTEGER NOT NULL,
    status   INTEGER,
    error    TEXT NOT NULL,
    words    TEXT NOT NULL,
    headers  TEXT NOT NULL,
    answer   TEXT NOT NULL
) STRICT;

CREATE INDEX attempts_of_delivery ON attempts (delivery);

CREATE TABLE marks (
    site INTEGER NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (site, mark)
) STRICT, WITHOUT ROWID;

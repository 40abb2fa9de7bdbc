-- The schema of the store, as a new store gets it. The files in `migrations/` bring older stores to the same;
-- `tests/test_schema.py` compares the two.
--
-- Names and units:
-- * `id` is an integer key inside the store; `slug`, `public_id` and `external_id` are the texts that the outside
--   sees. `x_id` refers to the `id` of an x.
-- * `…_at` is a time in Unix milliseconds, `…_ms` a duration, `…_minor` an amount in a currency's minor units.
-- * `day` and `…_day` count days since 1970-01-01 in the site's time zone.
-- * `is_…` is 1 or 0. `…_hash` is a digest, never the thing itself.
-- * An empty text stands for none; NULL stands for unknown or unlimited.
-- * Plurals (`visits`, `events`, `attempts`, …) in a row are counts.
--
-- Ids of events, visits and deliveries are Unix milliseconds << 21 | a counter, so that they sort by time.

-- Single numbers: `registry_version` (a counter that changes with every site, API key, goal and webhook),
-- `write_checked_at`, `retention_ran_at` (0 before the first run) and `rollup_values` (the setting of that name).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('registry_version', 1), ('write_checked_at', 0), ('retention_ran_at', 0);

-- Accounts and access ------------------------------------------------------------------------------------------------

-- The one administrator, in one row.
CREATE TABLE admin (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    password_hash TEXT NOT NULL,            -- with its algorithm and parameters; '' until a password is chosen
    cookie_key    BLOB NOT NULL,            -- signs cookies; replaced with every new password
    cookie_name   TEXT NOT NULL DEFAULT ''  -- '' until the first new password: then it is derived from the key
) STRICT;

INSERT INTO admin VALUES (1, '', randomblob(32), '');

-- A browser that is logged in.
CREATE TABLE login_sessions (
    token_hash BLOB PRIMARY KEY, -- SHA-256 of the token in the browser's cookie
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A website or app whose events are counted.
CREATE TABLE sites (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so no event ever changes its site
    slug            TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    domain          TEXT NOT NULL,
    timezone        TEXT NOT NULL,                     -- an IANA name; days begin at its midnight
    public_key      TEXT NOT NULL UNIQUE,              -- not secret: web pages contain it
    jwt_secret      TEXT NOT NULL,
    monthly_limit   INTEGER,                           -- events a month; triggers `usage.threshold`
    retention_days  INTEGER,                           -- older events are deleted
    created_at      INTEGER NOT NULL,
    identity_secret BLOB NOT NULL DEFAULT x'',         -- hashes the IDs of visitors and persons that clients send
    allowed_hosts   TEXT NOT NULL DEFAULT '',          -- separated by spaces; '' for all
    hourly_limit    INTEGER,                           -- requests without a key, per hour and IP address
    hourly_events   INTEGER                            -- events without a key, per hour and IP address
) STRICT;

-- A secret with which servers send events and read statistics.
CREATE TABLE api_keys (
    public_id    TEXT PRIMARY KEY,
    site_id      INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    label        TEXT NOT NULL,
    tier         TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')), -- the plan whose rate limit applies
    hourly_limit INTEGER,              -- replaces the tier's rate limit
    key_hash     BLOB NOT NULL UNIQUE, -- SHA-256
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE INDEX api_keys_by_site ON api_keys (site_id);

-- A public link to a site's dashboard.
CREATE TABLE shared_links (
    site_id       INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, -- '' if the link needs no password
    created_at    INTEGER NOT NULL
) STRICT;

-- A note on a day in a site's dashboard.
CREATE TABLE annotations (
    public_id TEXT PRIMARY KEY,
    site_id   INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    day       INTEGER NOT NULL,
    text      TEXT NOT NULL
) STRICT;

CREATE INDEX annotations_by_day ON annotations (site_id, day);

-- Requests and limits ------------------------------------------------------------------------------------------------

-- The response to a request with an Idempotency-Key, for 24 hours.
CREATE TABLE idempotent_responses (
    site_id          INTEGER NOT NULL,
    credential_class TEXT NOT NULL, -- 'key' for an API key or a JWT, 'public' for neither
    idempotency_key  TEXT NOT NULL,
    request_hash     BLOB NOT NULL, -- of path and body
    http_status      INTEGER NOT NULL,
    body             BLOB NOT NULL,
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (site_id, credential_class, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotent_responses_by_age ON idempotent_responses (created_at);

-- What a principal with a rate limit sent in one second. Rows are kept for an hour.
CREATE TABLE rate_limit_counters (
    principal   TEXT NOT NULL,    -- the public_id of an API key, or a site and the hash of an IP address
    unix_second INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (principal, unix_second)
) STRICT, WITHOUT ROWID;

-- How many counted events a site received in a month.
CREATE TABLE monthly_usage (
    site_id INTEGER NOT NULL,
    month   TEXT NOT NULL, -- 2026-11, in UTC
    events  INTEGER NOT NULL,
    PRIMARY KEY (site_id, month)
) STRICT, WITHOUT ROWID;

-- Events and visits --------------------------------------------------------------------------------------------------

-- A site's secret for one day, with which visitors are hashed. It is deleted after that day, so that nobody can trace a
-- visitor back to an IP address.
CREATE TABLE salts (
    site_id INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day     INTEGER NOT NULL,
    salt    BLOB NOT NULL
) STRICT;

-- Lookup table of events: where it happened.
CREATE TABLE pages (
    id     INTEGER PRIMARY KEY,
    scheme TEXT NOT NULL,
    host   TEXT NOT NULL,
    path   TEXT NOT NULL,
    UNIQUE (path, host, scheme)
) STRICT;

-- Lookup table of events and visits: where the visitor came from.
CREATE TABLE traffic_sources (
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

-- Lookup table of events and visits: what the visitor used, and in which country.
CREATE TABLE clients (
    id      INTEGER PRIMARY KEY,
    browser TEXT NOT NULL,
    os      TEXT NOT NULL,
    device  TEXT NOT NULL,
    country TEXT NOT NULL,
    UNIQUE (browser, os, device, country)
) STRICT;

-- Lookup table of events: what happened.
CREATE TABLE event_types (
    id              INTEGER PRIMARY KEY,
    api             TEXT NOT NULL, -- the dialect in which it was sent, or 'import'
    type            TEXT NOT NULL, -- 'pageview', 'event', …
    name            TEXT NOT NULL,
    excluded_reason TEXT NOT NULL, -- why these events are not counted ('bot'); '' if they are
    context         TEXT NOT NULL, -- 'website', 'product' or ''
    currency        TEXT NOT NULL, -- of the revenue; '' without revenue
    UNIQUE (name, type, api, excluded_reason, context, currency)
) STRICT;

-- Accepted events that are not in `events` yet, in the order in which they arrived. The projection reads the oldest rows,
-- and deletes them in the transaction that writes what follows from their events.
CREATE TABLE event_journal (
    seq         INTEGER PRIMARY KEY,
    event_count INTEGER NOT NULL,
    events      BLOB NOT NULL -- MessagePack: see `storage.ledger.event_journal`
) STRICT;

-- One row for each event, next to the other events of its visit. Its own id is visit_id + id_offset.
CREATE TABLE events (
    site_id           INTEGER NOT NULL,
    visit_id          INTEGER NOT NULL, -- the id of the event that began the visit; its own id if it is in no visit
    id_offset         INTEGER NOT NULL, -- negative if the event happened before that one and arrived later
    event_type_id     INTEGER NOT NULL,
    page_id           INTEGER NOT NULL,
    traffic_source_id INTEGER NOT NULL,
    client_id         INTEGER NOT NULL,
    props             TEXT,             -- custom properties: a JSON object
    person_id         INTEGER,          -- the person that the request named; otherwise, see identity_links
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;

-- The revenue of an event. Few events have any, and a column without a value would take a byte of each of the others.
CREATE TABLE event_revenue (
    site_id      INTEGER NOT NULL,
    visit_id     INTEGER NOT NULL,
    id_offset    INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL, -- in the event type's currency
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;

-- The lines of access logs that were imported, so that no line is imported twice.
CREATE TABLE imported_lines (
    site_id   INTEGER NOT NULL,
    logged_at INTEGER NOT NULL, -- the time of the line's event
    line_hash INTEGER NOT NULL, -- of the line without its IP address: 31 bits
    PRIMARY KEY (site_id, logged_at, line_hash)
) STRICT, WITHOUT ROWID;

-- The events of a visitor without a gap of 30 minutes between them.
CREATE TABLE visits (
    site_id              INTEGER NOT NULL,
    id                   INTEGER NOT NULL, -- that of the event that began it: the first to arrive
    traffic_source_id    INTEGER NOT NULL, -- of its earliest event
    client_id            INTEGER NOT NULL, -- of its earliest event
    entry_page_id        INTEGER,          -- the first page viewed; NULL without a pageview
    exit_page_id         INTEGER,          -- the last page viewed
    page_type_bloom      INTEGER NOT NULL, -- a Bloom filter: a bit for each of its pages and event types
    visitor_id           INTEGER NOT NULL, -- 48 bits; changes every day unless the client identified the visitor
    flags                INTEGER NOT NULL, -- the two that follow; a column for each would take a byte more
    is_only_visit_of_day INTEGER AS (flags & 1),  -- whether the visitor has no other visit on its day
    is_identified        INTEGER AS (flags >> 1), -- whether the client identified the visitor
    early_ms             INTEGER NOT NULL, -- from its earliest event to the one that began it
    elapsed_ms           INTEGER NOT NULL, -- from the event that began it to its last one
    pageviews            INTEGER NOT NULL,
    other_events         INTEGER NOT NULL, -- mostly 0, which takes no space
    events               INTEGER AS (pageviews + other_events),
    PRIMARY KEY (site_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX visits_by_identified_visitor ON visits (site_id, visitor_id, id) WHERE is_identified = 1;

-- Finds the visits of today's visitors that may continue. Its rows are deleted with the salt.
CREATE TABLE open_visits (
    site_id          INTEGER NOT NULL,
    daily_visitor_id INTEGER NOT NULL, -- 48 bits, for one day, for identified visitors too
    visit_id         INTEGER NOT NULL,
    session_key      INTEGER,          -- a hash of the client's session ID; NULL if it sent none
    PRIMARY KEY (daily_visitor_id, site_id, visit_id)
) STRICT, WITHOUT ROWID;

-- A user of a site whom clients have identified.
CREATE TABLE persons (
    id          INTEGER PRIMARY KEY, -- a hash of the external_id with the site's identity_secret
    site_id     INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    external_id TEXT NOT NULL,       -- the client's own ID for them
    traits      TEXT NOT NULL,       -- what clients sent about them: a JSON object
    created_at  INTEGER NOT NULL     -- the time of the first event that named them
) STRICT;

CREATE INDEX persons_by_age ON persons (site_id, created_at);

-- From this time on, a visitor is this person. Before the first link, the visitor is that link's person too.
CREATE TABLE identity_links (
    site_id    INTEGER NOT NULL,
    visitor_id INTEGER NOT NULL,
    linked_at  INTEGER NOT NULL,
    person_id  INTEGER NOT NULL, -- 0 if the person was erased
    PRIMARY KEY (site_id, visitor_id, linked_at, person_id)
) STRICT, WITHOUT ROWID;

-- Rollups: projections of events and visits, which can be rebuilt from them ------------------------------------------

-- The totals of a site's day.
CREATE TABLE daily_totals (
    site_id            INTEGER NOT NULL,
    day                INTEGER NOT NULL,
    visitors           INTEGER NOT NULL,
    visits             INTEGER NOT NULL,
    pageviews          INTEGER NOT NULL,
    events             INTEGER NOT NULL,
    bounces            INTEGER NOT NULL, -- visits with one event
    duration_ms        INTEGER NOT NULL, -- of all visits together
    sessionless_events INTEGER NOT NULL, -- events that are in no visit
    PRIMARY KEY (site_id, day)
) STRICT, WITHOUT ROWID;

-- The revenue of a site's day in one currency.
CREATE TABLE daily_revenue (
    site_id      INTEGER NOT NULL,
    day          INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    transactions INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (site_id, day, currency)
) STRICT, WITHOUT ROWID;

-- Lookup table of rollups: the text of a value.
CREATE TABLE dimension_values (
    id    INTEGER PRIMARY KEY,
    value TEXT NOT NULL UNIQUE
) STRICT;

-- The counts of one value of a dimension, on a day or in a week (from Monday) that is over.
CREATE TABLE rollups (
    site_id     INTEGER NOT NULL,
    period_days INTEGER NOT NULL, -- 1 or 7
    start_day   INTEGER NOT NULL,
    dimension   INTEGER NOT NULL, -- a value of the enum Dimension
    value_id    INTEGER NOT NULL, -- of a dimension_value, a goal or a person; 0 for all other values together
    visitors    INTEGER NOT NULL, -- of a week: the sum of its days
    visits      INTEGER NOT NULL,
    pageviews   INTEGER NOT NULL, -- 0 if the dimension describes visits; so is `events`
    events      INTEGER NOT NULL,
    PRIMARY KEY (site_id, period_days, start_day, dimension, value_id)
) STRICT, WITHOUT ROWID;

-- A site's days before this one are over: exit pages are counted, and weeks are added up.
CREATE TABLE finalized (
    site_id    INTEGER PRIMARY KEY,
    before_day INTEGER NOT NULL
) STRICT;

-- A day whose rollups must be rebuilt.
CREATE TABLE dirty_days (
    site_id INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    PRIMARY KEY (site_id, day)
) STRICT, WITHOUT ROWID;

-- Goals, webhooks and deliveries -------------------------------------------------------------------------------------

-- What a site wants its visitors to do: an event, or a view of certain paths.
CREATE TABLE goals (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id        TEXT NOT NULL UNIQUE,
    site_id          INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    name             TEXT NOT NULL,
    event_name       TEXT NOT NULL, -- '' if path_pattern is set
    path_pattern     TEXT NOT NULL, -- '' if event_name is set
    created_at       INTEGER NOT NULL,
    counted_from_day INTEGER NOT NULL -- rollups count it from this day on; 0 if they cover all days
) STRICT;

-- A URL that receives messages about a site.
CREATE TABLE webhooks (
    id                INTEGER PRIMARY KEY,
    public_id         TEXT NOT NULL UNIQUE,
    site_id           INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    url               TEXT NOT NULL,
    event_names       TEXT NOT NULL,    -- which messages it gets, separated by spaces
    spike_threshold   INTEGER,          -- active visitors, for realtime.spike
    body_format       TEXT NOT NULL,    -- json, slack or discord
    secret            TEXT NOT NULL,    -- not hashed, because it signs messages
    previous_secret   TEXT NOT NULL,    -- also signs for a day after rotated_at; '' if there is none
    rotated_at        INTEGER NOT NULL,
    is_enabled        INTEGER NOT NULL,
    disabled_reason   TEXT NOT NULL,    -- '' if a person disabled it
    first_failed_at   INTEGER,          -- the first failed attempt since the last success
    failed_deliveries INTEGER NOT NULL, -- deliveries since then whose attempts all failed
    created_at        INTEGER NOT NULL
) STRICT;

-- The outbox and the delivery log: a message to one webhook.
CREATE TABLE deliveries (
    id               INTEGER PRIMARY KEY,
    webhook_id       INTEGER NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event_name       TEXT NOT NULL,
    body             BLOB NOT NULL,    -- the exact bytes, the same in all attempts
    status           TEXT NOT NULL,    -- pending, delivered, failed, throttled or skipped
    attempts         INTEGER NOT NULL, -- finished attempts since it was last queued
    next_attempt_at  INTEGER NOT NULL,
    lease_token      INTEGER,          -- of the process that is sending it now
    lease_expires_at INTEGER
) STRICT;

CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_by_status ON deliveries (webhook_id, status);
CREATE INDEX deliveries_by_lease ON deliveries (lease_expires_at) WHERE lease_token IS NOT NULL;
CREATE INDEX deliveries_to_send ON deliveries (webhook_id, next_attempt_at)
    WHERE status = 'pending' AND lease_token IS NULL;

-- One attempt to send a delivery.
CREATE TABLE attempts (
    id              INTEGER PRIMARY KEY,
    delivery_id     INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    started_at      INTEGER NOT NULL,
    duration_ms     INTEGER NOT NULL,
    http_status     INTEGER,       -- NULL without a response
    error_code      TEXT NOT NULL, -- '' if it was delivered
    hint            TEXT NOT NULL, -- what to do about the error
    request_headers TEXT NOT NULL, -- a JSON object
    response_body   TEXT NOT NULL  -- the first part of it
) STRICT;

CREATE INDEX attempts_by_delivery ON attempts (delivery_id);

-- An alert that was sent and must not be sent again.
CREATE TABLE fired_alerts (
    site_id    INTEGER NOT NULL,
    dedupe_key TEXT NOT NULL, -- 'usage 2026-11 80', for example
    PRIMARY KEY (site_id, dedupe_key)
) STRICT, WITHOUT ROWID;

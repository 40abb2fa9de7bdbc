-- Goals, webhooks, and what is on its way to them.

CREATE TABLE goals (
    id      TEXT PRIMARY KEY,
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    name    TEXT NOT NULL,
    event   TEXT NOT NULL, -- the name of an event; '' where a path meets it
    path    TEXT NOT NULL, -- a pattern of paths; '' where an event meets it
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE webhooks (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    site          INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    url           TEXT NOT NULL,
    events        TEXT NOT NULL,    -- of which it is told, separated by spaces
    spike_above   INTEGER,          -- active visitors
    format        TEXT NOT NULL,    -- json, slack or discord
    secret        TEXT NOT NULL,    -- signs what is sent, so it cannot be a hash
    old_secret    TEXT NOT NULL,    -- the one before; '' if there is none
    rotated       INTEGER NOT NULL, -- when that one gave way
    enabled       INTEGER NOT NULL, -- 1 or 0
    why           TEXT NOT NULL,    -- why it was disabled, if nobody did it by hand
    failing_since INTEGER,          -- when the first try failed that no success followed
    exhausted     INTEGER NOT NULL, -- deliveries since then that are not tried any more
    created       INTEGER NOT NULL
) STRICT;

-- A message to one webhook. The number has its time in it, as an event's does.
CREATE TABLE deliveries (
    number  INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event   TEXT NOT NULL,
    body    BLOB NOT NULL,    -- the very bytes, for all tries
    status  TEXT NOT NULL,    -- pending, delivered, failed, throttled or skipped
    tries   INTEGER NOT NULL, -- that ended, since it was last sent off
    due     INTEGER NOT NULL,
    token   INTEGER,          -- of whoever is sending it now
    lease   INTEGER           -- until when they have it
) STRICT;

CREATE INDEX deliveries_of_webhook ON deliveries (webhook, number);
CREATE INDEX due ON deliveries (webhook, due) WHERE status = 'pending' AND token IS NULL;
CREATE INDEX being_sent ON deliveries (lease) WHERE token IS NOT NULL;

CREATE TABLE attempts (
    number   INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    began    INTEGER NOT NULL, -- Unix ms
    took     INTEGER NOT NULL, -- ms
    status   INTEGER,          -- HTTP's
    error    TEXT NOT NULL,    -- a word; '' if it was delivered
    words    TEXT NOT NULL,    -- what to do about it
    headers  TEXT NOT NULL,    -- of the request: a JSON object
    answer   TEXT NOT NULL     -- the beginning of its body
) STRICT;

CREATE INDEX attempts_of_delivery ON attempts (delivery);

-- Events that a site was sent in a month (UTC).
CREATE TABLE months (
    site   INTEGER NOT NULL,
    month  TEXT NOT NULL, -- 2026-11
    events INTEGER NOT NULL,
    PRIMARY KEY (site, month)
) STRICT, WITHOUT ROWID;

INSERT INTO months
SELECT site, strftime('%Y-%m', 'now'), count(*) FROM events JOIN kinds ON kinds.id = kind
WHERE excluded = '' AND line IS NULL
    AND events.id >= CAST(strftime('%s', 'now', 'start of month') AS INTEGER) * 1000 << 21
GROUP BY site;

-- What was told already, and is not to be told again.
CREATE TABLE marks (
    site INTEGER NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (site, mark)
) STRICT, WITHOUT ROWID;

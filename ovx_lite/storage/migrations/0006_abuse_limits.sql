-- What keeps one caller from costing all others too much.

ALTER TABLE sites ADD COLUMN hourly_events INTEGER; -- events without a key, per address; NULL for no limit

-- Whoever sends an Idempotency-Key without credentials does not use up the same key of whoever has some.
CREATE TABLE answers_by_credential (
    site             INTEGER NOT NULL,
    credential_class TEXT NOT NULL, -- 'key' for an API key or a JWT, 'public' for neither
    key              TEXT NOT NULL,
    fingerprint      BLOB NOT NULL, -- of path and body
    status           INTEGER NOT NULL,
    body             BLOB NOT NULL,
    answered         INTEGER NOT NULL,
    PRIMARY KEY (site, credential_class, key)
) STRICT, WITHOUT ROWID;

-- Until now, all endpoints without credentials answered 200, and all others 201 or 202.
INSERT INTO answers_by_credential
SELECT site, CASE status WHEN 200 THEN 'public' ELSE 'key' END, key, fingerprint, status, body, answered FROM answers;

DROP TABLE answers;
ALTER TABLE answers_by_credential RENAME TO answers;
CREATE INDEX answers_by_age ON answers (answered);

-- When retention last ran while the clock was plausible (Unix ms); 0 before the first run. In a store that is upgraded,
-- the latest time that it knows of: an id of an event has its time above 21 bits.
INSERT INTO meta
SELECT 'retention_ran_at_ms', coalesce(max(ms), 0) FROM (
    SELECT created AS ms FROM sites
    UNION ALL SELECT created FROM keys
    UNION ALL SELECT began FROM sessions
    UNION ALL SELECT value FROM meta WHERE name = 'touched'
    UNION ALL SELECT (SELECT max(visit) >> 21 FROM events WHERE site = number) FROM sites
);

-- A new password makes a new key for cookies; their name stays.
ALTER TABLE admin ADD COLUMN cookie_name TEXT NOT NULL DEFAULT ''; -- '' until the first new password: after the key

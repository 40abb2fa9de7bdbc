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

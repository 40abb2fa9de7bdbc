-- Whoever looks after the sites: one password, and where they are logged in with it. And what they see.

CREATE TABLE admin (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    password   TEXT NOT NULL, -- its hash, with how it was made; '' until one is chosen
    cookie_key BLOB NOT NULL  -- signs the cookies
) STRICT;

INSERT INTO admin VALUES (1, '', randomblob(32));

CREATE TABLE sessions (
    digest BLOB PRIMARY KEY, -- SHA-256 of what the browser has
    began  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE keys ADD COLUMN last_used INTEGER;

-- How often a goal was met on a day (days since 1970-01-01) of its site.
CREATE TABLE goal_days (
    goal  TEXT NOT NULL REFERENCES goals ON DELETE CASCADE,
    day   INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (goal, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_by_status ON deliveries (webhook, status);
CREATE INDEX keys_of_site ON keys (site);
CREATE INDEX persons_by_age ON persons (site, created);

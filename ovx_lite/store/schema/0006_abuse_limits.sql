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

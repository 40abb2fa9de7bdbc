-- Events stand with their visits; visits have what they are asked about; and what is counted of them, by day and week.

CREATE TABLE events_of_visits (
    site    INTEGER NOT NULL,
    visit   INTEGER NOT NULL, -- the id of the event that began the visit; its own if it is in none
    later   INTEGER NOT NULL, -- how much greater its id is than that
    kind    INTEGER NOT NULL,
    page    INTEGER NOT NULL,
    origin  INTEGER NOT NULL,
    client  INTEGER NOT NULL,
    props   TEXT,
    line    INTEGER,          -- of imported events: a digest of the log line, without its address
    person  INTEGER,          -- who the caller said it was; of other events, `ties` may know
    revenue INTEGER,          -- in minor units of the kind's currency
    PRIMARY KEY (site, visit, later)
) STRICT, WITHOUT ROWID;

-- What tells of how a page was looked at is no event of its own, so it makes no visit.
CREATE TEMP TABLE lookers AS
SELECT site, id - visit AS id FROM events
WHERE visit IS NOT NULL GROUP BY 1, 2
HAVING sum(kind NOT IN (SELECT id FROM kinds WHERE name = 'engagement' AND api = 'apex')) = 0;

INSERT INTO events_of_visits
SELECT site, CASE WHEN visit IS NULL OR looked THEN id ELSE id - visit END,
    CASE WHEN visit IS NULL OR looked THEN 0 ELSE visit END, kind, page, origin, client, props, line, person, revenue
FROM (SELECT *, (site, id - visit) IN (SELECT site, id FROM lookers) AS looked FROM events);

DELETE FROM visits WHERE (site, id) IN (SELECT site, id FROM lookers);
DROP TABLE lookers;
DROP TABLE events;
ALTER TABLE events_of_visits RENAME TO events;

CREATE TABLE visits_with_answers (
    site      INTEGER NOT NULL,
    id        INTEGER NOT NULL, -- that of the event that began it
    origin    INTEGER NOT NULL, -- of its earliest event
    client    INTEGER NOT NULL, -- of its earliest event
    entry     INTEGER,          -- the first page that was viewed, if one was
    exit      INTEGER,          -- the last page that was viewed
    seen      INTEGER NOT NULL, -- a bit for each page and kind of its events, which others may have, too
    visitor   INTEGER NOT NULL, -- 48 bits; nobody's on any other day, unless the caller named them
    named     INTEGER NOT NULL, -- 1 if the caller named them
    alone     INTEGER NOT NULL, -- 1 if it is the visitor's only one on its day
    before    INTEGER NOT NULL, -- milliseconds by which an event that was told late preceded the one that began it
    after     INTEGER NOT NULL, -- milliseconds from there to the last event
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL, -- all of them, pageviews too
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;

-- Of what was told before, not all is known: it counts as named by the caller, and as having seen everything.
INSERT INTO visits_with_answers
SELECT site, id,
    (SELECT origin FROM events WHERE site = visits.site AND visit = visits.id ORDER BY later LIMIT 1),
    (SELECT client FROM events WHERE site = visits.site AND visit = visits.id ORDER BY later LIMIT 1),
    (SELECT page FROM events JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page
        WHERE site = visits.site AND visit = visits.id AND type = 'pageview' AND path <> '' ORDER BY later LIMIT 1),
    (SELECT page FROM events JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page
        WHERE site = visits.site AND visit = visits.id AND type = 'pageview' AND path <> '' ORDER BY later DESC LIMIT 1),
    -1, visitor, 1, 0, before, after, pageviews,
    (SELECT count(*) FROM events JOIN kinds ON kinds.id = kind
        WHERE site = visits.site AND visit = visits.id AND NOT (name = 'engagement' AND api = 'apex'))
FROM visits;

DROP TABLE visits;
ALTER TABLE visits_with_answers RENAME TO visits;
CREATE INDEX visits_of_named ON visits (site, visitor, id) WHERE named = 1;

-- Where to find the visits that may go on: those told of under today's salt.
CREATE TABLE open_visits_of_guests (
    site  INTEGER NOT NULL,
    guest INTEGER NOT NULL, -- the visitor on that day
    visit INTEGER NOT NULL,
    stay  INTEGER,          -- the session that the caller named, if they did
    PRIMARY KEY (guest, site, visit)
) STRICT, WITHOUT ROWID;

INSERT INTO open_visits_of_guests SELECT site, stay, visit, NULL FROM open_visits;
DROP TABLE open_visits;
ALTER TABLE open_visits_of_guests RENAME TO open_visits;

-- A site's days (days since 1970-01-01, in its time zone).
CREATE TABLE days (
    site      INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    visitors  INTEGER NOT NULL,
    visits    INTEGER NOT NULL,
    pageviews INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    bounces   INTEGER NOT NULL,
    duration  INTEGER NOT NULL, -- of all visits together, in milliseconds
    strays    INTEGER NOT NULL, -- events that are in no visit
    PRIMARY KEY (site, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE takings (
    site     INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    currency TEXT NOT NULL,
    times    INTEGER NOT NULL,
    amount   INTEGER NOT NULL, -- in minor units
    PRIMARY KEY (site, day, currency)
) STRICT, WITHOUT ROWID;

-- What the pages, sources, … of a site's days and weeks are called.
CREATE TABLE words (
    id   INTEGER PRIMARY KEY,
    word TEXT NOT NULL UNIQUE
) STRICT;

-- The same for each page, each source, …; and, when it is over, for a week from Monday on.
CREATE TABLE rollups (
    site      INTEGER NOT NULL,
    span      INTEGER NOT NULL, -- 1 or 7 days
    begins    INTEGER NOT NULL, -- the first of them
    dimension INTEGER NOT NULL,
    value     INTEGER NOT NULL, -- a word, but of goals and persons their number
    visitors  INTEGER NOT NULL, -- of each of the days
    visits    INTEGER NOT NULL,
    pageviews INTEGER NOT NULL, -- none where the dimension is the visit's, as here
    events    INTEGER NOT NULL,
    PRIMARY KEY (site, span, begins, dimension, value)
) STRICT, WITHOUT ROWID;

-- A site's days before this one are over: their weeks are added up, and the pages on which visits ended are counted.
CREATE TABLE settled (
    site  INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;

-- The days that are to be counted anew.
CREATE TABLE stale (
    site INTEGER NOT NULL,
    day  INTEGER NOT NULL,
    PRIMARY KEY (site, day)
) STRICT, WITHOUT ROWID;

-- Time zones are not known here: the days before and after are looked at, too.
INSERT OR IGNORE INTO stale
SELECT DISTINCT site, (visit + later >> 21) / 86400000 + shift
FROM events CROSS JOIN (SELECT -1 AS shift UNION ALL SELECT 0 UNION ALL SELECT 1);

CREATE TABLE goals_with_numbers (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    name    TEXT NOT NULL,
    event   TEXT NOT NULL, -- the name of an event; '' where a path meets it
    path    TEXT NOT NULL, -- a pattern of paths; '' where an event meets it
    created INTEGER NOT NULL,
    since   INTEGER NOT NULL -- the day from which on it is counted; those before are yet to be
) STRICT;

INSERT INTO goals_with_numbers (id, site, name, event, path, created, since)
SELECT id, site, name, event, path, created, 0 FROM goals ORDER BY created, id;
DROP TABLE goal_days;
DROP TABLE goals;
ALTER TABLE goals_with_numbers RENAME TO goals;

-- Who may look at a site without a password of ours, and what its owners wrote beside its days.
CREATE TABLE shares (
    site     INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token    TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL, -- its hash, '' for none
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE annotations (
    id   TEXT PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX annotations_of_site ON annotations (site, day);

PRAGMA application_id = 1870035052;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE answers (
    site        INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL, -- of path and body
    status      INTEGER NOT NULL,
    body        BLOB NOT NULL,
    answered    INTEGER NOT NULL,
    PRIMARY KEY (site, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "answers" VALUES
(1,'key-1',X'E7FF704502812AABBE0196D127F7FB13',201,X'7B2273756363657373223A747275652C226576656E745F6964223A226576745F33333434613338383366346262383866227D',1795332174869);
CREATE TABLE clients (
    id      INTEGER PRIMARY KEY,
    browser TEXT NOT NULL,
    os      TEXT NOT NULL,
    device  TEXT NOT NULL,
    country TEXT NOT NULL,
    UNIQUE (browser, os, device, country)
) STRICT;
INSERT INTO "clients" VALUES
(1,'Chrome','Windows','desktop',''),
(2,'Safari','iOS','mobile',''),
(3,'Chrome','Windows','desktop','FR'),
(4,'Googlebot','','',''),
(5,'','','','');
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
INSERT INTO "events" VALUES
(1,3693532623668197267,1,1,1,1,0,NULL,1316618514),
(1,3693532623668197268,1,1,1,1,1,NULL,2116170787),
(1,3693623218537445269,1,2,2,2,0,NULL,976570908),
(1,3693697460339456134,2,6,2,3,-1258291199997,NULL,NULL),
(1,3693698718630656131,2,3,3,3,0,NULL,NULL),
(1,3693699347776256132,2,4,2,3,629145600001,NULL,NULL),
(1,3693699473605376133,3,5,2,3,754974720002,'{"plan":"pro","seats":3,"trial":true,"price":0.1,"note":"\"Größe\"\n尺寸"}',NULL),
(1,3693710043251456135,2,3,2,3,0,NULL,NULL),
(1,3693895012057856138,4,9,2,4,NULL,NULL,NULL),
(1,3693984979878656136,2,7,2,3,0,NULL,NULL),
(1,3693986238169856137,2,8,2,3,0,NULL,NULL),
(1,3694004483392256139,2,3,4,2,0,NULL,NULL),
(1,3694012033139456140,2,10,2,2,0,NULL,NULL),
(1,3694249850176256142,3,5,2,5,NULL,'{"plan":"free"}',NULL),
(1,3694257399923456143,2,12,2,2,0,NULL,NULL),
(1,3694359321510656141,2,11,2,5,NULL,NULL,NULL),
(2,3693819388756736144,2,3,2,3,0,NULL,NULL),
(2,3693819514585856145,2,3,2,3,0,NULL,NULL);
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
INSERT INTO "keys" VALUES
('key_d99d25a60552',1,'server','enterprise',NULL,X'6679DB223AB024F0B1FAEFF91733487525EA556F70A0B05986EBB140A68E6E67',1795332171519,NULL),
('key_215045d65f0c',1,'old','enterprise',NULL,X'427F086ACC8D4A6C62A5A4DC0385FA82229E9A88A3D11A1478BE129F1C63BCE8',1795332172055,1795332172518),
('key_9d4278ea6620',2,'','enterprise',500,X'012DC51DBD32CF3DE23896130F22E1F95EC263A364F5ABBFF884D1C783FDBAD3',1795332172907,NULL);
CREATE TABLE kinds (
    id       INTEGER PRIMARY KEY,
    api      TEXT NOT NULL,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL,
    excluded TEXT NOT NULL, -- why it is in no count ('bot'); '' if it is
    UNIQUE (name, type, api, excluded)
) STRICT;
INSERT INTO "kinds" VALUES
(1,'import','pageview','pageview',''),
(2,'ovyxa','pageview','pageview',''),
(3,'ovyxa','event','signup',''),
(4,'ovyxa','pageview','pageview','bot');
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES
('registry',7),
('touched',0);
CREATE TABLE open_visits (
    site    INTEGER NOT NULL,
    visitor INTEGER NOT NULL,
    visit   INTEGER NOT NULL,
    PRIMARY KEY (visitor, site, visit)
) STRICT, WITHOUT ROWID;
INSERT INTO "open_visits" VALUES
(2,-89932330313275,3693819388756736144),
(1,-31547964265494,3694257399923456143),
(1,19015978266624,3693532623668197267),
(1,19047721208073,3693698718630656131),
(1,19047721208073,3693710043251456135),
(1,43244851238235,3694004483392256139),
(1,43244851238235,3694012033139456140),
(2,51410585297695,3693819514585856145),
(1,89023916485938,3693984979878656136),
(1,126781677392036,3693986238169856137),
(1,134305218779307,3693623218537445269);
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
INSERT INTO "origins" VALUES
(1,'duckduckgo.com/','duckduckgo','search','','','','',''),
(2,'','direct','direct','','','','',''),
(3,'www.google.com/search','google','search','','','','',''),
(4,'','news','email','News','email','May','top','x');
CREATE TABLE pages (
    id     INTEGER PRIMARY KEY,
    scheme TEXT NOT NULL,
    host   TEXT NOT NULL,
    path   TEXT NOT NULL,
    UNIQUE (path, host, scheme)
) STRICT;
INSERT INTO "pages" VALUES
(1,'https','example.com','/from-the-log'),
(2,'https','example.com','/pricing/x'),
(3,'https','example.com','/'),
(4,'https','example.com','/pricing/plans'),
(5,'https','example.com','/signup'),
(6,'https','example.com','/told/late'),
(7,'https','example.com','/blog/größe'),
(8,'https','example.com','/blog/one'),
(9,'https','example.com','/pricing/seen-by-a-bot'),
(10,'https','example.com','/pricing'),
(11,'app','main','/start'),
(12,'https','example.com','/pricing/once');
CREATE TABLE salts (
    site INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    salt BLOB NOT NULL
) STRICT;
INSERT INTO "salts" VALUES
(1,20779,X'1D9572BCCEA5D71B89BE9E9B2D60402E7F8811A0E0DE33AED68F9692F06EC594'),
(2,20779,X'47F295902E1E9D4C08A576F5C570FEF21619D6421C0EED4EC5BDB6B8C976AFD1');
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
INSERT INTO "sites" VALUES
(1,'my-site','Größe','example.com','Europe/Paris','pk_live_8b84b57640d96606099a4523','iiyVHAcYlkHEryg4_hX5kpWh57b0PleG0hoqCoGFv3A',30,36500,1795332169854),
(2,'other-site','other-site','','UTC','pk_live_7ba182b4e4af293b42097227','DMXmsyaIcnv6pezVztGjyxGa64cVfi_JErHfqC_sl0o',NULL,NULL,1795332170654);
CREATE TABLE usage (
    caller TEXT NOT NULL,
    second INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (caller, second)
) STRICT, WITHOUT ROWID;
INSERT INTO "usage" VALUES
('key_9d4278ea6620',1795332174,2);
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
INSERT INTO "visits" VALUES
(1,3693532623668197267,19015978266624,0,0,2,2),
(1,3693623218537445269,134305218779307,0,0,1,1),
(1,3693698718630656131,19047721208073,600000,360000,3,4),
(1,3693710043251456135,19047721208073,0,0,1,1),
(1,3693984979878656136,89023916485938,0,0,1,1),
(1,3693986238169856137,126781677392036,0,0,1,1),
(1,3694004483392256139,43244851238235,0,0,1,1),
(1,3694012033139456140,43244851238235,0,0,1,1),
(1,3694257399923456143,-31547964265494,0,0,1,1),
(2,3693819388756736144,-89932330313275,0,0,1,1),
(2,3693819514585856145,51410585297695,0,0,1,1);
CREATE INDEX answers_by_age ON answers (answered);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES
('sites',2);
COMMIT;

PRAGMA application_id = 1870035052;
PRAGMA user_version = 2;
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
(1,'key-1',X'E7FF704502812AABBE0196D127F7FB13',201,X'7B2273756363657373223A747275652C226576656E745F6964223A226576745F33333434613338383366346132646330227D',1795332189532);
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
    line   INTEGER, person INTEGER, revenue INTEGER,          -- of imported events: a digest of the log line, without its address
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES
(1,3693532623668169460,1,1,1,1,0,NULL,1316618514,NULL,NULL),
(1,3693532623668169461,1,1,1,1,1,NULL,2116170787,NULL,NULL),
(1,3693623218537417462,1,2,2,2,0,NULL,976570908,NULL,NULL),
(1,3693697460339355063,2,6,2,3,-1258291199997,NULL,NULL,NULL,NULL),
(1,3693698718630555060,2,3,3,3,0,NULL,NULL,NULL,NULL),
(1,3693699347776155061,2,4,2,3,629145600001,NULL,NULL,NULL,NULL),
(1,3693699473605275062,3,5,2,3,754974720002,'{"plan":"pro","seats":3,"trial":true,"price":0.1,"note":"\"Größe\"\n尺寸"}',NULL,NULL,NULL),
(1,3693710043251355064,2,3,2,3,0,NULL,NULL,NULL,NULL),
(1,3693713818124955075,5,13,2,2,0,NULL,NULL,NULL,NULL),
(1,3693715076416155076,6,13,2,2,1258291200001,'{"amount":19.99,"currency":"EUR","item":"book"}',NULL,3040091071720686116,1999),
(1,3693728917619084682,11,15,2,5,0,NULL,NULL,1728605298832396050,NULL),
(1,3693729043448204683,12,4,2,5,125829120001,NULL,NULL,1728605298832396050,NULL),
(1,3693803156800155077,5,13,2,2,89338675200002,NULL,NULL,NULL,NULL),
(1,3693805673382555078,5,13,2,2,0,NULL,NULL,NULL,NULL),
(1,3693895012057755067,4,9,2,4,NULL,NULL,NULL,NULL,NULL),
(1,3693910237381004684,13,15,2,5,0,NULL,NULL,1728605298832396050,1500),
(1,3693925211046284673,7,14,5,2,0,NULL,NULL,NULL,NULL),
(1,3693925336875404674,8,14,2,2,125829120001,'{"ms":41000,"scroll":80}',NULL,NULL,NULL),
(1,3693932760793484675,8,13,2,2,0,'{"ms":9000,"scroll":10}',NULL,NULL,NULL),
(1,3693933012451724676,8,13,2,2,251658240001,'{"ms":2000,"scroll":90}',NULL,NULL,NULL),
(1,3693940310540684677,7,3,2,2,0,NULL,NULL,NULL,NULL),
(1,3693984979878555065,2,7,2,3,0,NULL,NULL,NULL,NULL),
(1,3693986238169755066,2,8,2,3,0,NULL,NULL,NULL,NULL),
(1,3694004483392155068,2,3,4,2,0,NULL,NULL,NULL,NULL),
(1,3694012033139355069,2,10,2,2,0,NULL,NULL,NULL,NULL),
(1,3694121504473484678,7,13,2,2,0,NULL,NULL,-3065911517238398505,NULL),
(1,3694121630302604679,9,13,2,2,125829120001,'{"text":"Buy"}',NULL,NULL,NULL),
(1,3694134087385484680,10,13,2,2,12582912000002,NULL,NULL,NULL,NULL),
(1,3694249850176155071,3,5,2,5,NULL,'{"plan":"free"}',NULL,NULL,NULL),
(1,3694257399923355072,2,12,2,2,0,NULL,NULL,NULL,NULL),
(1,3694272625246604685,14,15,2,5,0,NULL,NULL,-3065911517238398505,1234),
(1,3694272751075724686,15,5,2,5,0,NULL,NULL,NULL,NULL),
(1,3694302698406284681,7,13,2,2,0,NULL,NULL,1728605298832396050,NULL),
(1,3694359321510555070,2,11,2,5,NULL,NULL,NULL,NULL,NULL),
(2,3693819388756635073,2,3,2,3,0,NULL,NULL,NULL,NULL),
(2,3693819514585755074,2,3,2,3,0,NULL,NULL,NULL,NULL);
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
('key_10a5d1c0176e',1,'server','enterprise',NULL,X'665025DE153B49C7A38C83F08485A6947D95A455A5172F196839DAC2569D89F7',1795332184629,NULL),
('key_8a8a9b5005c8',1,'old','enterprise',NULL,X'F669F51E88144FECE99F66442EB2094E2AC05B53877E271873CC22E515818E5A',1795332185150,1795332185801),
('key_6026ab1be0f4',2,'','enterprise',500,X'E7CD34F9B00E89CD4C59D068F7D0CF8C597CCE709698E5F5541EF584879EFB6F',1795332186478,NULL);
CREATE TABLE "kinds" (
    id       INTEGER PRIMARY KEY,
    api      TEXT NOT NULL,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL,
    excluded TEXT NOT NULL, -- why it is in no count ('bot'); '' if it is
    context  TEXT NOT NULL, -- website, product or ''
    currency TEXT NOT NULL, -- what the revenue is in; '' without revenue
    UNIQUE (name, type, api, excluded, context, currency)
) STRICT;
INSERT INTO "kinds" VALUES
(1,'import','pageview','pageview','','',''),
(2,'ovyxa','pageview','pageview','','',''),
(3,'ovyxa','event','signup','','',''),
(4,'ovyxa','pageview','pageview','bot','',''),
(5,'overcentric','event','opened','','website',''),
(6,'overcentric','event','$purchase','','product','EUR'),
(7,'apex','pageview','pageview','','',''),
(8,'apex','event','engagement','','',''),
(9,'apex','click','click','','',''),
(10,'apex','form_submit','form_submit','','',''),
(11,'openanalytics','identify','identify','','',''),
(12,'openanalytics','pageview','pageview','','',''),
(13,'openanalytics','conversion','paid','','','JPY'),
(14,'openanalytics','conversion','paid','','','KWD'),
(15,'openanalytics','event','signup','','','');
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES
('registry',8),
('touched',0);
CREATE TABLE open_visits (
    site    INTEGER NOT NULL,
    stay INTEGER NOT NULL,
    visit   INTEGER NOT NULL,
    PRIMARY KEY (stay, site, visit)
) STRICT, WITHOUT ROWID;
INSERT INTO "open_visits" VALUES
(1,-126121142499587,3693940310540684677),
(1,-125921163056346,3693984979878555065),
(1,-93564194237481,3694272625246604685),
(1,-65760850045550,3693805673382555078),
(1,-59909286456241,3693623218537417462),
(1,-46684792921381,3693713818124955075),
(1,-8511844183563,3693698718630555060),
(1,-8511844183563,3693710043251355064),
(1,-5935679148383,3693925211046284673),
(1,-2074646916537,3693986238169755066),
(1,21441270653678,3694257399923355072),
(1,52752847272996,3693910237381004684),
(1,52752847272999,3693728917619084682),
(2,65689167890422,3693819514585755074),
(1,84836125190198,3693532623668169460),
(2,97225940138000,3693819388756635073),
(1,108332281035577,3694121504473484678),
(1,126071152162420,3694302698406284681),
(1,133220157784328,3693932760793484675),
(1,138561253295425,3694004483392155068),
(1,138561253295425,3694012033139355069);
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
(4,'','news','email','News','email','May','top','x'),
(5,'news.example.org/a','news.example.org','referral','','','','','');
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
(12,'https','example.com','/pricing/once'),
(13,'https','example.com','/app'),
(14,'https','example.com','/pricing/team'),
(15,'','','');
CREATE TABLE persons (
    number  INTEGER PRIMARY KEY, -- a hash of the id under the site's secret
    site    INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    id      TEXT NOT NULL,       -- the caller's
    traits  TEXT NOT NULL,       -- what callers told of them: a JSON object
    created INTEGER NOT NULL
) STRICT;
INSERT INTO "persons" VALUES
(-3065911517238398505,1,'bob','{}',1761494400250),
(1728605298832396050,1,'carol','{"name":"Carol","plan":"pro","seats":3}',1761580800250),
(3040091071720686116,1,'ada','{"email":"ada@example.com","name":"Ada"}',1761300600250);
CREATE TABLE salts (
    site INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day  INTEGER NOT NULL,
    salt BLOB NOT NULL
) STRICT;
INSERT INTO "salts" VALUES
(1,20779,X'2BE24DAEC86832CE68F98FFB5137DD44AF8E6ABDAF63727051C2024584D0A521'),
(2,20779,X'4FB7D89E35146337F80B211F90B7E53BB34D509A6489A78932F91EF3ECEE3FA2');
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
, secret BLOB NOT NULL DEFAULT x'', allowed_hosts TEXT NOT NULL DEFAULT '', hourly_limit INTEGER) STRICT;
INSERT INTO "sites" VALUES
(1,'my-site','Größe','example.com','Europe/Paris','pk_live_69f27efa204966b4b0d5f939','QZ_I_FSvft05Wk1VaSw0wHvRYs9qOYT4uVlEUxEj9Yw',30,36500,1795332183542,X'C3C57D37061A5F9BF92E0AAA1B8B0CA4CF76880B3D093CCD2FE30711950A8DF5','example.com example.org',700),
(2,'other-site','other-site','','UTC','pk_live_18312c29062f155d36cfc351','dh0kK6nlMSFSLG11U8rjgcwEQ8JYx0Fbf9bBi7QHN54',NULL,NULL,1795332184149,X'55CCC463ADE6E7246C12DBE4237AD265DB031D4C59E5261C09054F292F105836','',NULL);
CREATE TABLE ties (
    site    INTEGER NOT NULL,
    visitor INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    person  INTEGER NOT NULL,
    PRIMARY KEY (site, visitor, since, person)
) STRICT, WITHOUT ROWID;
INSERT INTO "ties" VALUES
(1,-139329544374029,1761300600250,3040091071720686116),
(1,126071152179664,1761494400250,-3065911517238398505),
(1,126071152179664,1761580800250,1728605298832396050);
CREATE TABLE usage (
    caller TEXT NOT NULL,
    second INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (caller, second)
) STRICT, WITHOUT ROWID;
INSERT INTO "usage" VALUES
('1:4644603ad947a678',1795332189,4),
('1:4644603ad947a678',1795332190,8),
('key_6026ab1be0f4',1795332189,2);
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
(1,3693532623668169460,84836125190198,0,0,2,2),
(1,3693623218537417462,-59909286456241,0,0,1,1),
(1,3693698718630555060,-8511844183563,600000,360000,3,4),
(1,3693710043251355064,-8511844183563,0,0,1,1),
(1,3693713818124955075,-139329544374029,0,42600000,0,3),
(1,3693728917619084682,52752847254406,0,60000,1,2),
(1,3693805673382555078,-139329544374029,0,0,0,1),
(1,3693910237381004684,52752847254406,0,0,0,1),
(1,3693925211046284673,-5935679168253,0,60000,1,2),
(1,3693932760793484675,133220157804202,0,120000,0,2),
(1,3693940310540684677,-126121142499587,0,0,1,1),
(1,3693984979878555065,-125921163056346,0,0,1,1),
(1,3693986238169755066,-2074646916537,0,0,1,1),
(1,3694004483392155068,138561253295425,0,0,1,1),
(1,3694012033139355069,138561253295425,0,0,1,1),
(1,3694121504473484678,126071152179664,0,6000000,1,3),
(1,3694257399923355072,21441270653678,0,0,1,1),
(1,3694272625246604685,-93564194251661,0,0,0,1),
(1,3694272751075724686,120191450451932,0,0,0,1),
(1,3694302698406284681,126071152179664,0,0,1,1),
(2,3693819388756635073,97225940138000,0,0,1,1),
(2,3693819514585755074,65689167890422,0,0,1,1);
CREATE INDEX answers_by_age ON answers (answered);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES
('sites',2);
COMMIT;

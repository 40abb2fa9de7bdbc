PRAGMA application_id = 1870035052;
PRAGMA user_version = 8;
BEGIN TRANSACTION;
CREATE TABLE admin (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    password_hash TEXT NOT NULL,            -- with its algorithm and parameters; '' until a password is chosen
    cookie_key    BLOB NOT NULL,            -- signs cookies; replaced with every new password
    cookie_name   TEXT NOT NULL DEFAULT ''  -- '' until the first new password: then it is derived from the key
) STRICT;
INSERT INTO "admin" VALUES
(1,'scrypt 16384 8 5 0FVY6gbT5LyankCBb0CiAA== 13iVAO5p0ehWL6acknN4swMBjlgRb6G5wljvWjm9Xz4=',X'3E400FC428DC5894B852FA463D1BAEE5B8DF37435303009380703DD1FD00ADA5','ovx-e56f0544');
CREATE TABLE annotations (
    public_id TEXT PRIMARY KEY,
    site_id   INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    day       INTEGER NOT NULL,
    text      TEXT NOT NULL
) STRICT;
INSERT INTO "annotations" VALUES
('note_24e47ea091a1',1,20386,'Newsletter');
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
INSERT INTO "api_keys" VALUES
('key_310890110ba6',1,'server','enterprise',NULL,X'1B2E753206932E80789918CF24408E41E69842D939EECFFE1A1294B1C248B7B3',1796135478741,NULL,1796135489433),
('key_b1865c2cfc71',1,'old','enterprise',NULL,X'298247C39E778459A8C3BF25F5345783903AA74C37E4ECC4A19ABC29BAB2B05D',1796135478946,1796135479151,NULL),
('key_655816b4a06d',2,'','enterprise',500,X'6BAAA5522C5A2722DE6ED18626E4E3076D3F38A10E5EBAF63B9A9E16393A3542',1796135479358,NULL,1796135482105);
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
INSERT INTO "attempts" VALUES
(1,3766769125309875037,1796135485362,258,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"82ef9dc312853861139b29474acdbbc5172c9c096ff010d0be150652006da6aa","webhook-id":"msg_3446408ff101035d","webhook-timestamp":"1796135485","webhook-signature":"v1,wckIzuvu0cqitC1lrmcoRSfPJsfOOg7i7HYdJwCfS0U="}','not now'),
(2,3766769125309875036,1796135485361,261,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"0503d1def6d4dd6278442c221955b6998e4b2d03531fd63eab9c715b4d760bd6","webhook-id":"msg_3446408ff101035c","webhook-timestamp":"1796135485","webhook-signature":"v1,2/mR0MT+dqarNbrHw4EDdlWMiJs+ANd+/OsgkEwduPQ= v1,hkJt7V/j26Q+JFO05yZewMmqW6Bsw78sZsFvUoYwbtE="}',''),
(3,3766769125574116191,1796135485638,2,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"9461c55dab513a04fd5ffd5cc13a617e25e91da82a0758b6c517e7102fb8dca0","webhook-id":"msg_3446409000c1035f","webhook-timestamp":"1796135485","webhook-signature":"v1,dttw8e2mVJEUsiLFQ1WjCUZcFPTMs7GuZ8JhtndGpxU="}','not now'),
(4,3766769125574116190,1796135485647,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"8f63b03b9c788ac6783a78c47c99f8e845359d9fc304b7aea33f5d8a7f9520a6","webhook-id":"msg_3446409000c1035e","webhook-timestamp":"1796135485","webhook-signature":"v1,VgX+Ya30XxaSjmgMP7VxnClfiy8RMEYwYpSr66bE0C0= v1,/yg6BiqaaifJakOmQJps3O0+8XzPHEoDVhTSaA02aSA="}',''),
(5,3766769125708333921,1796135485650,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"038c2ed12927baa2b36fc4305b7e330dda68fa663c051899f0e3040d1a4431c2","webhook-id":"msg_3446409008c10361","webhook-timestamp":"1796135485","webhook-signature":"v1,pAHj1TihchHS1bsc1NfW/F+6VbDSNRHdH1V3vtbskZ0="}','not now'),
(6,3766769125708333920,1796135485653,1,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"3420e892fc5951e9a77288b88bdf6786e4d5ef8cd5526dfa26108ae56a929732","webhook-id":"msg_3446409008c10360","webhook-timestamp":"1796135485","webhook-signature":"v1,eoOXCGxdSW6sRvVFKgvi7ERD+ayFXqL0AFN0uMezYBw= v1,M62V2QPW6r/XFf6yOKXJbnKKoVjSk4lEBtpK1OKsRks="}',''),
(7,3766769125941117795,1796135485656,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"dc6742b3dc7bdeea0a1e65141c7fef1f80d5e68011caff678797857818c71b34","webhook-id":"msg_3446409016a10363","webhook-timestamp":"1796135485","webhook-signature":"v1,XAkBuSwz0fykEuDfvxdsgBj6uPCbEof6j72MAucyT94="}','not now'),
(8,3766769125941117794,1796135485659,1,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"c8820f8c4da2f4c0ac39af54ffe2eda1147fd953e28a4364e0289c7ca3dc5c71","webhook-id":"msg_3446409016a10362","webhook-timestamp":"1796135485","webhook-signature":"v1,ERbFpRUsHJY4bX6Nme9b/2jsMTFRLZ5EFZkK5icIG5U= v1,EIvNg5Kl767EKADrduEru4jc6djl/yjH3yQdX5pFcKU="}',''),
(9,3766769125941117797,1796135485662,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"e25f2eb19c7294292ba71bf53e3b34ba8b3db2702649c6289fc5c6f10a700393","webhook-id":"msg_3446409016a10365","webhook-timestamp":"1796135485","webhook-signature":"v1,jWPcuGMQY5Qk0L9hUfI7bT5KT8LYlE1Iirj4Gitk5Rs="}','not now'),
(10,3766769125941117796,1796135485700,11,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"22c12c3446df743507c24c0d5d9fca5d889602a04c3cccdfae59dc67d34ba4d7","webhook-id":"msg_3446409016a10364","webhook-timestamp":"1796135485","webhook-signature":"v1,JyzIBooEvlBkRacKTn8keOxPPkcgVy1dBNprjlnLxPU= v1,YRjczFHVV17Md3SRhpEbJnfBwJBj7QKKmTZiKJFSws0="}','');
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
CREATE TABLE daily_revenue (
    site_id      INTEGER NOT NULL,
    day          INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    transactions INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (site_id, day, currency)
) STRICT, WITHOUT ROWID;
INSERT INTO "daily_revenue" VALUES
(1,20385,'EUR',1,1999),
(1,20386,'JPY',1,1500),
(1,20388,'KWD',1,1234);
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
INSERT INTO "daily_totals" VALUES
(1,20384,2,2,3,3,1,0,0),
(1,20385,3,4,5,10,1,43620000,0),
(1,20386,5,5,3,5,5,60000,0),
(1,20387,3,4,4,6,3,6000000,0),
(1,20388,4,4,2,5,4,0,1),
(1,20389,0,0,1,1,0,0,1),
(2,20385,1,1,1,1,1,0,0),
(2,20386,1,1,1,1,1,0,0);
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
INSERT INTO "deliveries" VALUES
(3766769125309875036,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D7D','delivered',1,1796135485638,NULL,NULL),
(3766769125309875037,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F7465616D20286E6577732E6578616D706C652E6F726729222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796135545621,NULL,NULL),
(3766769125574116190,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A33313A32355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796135485650,NULL,NULL),
(3766769125574116191,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A33313A32355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D736974652068617320757365642038302025206F6620697473206576656E7473206F6620323032362D31323A203234206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796135545647,NULL,NULL),
(3766769125708333920,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796135485656,NULL,NULL),
(3766769125708333921,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F706C616E73202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796135545653,NULL,NULL),
(3766769125941117794,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796135485662,NULL,NULL),
(3766769125941117795,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A225369676E2D75703A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F7369676E7570202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796135545659,NULL,NULL),
(3766769125941117796,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A33313A32355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796135485719,NULL,NULL),
(3766769125941117797,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A33313A32355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D73697465206861732075736564203130302025206F6620697473206576656E7473206F6620323032362D31323A203330206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796135545700,NULL,NULL);
CREATE TABLE dimension_values (
    id    INTEGER PRIMARY KEY,
    value TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "dimension_values" VALUES
(1,'pageview'),
(2,'/from-the-log'),
(3,'example.com'),
(4,'/pricing/x'),
(5,'duckduckgo.com/'),
(6,'duckduckgo'),
(7,'search'),
(8,'Chrome'),
(9,'Windows'),
(10,'desktop'),
(11,''),
(12,'direct'),
(13,'Safari'),
(14,'iOS'),
(15,'mobile'),
(16,'/'),
(17,'www.google.com/search'),
(18,'google'),
(19,'FR'),
(20,'/pricing/plans'),
(21,'signup'),
(22,'/signup'),
(23,'/told/late'),
(24,'/blog/größe'),
(25,'/blog/one'),
(26,'bot'),
(27,'news'),
(28,'email'),
(29,'News'),
(30,'May'),
(31,'top'),
(32,'x'),
(33,'/pricing'),
(34,'/start'),
(35,'main'),
(36,'/pricing/once'),
(37,'opened'),
(38,'/app'),
(39,'$purchase'),
(40,'/pricing/team'),
(41,'news.example.org/a'),
(42,'news.example.org'),
(43,'referral'),
(44,'click'),
(45,'form_submit'),
(46,'identify'),
(47,'paid');
CREATE TABLE dirty_days (
    site_id INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    PRIMARY KEY (site_id, day)
) STRICT, WITHOUT ROWID;
INSERT INTO "dirty_days" VALUES
(1,20389),
(2,20386);
CREATE TABLE event_journal (
    seq         INTEGER PRIMARY KEY,
    event_count INTEGER NOT NULL,
    events      BLOB NOT NULL -- MessagePack: see `storage.ledger.event_journal`
) STRICT;
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
INSERT INTO "event_types" VALUES
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
CREATE TABLE events (
    site_id           INTEGER NOT NULL,
    visit_id          INTEGER NOT NULL, -- the id of the event that began the visit; its own id if it is in no visit
    id_offset         INTEGER NOT NULL, -- negative if the event happened before that one and arrived later
    event_type_id     INTEGER NOT NULL,
    page_id           INTEGER NOT NULL,
    traffic_source_id INTEGER NOT NULL,
    client_id         INTEGER NOT NULL,
    props             TEXT,             -- custom properties: a JSON object
    import_line_hash  INTEGER,          -- for imported events: of the log line without its IP address
    person_id         INTEGER,          -- the person that the request named; otherwise, see identity_links
    revenue_minor     INTEGER,          -- in the event type's currency
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES
(1,3693532623668161955,0,1,1,1,1,NULL,1316618514,NULL,NULL),
(1,3693532623668161955,1,1,1,1,1,NULL,2116170787,NULL,NULL),
(1,3693623218537409957,0,1,2,2,2,NULL,976570908,NULL,NULL),
(1,3693698718630558425,-1258291199997,2,6,2,3,NULL,NULL,NULL,NULL),
(1,3693698718630558425,0,2,3,3,3,NULL,NULL,NULL,NULL),
(1,3693698718630558425,629145600001,2,4,2,3,NULL,NULL,NULL,NULL),
(1,3693698718630558425,754974720002,3,5,2,3,'{"plan":"pro","seats":3,"trial":true,"price":0.1,"note":"\"Größe\"\n尺寸"}',NULL,NULL,NULL),
(1,3693710043251358429,0,2,3,2,3,NULL,NULL,NULL,NULL),
(1,3693713818124958440,0,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693713818124958440,1258291200001,6,13,2,2,'{"amount":19.99,"currency":"EUR","item":"book"}',NULL,-2524049666788136358,1999),
(1,3693713818124958440,89338675200002,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693728917618754405,0,11,15,2,5,NULL,NULL,-1637329481307501862,NULL),
(1,3693728917618754405,125829120001,12,4,2,5,NULL,NULL,-1637329481307501862,NULL),
(1,3693805673382558443,0,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693895012057758432,0,4,9,2,4,NULL,NULL,NULL,NULL),
(1,3693910237380674407,0,13,15,2,5,NULL,NULL,-1637329481307501862,1500),
(1,3693925211045954396,0,7,14,5,2,NULL,NULL,NULL,NULL),
(1,3693925211045954396,125829120001,8,14,2,2,'{"ms":41000,"scroll":80}',NULL,NULL,NULL),
(1,3693932760793154398,0,8,13,2,2,'{"ms":9000,"scroll":10}',NULL,NULL,NULL),
(1,3693933012451394399,0,8,13,2,2,'{"ms":2000,"scroll":90}',NULL,NULL,NULL),
(1,3693940310540354400,0,7,3,2,2,NULL,NULL,NULL,NULL),
(1,3693984979878558430,0,2,7,2,3,NULL,NULL,NULL,NULL),
(1,3693986238169758431,0,2,8,2,3,NULL,NULL,NULL,NULL),
(1,3694004483392158433,0,2,3,4,2,NULL,NULL,NULL,NULL),
(1,3694012033139358434,0,2,10,2,2,NULL,NULL,NULL,NULL),
(1,3694121504473154401,0,7,13,2,2,NULL,NULL,-2868863372337122952,NULL),
(1,3694121504473154401,125829120001,9,13,2,2,'{"text":"Buy"}',NULL,NULL,NULL),
(1,3694121504473154401,12582912000002,10,13,2,2,NULL,NULL,NULL,NULL),
(1,3694249850176158436,0,3,5,2,5,'{"plan":"free"}',NULL,NULL,NULL),
(1,3694257399923358437,0,2,12,2,2,NULL,NULL,NULL,NULL),
(1,3694272625246274408,0,14,15,2,5,NULL,NULL,-2868863372337122952,1234),
(1,3694272751075394409,0,15,5,2,5,NULL,NULL,NULL,NULL),
(1,3694302698405954404,0,7,13,2,2,NULL,NULL,-1637329481307501862,NULL),
(1,3694359321510558435,0,2,11,2,5,NULL,NULL,NULL,NULL),
(2,3693819388756638438,0,2,3,2,3,NULL,NULL,NULL,NULL),
(2,3693819514585758439,0,2,3,2,3,NULL,NULL,NULL,NULL);
CREATE TABLE finalized (
    site_id    INTEGER PRIMARY KEY,
    before_day INTEGER NOT NULL
) STRICT;
INSERT INTO "finalized" VALUES
(1,20788),
(2,20788);
CREATE TABLE fired_alerts (
    site_id    INTEGER NOT NULL,
    dedupe_key TEXT NOT NULL, -- 'usage 2026-11 80', for example
    PRIMARY KEY (site_id, dedupe_key)
) STRICT, WITHOUT ROWID;
INSERT INTO "fired_alerts" VALUES
(1,'usage 2026-12 100'),
(1,'usage 2026-12 80');
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
INSERT INTO "goals" VALUES
(1,'goal_bb63b77a5fca',1,'Sign-up','signup','',1796135482521,0),
(2,'goal_42bd2f0d7ab6',1,'Pricing','','/pricing/**',1796135482768,0);
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
INSERT INTO "idempotent_responses" VALUES
(1,'key','key-1',X'E7FF704502812AABBE0196D127F7FB13',201,X'7B2273756363657373223A747275652C226576656E745F6964223A226576745F33333434613338383366346133616535227D',1796135482099);
CREATE TABLE identity_links (
    site_id    INTEGER NOT NULL,
    visitor_id INTEGER NOT NULL,
    linked_at  INTEGER NOT NULL,
    person_id  INTEGER NOT NULL, -- 0 if the person was erased
    PRIMARY KEY (site_id, visitor_id, linked_at, person_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "identity_links" VALUES
(1,-37585144614673,1761300600250,-2524049666788136358),
(1,131604583885781,1761494400250,-2868863372337122952),
(1,131604583885781,1761580800250,-1637329481307501862);
CREATE TABLE login_sessions (
    token_hash BLOB PRIMARY KEY, -- SHA-256 of the token in the browser's cookie
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "login_sessions" VALUES
(X'AF22E946A3ABD961D92AFDE2E52E2AF9F80CEF7DAB8843AA4F7E78FAB22A28A2',1796135485949);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES
('registry_version',815),
('retention_ran_at',1796135489223),
('write_checked_at',0);
CREATE TABLE monthly_usage (
    site_id INTEGER NOT NULL,
    month   TEXT NOT NULL, -- 2026-11, in UTC
    events  INTEGER NOT NULL,
    PRIMARY KEY (site_id, month)
) STRICT, WITHOUT ROWID;
INSERT INTO "monthly_usage" VALUES
(1,'2026-12',30),
(2,'2026-12',2);
CREATE TABLE open_visits (
    site_id          INTEGER NOT NULL,
    daily_visitor_id INTEGER NOT NULL, -- 48 bits, for one day, for identified visitors too
    visit_id         INTEGER NOT NULL,
    session_key      INTEGER,          -- a hash of the client's session ID; NULL if it sent none
    PRIMARY KEY (daily_visitor_id, site_id, visit_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "open_visits" VALUES
(1,-133322438740704,3693623218537409957,NULL),
(1,-122160893454801,3694004483392158433,NULL),
(1,-122160893454801,3694012033139358434,NULL),
(2,-107039636095861,3693819388756638438,NULL),
(1,-95771026106321,3694257399923358437,NULL),
(1,-88919925864303,3693532623668161955,NULL),
(1,-87550762114358,3694272625246274408,NULL),
(2,-59518359259593,3693819514585758439,NULL),
(1,-49967330380951,3693728917618754405,NULL),
(1,-49967330380950,3693910237380674407,NULL),
(1,-37585144627379,3693805673382558443,80469414941337),
(1,-37585144627378,3693713818124958440,2504921538302),
(1,-31014181037290,3693940310540354400,NULL),
(1,-13115460603599,3693698718630558425,NULL),
(1,-13115460603599,3693710043251358429,NULL),
(1,-1280792845980,3693986238169758431,NULL),
(1,89892758030809,3693984979878558430,NULL),
(1,116078183274592,3693925211045954396,NULL),
(1,131604583900273,3694302698405954404,NULL),
(1,131604583900278,3694121504473154401,84156103082113);
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
    id          INTEGER PRIMARY KEY, -- a hash of the external_id with the site's identity_secret
    site_id     INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    external_id TEXT NOT NULL,       -- the client's own ID for them
    traits      TEXT NOT NULL,       -- what clients sent about them: a JSON object
    created_at  INTEGER NOT NULL     -- the time of the first event that named them
) STRICT;
INSERT INTO "persons" VALUES
(-2868863372337122952,1,'bob','{}',1761494400250),
(-2524049666788136358,1,'ada','{"email":"ada@example.com","name":"Ada"}',1761300600250),
(-1637329481307501862,1,'carol','{"name":"Carol","plan":"pro","seats":3}',1761580800250);
CREATE TABLE rate_limit_counters (
    principal   TEXT NOT NULL,    -- the public_id of an API key, or a site and the hash of an IP address
    unix_second INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (principal, unix_second)
) STRICT, WITHOUT ROWID;
INSERT INTO "rate_limit_counters" VALUES
('1:8700aa796976ac3a',1796135482,4),
('1:8700aa796976ac3a',1796135485,8),
('key_655816b4a06d',1796135482,2);
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
INSERT INTO "rollups" VALUES
(1,1,20384,1,2,1,1,2,2),
(1,1,20384,1,4,1,1,1,1),
(1,1,20384,2,3,2,2,3,3),
(1,1,20384,3,1,2,2,3,3),
(1,1,20384,4,2,1,1,1,1),
(1,1,20384,5,2,1,1,0,0),
(1,1,20384,5,4,1,1,0,0),
(1,1,20384,6,2,1,1,0,0),
(1,1,20384,6,4,1,1,0,0),
(1,1,20384,7,5,1,1,0,0),
(1,1,20384,8,6,1,1,0,0),
(1,1,20384,8,12,1,1,0,0),
(1,1,20384,9,7,1,1,0,0),
(1,1,20384,9,12,1,1,0,0),
(1,1,20384,15,8,1,1,0,0),
(1,1,20384,15,13,1,1,0,0),
(1,1,20384,16,9,1,1,0,0),
(1,1,20384,16,14,1,1,0,0),
(1,1,20384,17,10,1,1,0,0),
(1,1,20384,17,15,1,1,0,0),
(1,1,20384,18,11,2,2,0,0),
(1,1,20385,1,16,1,2,2,2),
(1,1,20385,1,20,2,2,2,2),
(1,1,20385,1,22,1,1,0,1),
(1,1,20385,1,23,1,1,1,1),
(1,1,20385,1,38,1,1,0,3),
(1,1,20385,2,3,3,4,5,9),
(1,1,20385,3,1,2,3,5,5),
(1,1,20385,3,21,1,1,0,1),
(1,1,20385,3,37,1,1,0,2),
(1,1,20385,3,39,1,1,0,1),
(1,1,20385,3,46,1,1,0,1),
(1,1,20385,4,1,1,1,0,1),
(1,1,20385,4,2,2,2,2,2),
(1,1,20385,5,16,1,1,0,0),
(1,1,20385,5,20,1,1,0,0),
(1,1,20385,5,23,1,1,0,0),
(1,1,20385,6,16,1,1,0,0),
(1,1,20385,6,20,2,2,0,0),
(1,1,20385,8,12,3,4,0,0),
(1,1,20385,9,12,3,4,0,0),
(1,1,20385,15,8,1,2,0,0),
(1,1,20385,15,11,1,1,0,0),
(1,1,20385,15,13,1,1,0,0),
(1,1,20385,16,9,1,2,0,0),
(1,1,20385,16,11,1,1,0,0),
(1,1,20385,16,14,1,1,0,0),
(1,1,20385,17,10,1,2,0,0),
(1,1,20385,17,11,1,1,0,0),
(1,1,20385,17,15,1,1,0,0),
(1,1,20385,18,11,2,2,0,0),
(1,1,20385,18,19,1,2,0,0),
(1,1,20385,19,-2524049666788136358,0,0,0,1),
(1,1,20385,19,-1637329481307501862,0,0,1,2),
(1,1,20386,1,16,1,1,1,1),
(1,1,20386,1,24,1,1,1,1),
(1,1,20386,1,38,1,1,0,1),
(1,1,20386,1,40,1,1,1,1),
(1,1,20386,2,3,4,4,3,4),
(1,1,20386,3,1,3,3,3,3),
(1,1,20386,3,37,1,1,0,1),
(1,1,20386,3,47,1,1,0,1),
(1,1,20386,4,2,1,1,1,1),
(1,1,20386,5,16,1,1,0,0),
(1,1,20386,5,24,1,1,0,0),
(1,1,20386,5,40,1,1,0,0),
(1,1,20386,6,16,1,1,0,0),
(1,1,20386,6,24,1,1,0,0),
(1,1,20386,6,40,1,1,0,0),
(1,1,20386,7,41,1,1,0,0),
(1,1,20386,8,12,4,4,0,0),
(1,1,20386,8,42,1,1,0,0),
(1,1,20386,9,12,4,4,0,0),
(1,1,20386,9,43,1,1,0,0),
(1,1,20386,15,8,1,1,0,0),
(1,1,20386,15,11,1,1,0,0),
(1,1,20386,15,13,3,3,0,0),
(1,1,20386,16,9,1,1,0,0),
(1,1,20386,16,11,1,1,0,0),
(1,1,20386,16,14,3,3,0,0),
(1,1,20386,17,10,1,1,0,0),
(1,1,20386,17,11,1,1,0,0),
(1,1,20386,17,15,3,3,0,0),
(1,1,20386,18,11,4,4,0,0),
(1,1,20386,18,19,1,1,0,0),
(1,1,20386,19,-1637329481307501862,0,0,0,1),
(1,1,20386,20,26,0,0,1,1),
(1,1,20387,1,16,1,1,1,1),
(1,1,20387,1,25,1,1,1,1),
(1,1,20387,1,33,1,1,1,1),
(1,1,20387,1,38,1,1,1,3),
(1,1,20387,2,3,3,4,4,6),
(1,1,20387,3,1,3,4,4,4),
(1,1,20387,3,44,1,1,0,1),
(1,1,20387,3,45,1,1,0,1),
(1,1,20387,5,16,1,1,0,0),
(1,1,20387,5,25,1,1,0,0),
(1,1,20387,5,33,1,1,0,0),
(1,1,20387,5,38,1,1,0,0),
(1,1,20387,6,16,1,1,0,0),
(1,1,20387,6,25,1,1,0,0),
(1,1,20387,6,33,1,1,0,0),
(1,1,20387,6,38,1,1,0,0),
(1,1,20387,8,12,3,3,0,0),
(1,1,20387,8,27,1,1,0,0),
(1,1,20387,9,12,3,3,0,0),
(1,1,20387,9,28,1,1,0,0),
(1,1,20387,10,29,1,1,0,0),
(1,1,20387,11,28,1,1,0,0),
(1,1,20387,12,30,1,1,0,0),
(1,1,20387,13,31,1,1,0,0),
(1,1,20387,14,32,1,1,0,0),
(1,1,20387,15,8,1,1,0,0),
(1,1,20387,15,13,2,3,0,0),
(1,1,20387,16,9,1,1,0,0),
(1,1,20387,16,14,2,3,0,0),
(1,1,20387,17,10,1,1,0,0),
(1,1,20387,17,15,2,3,0,0),
(1,1,20387,18,11,2,3,0,0),
(1,1,20387,18,19,1,1,0,0),
(1,1,20387,19,-2868863372337122952,0,0,1,1),
(1,1,20388,1,22,1,1,0,2),
(1,1,20388,1,36,1,1,1,1),
(1,1,20388,1,38,1,1,1,1),
(1,1,20388,2,3,3,3,2,4),
(1,1,20388,3,1,2,2,2,2),
(1,1,20388,3,21,1,1,0,2),
(1,1,20388,3,47,1,1,0,1),
(1,1,20388,4,1,1,1,0,2),
(1,1,20388,4,2,1,1,1,1),
(1,1,20388,5,36,1,1,0,0),
(1,1,20388,5,38,1,1,0,0),
(1,1,20388,6,36,1,1,0,0),
(1,1,20388,6,38,1,1,0,0),
(1,1,20388,8,12,4,4,0,0),
(1,1,20388,9,12,4,4,0,0),
(1,1,20388,15,11,2,2,0,0),
(1,1,20388,15,13,2,2,0,0),
(1,1,20388,16,11,2,2,0,0),
(1,1,20388,16,14,2,2,0,0),
(1,1,20388,17,11,2,2,0,0),
(1,1,20388,17,15,2,2,0,0),
(1,1,20388,18,11,4,4,0,0),
(1,1,20388,19,-2868863372337122952,0,0,0,1),
(1,1,20388,19,-1637329481307501862,0,0,1,1),
(1,1,20389,1,34,0,0,1,1),
(1,1,20389,2,35,0,0,1,1),
(1,1,20389,3,1,0,0,1,1),
(1,7,20381,1,2,1,1,2,2),
(1,7,20381,1,4,1,1,1,1),
(1,7,20381,1,16,3,4,4,4),
(1,7,20381,1,20,2,2,2,2),
(1,7,20381,1,22,1,1,0,1),
(1,7,20381,1,23,1,1,1,1),
(1,7,20381,1,24,1,1,1,1),
(1,7,20381,1,25,1,1,1,1),
(1,7,20381,1,33,1,1,1,1),
(1,7,20381,1,38,3,3,1,7),
(1,7,20381,1,40,1,1,1,1),
(1,7,20381,2,3,12,14,15,22),
(1,7,20381,3,1,10,12,15,15),
(1,7,20381,3,21,1,1,0,1),
(1,7,20381,3,37,2,2,0,3),
(1,7,20381,3,39,1,1,0,1),
(1,7,20381,3,44,1,1,0,1),
(1,7,20381,3,45,1,1,0,1),
(1,7,20381,3,46,1,1,0,1),
(1,7,20381,3,47,1,1,0,1),
(1,7,20381,4,1,1,1,0,1),
(1,7,20381,4,2,4,4,4,4),
(1,7,20381,5,2,1,1,0,0),
(1,7,20381,5,4,1,1,0,0),
(1,7,20381,5,16,3,3,0,0),
(1,7,20381,5,20,1,1,0,0),
(1,7,20381,5,23,1,1,0,0),
(1,7,20381,5,24,1,1,0,0),
(1,7,20381,5,25,1,1,0,0),
(1,7,20381,5,33,1,1,0,0),
(1,7,20381,5,38,1,1,0,0),
(1,7,20381,5,40,1,1,0,0),
(1,7,20381,6,2,1,1,0,0),
(1,7,20381,6,4,1,1,0,0),
(1,7,20381,6,16,3,3,0,0),
(1,7,20381,6,20,2,2,0,0),
(1,7,20381,6,24,1,1,0,0),
(1,7,20381,6,25,1,1,0,0),
(1,7,20381,6,33,1,1,0,0),
(1,7,20381,6,38,1,1,0,0),
(1,7,20381,6,40,1,1,0,0),
(1,7,20381,7,5,1,1,0,0),
(1,7,20381,7,41,1,1,0,0),
(1,7,20381,8,6,1,1,0,0),
(1,7,20381,8,12,11,12,0,0),
(1,7,20381,8,27,1,1,0,0),
(1,7,20381,8,42,1,1,0,0),
(1,7,20381,9,7,1,1,0,0),
(1,7,20381,9,12,11,12,0,0),
(1,7,20381,9,28,1,1,0,0),
(1,7,20381,9,43,1,1,0,0),
(1,7,20381,10,29,1,1,0,0),
(1,7,20381,11,28,1,1,0,0),
(1,7,20381,12,30,1,1,0,0),
(1,7,20381,13,31,1,1,0,0),
(1,7,20381,14,32,1,1,0,0),
(1,7,20381,15,8,4,5,0,0),
(1,7,20381,15,11,2,2,0,0),
(1,7,20381,15,13,7,8,0,0),
(1,7,20381,16,9,4,5,0,0),
(1,7,20381,16,11,2,2,0,0),
(1,7,20381,16,14,7,8,0,0),
(1,7,20381,17,10,4,5,0,0),
(1,7,20381,17,11,2,2,0,0),
(1,7,20381,17,15,7,8,0,0),
(1,7,20381,18,11,10,11,0,0),
(1,7,20381,18,19,3,4,0,0),
(1,7,20381,20,26,0,0,1,1),
(1,7,20388,1,22,1,1,0,2),
(1,7,20388,1,34,0,0,1,1),
(1,7,20388,1,36,1,1,1,1),
(1,7,20388,1,38,1,1,1,1),
(1,7,20388,2,3,3,3,2,4),
(1,7,20388,2,35,0,0,1,1),
(1,7,20388,3,1,2,2,3,3),
(1,7,20388,3,21,1,1,0,2),
(1,7,20388,3,47,1,1,0,1),
(1,7,20388,4,1,1,1,0,2),
(1,7,20388,4,2,1,1,1,1),
(1,7,20388,5,36,1,1,0,0),
(1,7,20388,5,38,1,1,0,0),
(1,7,20388,6,36,1,1,0,0),
(1,7,20388,6,38,1,1,0,0),
(1,7,20388,8,12,4,4,0,0),
(1,7,20388,9,12,4,4,0,0),
(1,7,20388,15,11,2,2,0,0),
(1,7,20388,15,13,2,2,0,0),
(1,7,20388,16,11,2,2,0,0),
(1,7,20388,16,14,2,2,0,0),
(1,7,20388,17,11,2,2,0,0),
(1,7,20388,17,15,2,2,0,0),
(1,7,20388,18,11,4,4,0,0),
(2,1,20385,1,16,1,1,1,1),
(2,1,20385,2,3,1,1,1,1),
(2,1,20385,3,1,1,1,1,1),
(2,1,20385,5,16,1,1,0,0),
(2,1,20385,6,16,1,1,0,0),
(2,1,20385,8,12,1,1,0,0),
(2,1,20385,9,12,1,1,0,0),
(2,1,20385,15,8,1,1,0,0),
(2,1,20385,16,9,1,1,0,0),
(2,1,20385,17,10,1,1,0,0),
(2,1,20385,18,19,1,1,0,0),
(2,1,20386,1,16,1,1,1,1),
(2,1,20386,2,3,1,1,1,1),
(2,1,20386,3,1,1,1,1,1),
(2,1,20386,5,16,1,1,0,0),
(2,1,20386,6,16,1,1,0,0),
(2,1,20386,8,12,1,1,0,0),
(2,1,20386,9,12,1,1,0,0),
(2,1,20386,15,8,1,1,0,0),
(2,1,20386,16,9,1,1,0,0),
(2,1,20386,17,10,1,1,0,0),
(2,1,20386,18,19,1,1,0,0),
(2,7,20381,1,16,2,2,2,2),
(2,7,20381,2,3,2,2,2,2),
(2,7,20381,3,1,2,2,2,2),
(2,7,20381,5,16,2,2,0,0),
(2,7,20381,6,16,2,2,0,0),
(2,7,20381,8,12,2,2,0,0),
(2,7,20381,9,12,2,2,0,0),
(2,7,20381,15,8,2,2,0,0),
(2,7,20381,16,9,2,2,0,0),
(2,7,20381,17,10,2,2,0,0),
(2,7,20381,18,19,2,2,0,0);
CREATE TABLE salts (
    site_id INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    day     INTEGER NOT NULL,
    salt    BLOB NOT NULL
) STRICT;
INSERT INTO "salts" VALUES
(1,20788,X'ED662BC73D72FED7B42D3D722943B952A8E0ACE00E5F47DCB9E3497EC9982104'),
(2,20788,X'92F05EA5CDEAFB4F94F83E91D2BA3CC0E1B9812A1F8CDB2CE5B5F8EAFC58ACF3');
CREATE TABLE shared_links (
    site_id       INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, -- '' if the link needs no password
    created_at    INTEGER NOT NULL
) STRICT;
INSERT INTO "shared_links" VALUES
(1,'RlQqZnG3TBgtNb-n','scrypt 16384 8 5 c0dR7W4zSZz4gLhVCilIrQ== 4a48b4mactPpXDtlUu3ERQ+uR5IWXlH7aFxqhfunWBQ=',1796135486293);
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
INSERT INTO "sites" VALUES
(1,'my-site','Größe','example.com','Europe/Paris','pk_live_09a7090d69e50357250b2982','H7ujJ9DMLmPwtrWVXbZ3UCQAqnYDq5PaPQspDce63Eg',30,36500,1796135478349,X'74BAB4BFCB0BD5FD668BC0C0446CC889F3FAE31E06A440691EEBC2D09042A594','example.com example.org',700,NULL),
(2,'other-site','other-site','','UTC','pk_live_783ae6c378d809ea85499839','VBO2xhnKMLhDwNSBSTTK0AmbrqLv4kKLkw99DZj3jjU',NULL,NULL,1796135478558,X'84896E3C4C494039EB2068A88C5A1C3926B5207BB89D0AAC07BF195291AA0083','',NULL,NULL);
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
INSERT INTO "traffic_sources" VALUES
(1,'duckduckgo.com/','duckduckgo','search','','','','',''),
(2,'','direct','direct','','','','',''),
(3,'www.google.com/search','google','search','','','','',''),
(4,'','news','email','News','email','May','top','x'),
(5,'news.example.org/a','news.example.org','referral','','','','','');
CREATE TABLE visits (
    site_id              INTEGER NOT NULL,
    id                   INTEGER NOT NULL, -- that of the event that began it: the first to arrive
    traffic_source_id    INTEGER NOT NULL, -- of its earliest event
    client_id            INTEGER NOT NULL, -- of its earliest event
    entry_page_id        INTEGER,          -- the first page viewed; NULL without a pageview
    exit_page_id         INTEGER,          -- the last page viewed
    page_type_bloom      INTEGER NOT NULL, -- a Bloom filter: a bit for each of its pages and event types
    visitor_id           INTEGER NOT NULL, -- 48 bits; changes every day unless the client identified the visitor
    is_identified        INTEGER NOT NULL, -- whether the client identified the visitor
    is_only_visit_of_day INTEGER NOT NULL, -- whether the visitor has no other visit on its day
    early_ms             INTEGER NOT NULL, -- from its earliest event to the one that began it
    elapsed_ms           INTEGER NOT NULL, -- from the event that began it to its last one
    pageviews            INTEGER NOT NULL,
    events               INTEGER NOT NULL, -- pageviews included
    PRIMARY KEY (site_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "visits" VALUES
(1,3693532623668161955,1,1,1,1,137438953474,-88919925864303,0,1,0,0,2,2),
(1,3693623218537409957,2,2,2,2,137438953476,-133322438740704,0,1,0,0,1,1),
(1,3693698718630558425,2,3,6,4,824633720952,-13115460603599,0,0,600000,360000,3,4),
(1,3693710043251358429,2,3,3,3,274877906952,-13115460603599,0,0,0,0,1,1),
(1,3693713818124958440,2,2,NULL,NULL,6597069774848,-37585144614673,1,1,0,42600000,0,3),
(1,3693728917618754405,2,5,4,4,206158462992,-49967330362168,1,1,0,60000,1,2),
(1,3693805673382558443,2,2,NULL,NULL,2199023263744,-37585144614673,1,1,0,0,0,1),
(1,3693910237380674407,2,5,NULL,NULL,274877939712,-49967330362168,1,1,0,0,0,1),
(1,3693925211045954396,5,2,14,14,26388279083008,116078183258050,1,1,0,60000,1,1),
(1,3693940310540354400,2,2,3,3,8796093022216,-31014181037290,0,1,0,0,1,1),
(1,3693984979878558430,2,3,7,7,274877907072,89892758030809,0,1,0,0,1,1),
(1,3693986238169758431,2,3,8,8,274877907200,-1280792845980,0,1,0,0,1,1),
(1,3694004483392158433,4,2,3,3,274877906952,-122160893454801,0,0,0,0,1,1),
(1,3694012033139358434,2,2,10,10,274877907968,-122160893454801,0,0,0,0,1,1),
(1,3694121504473154401,2,2,13,13,114349209296896,131604583885781,1,1,0,6000000,1,3),
(1,3694257399923358437,2,2,12,12,274877911040,-95771026106321,0,1,0,0,1,1),
(1,3694272625246274408,2,5,NULL,NULL,549755846656,-87550762095250,1,1,0,0,0,1),
(1,3694272751075394409,2,5,NULL,NULL,-1,-71211768971942,0,1,0,0,0,1),
(1,3694302698405954404,2,2,13,13,8796093030400,131604583885781,1,1,0,0,1,1),
(2,3693819388756638438,2,3,3,3,274877906952,-107039636095861,0,1,0,0,1,1),
(2,3693819514585758439,2,3,3,3,274877906952,-59518359259593,0,1,0,0,1,1);
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
INSERT INTO "webhooks" VALUES
(1,'wh_cc07f740296d',1,'http://127.0.0.1:32981/hook','goal.completed usage.threshold realtime.spike',100,'json','whsec_AmWEVEsOUaG4KwOwJhUT3YUaZeAcMrprErK3xZmKazI=','whsec_3cc2eDxfQM04/s+94MdkspKNxMZ4VbRcw8+4kmZz0OM=',1796135483540,1,'',NULL,0,1796135483146),
(2,'wh_e2418931ba91',1,'http://127.0.0.1:40317/hook','goal.completed usage.threshold',NULL,'slack','whsec_9UuXdLmw22eM9CkoRygUfgcQiDvT4Iyil5H8Iyp4LXg=','',0,1,'',1796135485621,0,1796135484019),
(3,'wh_61c5e990324f',1,'http://127.0.0.1:40317/hook','goal.completed',NULL,'json','whsec_kCqE0U36fTW/NS1pI9zfJMGqZ3AMrDarjloj7VZFqmo=','',0,0,'',NULL,0,1796135484276);
CREATE INDEX api_keys_by_site ON api_keys (site_id);
CREATE INDEX annotations_by_day ON annotations (site_id, day);
CREATE INDEX idempotent_responses_by_age ON idempotent_responses (created_at);
CREATE INDEX visits_by_identified_visitor ON visits (site_id, visitor_id, id) WHERE is_identified = 1;
CREATE INDEX persons_by_age ON persons (site_id, created_at);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_by_status ON deliveries (webhook_id, status);
CREATE INDEX deliveries_by_lease ON deliveries (lease_expires_at) WHERE lease_token IS NOT NULL;
CREATE INDEX deliveries_to_send ON deliveries (webhook_id, next_attempt_at)
    WHERE status = 'pending' AND lease_token IS NULL;
CREATE INDEX attempts_by_delivery ON attempts (delivery_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES
('sites',2),
('goals',2);
COMMIT;

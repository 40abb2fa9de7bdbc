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
(1,'scrypt 16384 8 5 lXFFrtMXWQOsSSrw9Tn//Q== jiX6sNtA5GgyDqyS5hYEHUj8Ka/OaoCEAl1b4T/duyw=',X'8D00F6BB993BCD99AB7C7B9BD80E7BEA57854BCB31ED2014164B23A673BC503E','ovx-8ec5c539');
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
('key_0a87c5c0fc84',1,'server','enterprise',NULL,X'54F95B2F022F75A4B347DAC6C6EA7491D09700373BD2A846BCF0D19DC176D531',1796136951629,NULL,1796136959271),
('key_e2024264f261',1,'old','enterprise',NULL,X'DEB1D6433DE53319A9BB20C689EE10B6004B3A64A73B63938A15FFEC1364AACE',1796136951741,1796136951851,NULL),
('key_97b4fd93357b',2,'','enterprise',500,X'DE99F707CD270B07988FC56CE7F89ADB03BF53E55B2876163600BACDB89425CD',1796136951965,NULL,1796136953714);
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
(1,3766772208595484537,1796136955554,297,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"36efa1f71074d9b92d7e0b35915e9434cdae2a1a407dfaa2cf884927ef44fe80","webhook-id":"msg_3446435dd325bf79","webhook-timestamp":"1796136955","webhook-signature":"v1,aUmdVAhjWiMVGyENir3oDcMH554BV9oj3q5dLM4ST+s= v1,P+kq+uCmfI513rSvpWY0BN4elrCyqmE19aax8lHzRfU="}',''),
(2,3766772208595484538,1796136955554,297,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"fef6683ab8af889230940f0d625641b710ba65da2d236a83fbeef2bc16605839","webhook-id":"msg_3446435dd325bf7a","webhook-timestamp":"1796136955","webhook-signature":"v1,tw52i4SGw6Nw7dDK0ZM8c5RI7aCiUuRfDxseDuthEJ0="}','not now'),
(3,3766772208748576636,1796136955859,2,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"f403aa9040a83e8d3e95f8c42ec14dae77c03429533d537dce6f2e8a852cb565","webhook-id":"msg_3446435ddc45bf7c","webhook-timestamp":"1796136955","webhook-signature":"v1,ZFM/LKKIi6bK7kPuNCayTvLzM4OYVgXr50JgPWi3xJY="}','not now'),
(4,3766772208748576635,1796136955858,3,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"029a6f7e12a7ff8df85b341d8c317acc7157330a7e35ccda608206b1a3bf73fd","webhook-id":"msg_3446435ddc45bf7b","webhook-timestamp":"1796136955","webhook-signature":"v1,1KHG14L7k0Cn75miOZ7jYhsDVzCphEXcp7iK+Dl/V9Q= v1,6pJ4nnp1UuolTfR1tLm42MQKC9VvEFbp3JoqF5SdSWk="}',''),
(5,3766772208838754174,1796136955862,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"8e5e974810ddb1a94d2ba2204f1e6051c12c8d6adbe784d7d163e9c4dcd369cb","webhook-id":"msg_3446435de1a5bf7e","webhook-timestamp":"1796136955","webhook-signature":"v1,t9oXwDe280GjAh/OZcwG+7HGswSHdb50xRr9H1y+4QM="}','not now'),
(6,3766772208838754173,1796136955862,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"4f7a935df23bc7e6b1c9ca3e39728053861f174957fb27c5d6325f8e43441546","webhook-id":"msg_3446435de1a5bf7d","webhook-timestamp":"1796136955","webhook-signature":"v1,F8U1XsJSJxp3UZu2K1Hy73C+AzHAUarbvCdjLOrepwk= v1,zYPWVf730ERsZDGDRYDFhHQTLbIniO674LliIR09mQg="}',''),
(7,3766772208891182976,1796136955865,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"a1e5a7180f76c8360b5320ac60c807ffc7996f2d7ce277f7f03ed493488ee194","webhook-id":"msg_3446435de4c5bf80","webhook-timestamp":"1796136955","webhook-signature":"v1,5Ih895o31Yy3zL0kERP7IsYFFrptnXbLHCpFi+7uFR4="}','not now'),
(8,3766772208891182975,1796136955864,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"27dcb735521a760da132403fe7fda3e73069d13bc76a1253bc2c6b72067e178e","webhook-id":"msg_3446435de4c5bf7f","webhook-timestamp":"1796136955","webhook-signature":"v1,WePv1D7KBXTQNjS/gOvCFAzq+RTUbBfyePKccCUf38s= v1,MkdHyYnbq8495FotD9PvUDLjIaPENHSYql/s6DhPzBg="}',''),
(9,3766772208891182978,1796136955870,1,500,'status','the receiver answered 500: check its response and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"e644591c7ade121fc335f855593ddf60e1beb5c92bb7773feb2dd3781d44de66","webhook-id":"msg_3446435de4c5bf82","webhook-timestamp":"1796136955","webhook-signature":"v1,2LviX2zx5K6pJ6UVfPeO0q+dzq+Ir+EUSHfomGcTA6s="}','not now'),
(10,3766772208891182977,1796136955870,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.2.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"f8fff552bfb7246dddb737eee08937b54414282194031349c7b656a277bfa33a","webhook-id":"msg_3446435de4c5bf81","webhook-timestamp":"1796136955","webhook-signature":"v1,8Gt+orvDhwHpTF4qkwciY8wMzW6yWK+C27yJKva7cDQ= v1,3kmztywDGvLXg/iMpdPOU6UKov6y0QwwxefgMvmmHCk="}','');
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
(3766772208595484537,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D7D','delivered',1,1796136955852,NULL,NULL),
(3766772208595484538,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F7465616D20286E6577732E6578616D706C652E6F726729222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796137015852,NULL,NULL),
(3766772208748576635,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A35353A35355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796136955861,NULL,NULL),
(3766772208748576636,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A35353A35355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D736974652068617320757365642038302025206F6620697473206576656E7473206F6620323032362D31323A203234206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796137015861,NULL,NULL),
(3766772208838754173,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796136955863,NULL,NULL),
(3766772208838754174,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F706C616E73202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796137015863,NULL,NULL),
(3766772208891182975,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796136955866,NULL,NULL),
(3766772208891182976,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A225369676E2D75703A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F7369676E7570202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796137015866,NULL,NULL),
(3766772208891182977,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A35353A35355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796136955872,NULL,NULL),
(3766772208891182978,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431343A35353A35355A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D73697465206861732075736564203130302025206F6620697473206576656E7473206F6620323032362D31323A203330206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796137015872,NULL,NULL);
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
CREATE TABLE event_revenue (
    site_id      INTEGER NOT NULL,
    visit_id     INTEGER NOT NULL,
    id_offset    INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL, -- in the event type's currency
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;
INSERT INTO "event_revenue" VALUES
(1,3693713818125261540,1258291200001,1999),
(1,3693910237380984708,0,1500),
(1,3694272625246584709,0,1234);
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
    person_id         INTEGER,          -- the person that the request named; otherwise, see identity_links
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES
(1,3693532623668202094,0,1,1,1,1,NULL,NULL),
(1,3693532623668202094,1,1,1,1,1,NULL,NULL),
(1,3693623218537450096,0,1,2,2,2,NULL,NULL),
(1,3693698718630861525,-1258291199997,2,6,2,3,NULL,NULL),
(1,3693698718630861525,0,2,3,3,3,NULL,NULL),
(1,3693698718630861525,629145600001,2,4,2,3,NULL,NULL),
(1,3693698718630861525,754974720002,3,5,2,3,'{"plan":"pro","seats":3,"trial":true,"price":0.1,"note":"\"Größe\"\n尺寸"}',NULL),
(1,3693710043251661529,0,2,3,2,3,NULL,NULL),
(1,3693713818125261540,0,5,13,2,2,NULL,NULL),
(1,3693713818125261540,1258291200001,6,13,2,2,'{"amount":19.99,"currency":"EUR","item":"book"}',-2304511276764640477),
(1,3693713818125261540,89338675200002,5,13,2,2,NULL,NULL),
(1,3693728917619064706,0,11,15,2,5,NULL,3436596381234183033),
(1,3693728917619064706,125829120001,12,4,2,5,NULL,3436596381234183033),
(1,3693805673382861543,0,5,13,2,2,NULL,NULL),
(1,3693895012058061532,0,4,9,2,4,NULL,NULL),
(1,3693910237380984708,0,13,15,2,5,NULL,3436596381234183033),
(1,3693925211046264697,0,7,14,5,2,NULL,NULL),
(1,3693925211046264697,125829120001,8,14,2,2,'{"ms":41000,"scroll":80}',NULL),
(1,3693932760793464699,0,8,13,2,2,'{"ms":9000,"scroll":10}',NULL),
(1,3693933012451704700,0,8,13,2,2,'{"ms":2000,"scroll":90}',NULL),
(1,3693940310540664701,0,7,3,2,2,NULL,NULL),
(1,3693984979878861530,0,2,7,2,3,NULL,NULL),
(1,3693986238170061531,0,2,8,2,3,NULL,NULL),
(1,3694004483392461533,0,2,3,4,2,NULL,NULL),
(1,3694012033139661534,0,2,10,2,2,NULL,NULL),
(1,3694121504473464702,0,7,13,2,2,NULL,2800773024821273532),
(1,3694121504473464702,125829120001,9,13,2,2,'{"text":"Buy"}',NULL),
(1,3694121504473464702,12582912000002,10,13,2,2,NULL,NULL),
(1,3694249850176461536,0,3,5,2,5,'{"plan":"free"}',NULL),
(1,3694257399923661537,0,2,12,2,2,NULL,NULL),
(1,3694272625246584709,0,14,15,2,5,NULL,2800773024821273532),
(1,3694272751075704710,0,15,5,2,5,NULL,NULL),
(1,3694302698406264705,0,7,13,2,2,NULL,3436596381234183033),
(1,3694359321510861535,0,2,11,2,5,NULL,NULL),
(2,3693819388756941538,0,2,3,2,3,NULL,NULL),
(2,3693819514586061539,0,2,3,2,3,NULL,NULL);
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
(1,'goal_3f36b5094b43',1,'Sign-up','signup','',1796136954190,0),
(2,'goal_21da78d083a1',1,'Pricing','','/pricing/**',1796136954326,0);
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
(1,'key','key-1',X'E7FF704502812AABBE0196D127F7FB13',201,X'7B2273756363657373223A747275652C226576656E745F6964223A226576745F33333434613338383366346564616531227D',1796136953697);
CREATE TABLE identity_links (
    site_id    INTEGER NOT NULL,
    visitor_id INTEGER NOT NULL,
    linked_at  INTEGER NOT NULL,
    person_id  INTEGER NOT NULL, -- 0 if the person was erased
    PRIMARY KEY (site_id, visitor_id, linked_at, person_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "identity_links" VALUES
(1,-58907447121240,1761494400250,2800773024821273532),
(1,-58907447121240,1761580800250,3436596381234183033),
(1,-15507723231322,1761300600250,-2304511276764640477);
CREATE TABLE imported_lines (
    site_id   INTEGER NOT NULL,
    logged_at INTEGER NOT NULL, -- the time of the line's event
    line_hash INTEGER NOT NULL, -- of the line without its IP address: 31 bits
    PRIMARY KEY (site_id, logged_at, line_hash)
) STRICT, WITHOUT ROWID;
INSERT INTO "imported_lines" VALUES
(1,1761213600000,1316618514),
(1,1761213600000,2116170787),
(1,1761256799000,976570908);
CREATE TABLE login_sessions (
    token_hash BLOB PRIMARY KEY, -- SHA-256 of the token in the browser's cookie
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "login_sessions" VALUES
(X'046609F852A869C42EF472508D74DB339E57748356AD72D2BACB8F0EB2FAC313',1796136956126);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES
('registry_version',815),
('retention_ran_at',1796136959122),
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
(1,-75067350055897,3693984979878861530,NULL),
(2,-68842523513013,3693819514586061539,NULL),
(1,-62872344707038,3693698718630861525,NULL),
(1,-62872344707038,3693710043251661529,NULL),
(1,-58907447106293,3694121504473464702,-85605428106655),
(1,-58907447106292,3694302698406264705,NULL),
(2,-40331745699037,3693819388756941538,NULL),
(1,-15507723251708,3693805673382861543,78442844240205),
(1,-15507723251705,3693713818125261540,79130919337797),
(1,15127833288548,3693623218537450096,NULL),
(1,16324278370683,3693925211046264697,NULL),
(1,42388657152369,3693532623668202094,NULL),
(1,44949902046277,3693986238170061531,NULL),
(1,85472809614923,3694272625246584709,NULL),
(1,88582820270384,3694257399923661537,NULL),
(1,104876598532116,3693910237380984708,NULL),
(1,104876598532119,3693728917619064706,NULL),
(1,114751616556724,3693940310540664701,NULL),
(1,115066884820911,3694004483392461533,NULL),
(1,115066884820911,3694012033139661534,NULL);
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
(-2304511276764640477,1,'ada','{"email":"ada@example.com","name":"Ada"}',1761300600250),
(2800773024821273532,1,'bob','{}',1761494400250),
(3436596381234183033,1,'carol','{"name":"Carol","plan":"pro","seats":3}',1761580800250);
CREATE TABLE rate_limit_counters (
    principal   TEXT NOT NULL,    -- the public_id of an API key, or a site and the hash of an IP address
    unix_second INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (principal, unix_second)
) STRICT, WITHOUT ROWID;
INSERT INTO "rate_limit_counters" VALUES
('1:cdc364750c23367c',1796136953,4),
('1:cdc364750c23367c',1796136955,8),
('key_97b4fd93357b',1796136953,2);
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
(1,1,20385,19,-2304511276764640477,0,0,0,1),
(1,1,20385,19,3436596381234183033,0,0,1,2),
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
(1,1,20386,19,3436596381234183033,0,0,0,1),
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
(1,1,20387,19,2800773024821273532,0,0,1,1),
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
(1,1,20388,19,2800773024821273532,0,0,0,1),
(1,1,20388,19,3436596381234183033,0,0,1,1),
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
(1,20788,X'00E5E24BD0872B9BFE487270FA2FB8CE739ABB18653259D10C9BF6F8B69D24CF'),
(2,20788,X'086FE1870EE49D1161F68099DA8D0F02478A3C7962C9C8DEAD7048F20376E51B');
CREATE TABLE shared_links (
    site_id       INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, -- '' if the link needs no password
    created_at    INTEGER NOT NULL
) STRICT;
INSERT INTO "shared_links" VALUES
(1,'9yagQOttMdp7Dgyu','scrypt 16384 8 5 p6HE0gfT69YJBI17JceSRg== vpyaWTpkpXac/HryKLCFOtbsdzYvwqICmHPeVHSHkEM=',1796136956419);
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
(1,'my-site','Größe','example.com','Europe/Paris','pk_live_1d0df0ce8599173e79847834','r1NQRbi6NKCc_hSCODb403t0J4EPA-dgfPjQz2hCFoE',30,36500,1796136951367,X'460096CF7C3E04B29E23D5FAA1CE2823CFB7B6CF8077457624A03B2E6C914CFC','example.com example.org',700,NULL),
(2,'other-site','other-site','','UTC','pk_live_e15613debc973321b07276a1','9EmS5d6Cfh0yhjXRxTOB015cP9ZqCTYCyGvbB-7KBG8',NULL,NULL,1796136951506,X'96341CD83DE007D9DBEC8958AFA017B3DA08213C9A8B913A63A7A984A14F4753','',NULL,NULL);
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
INSERT INTO "visits" VALUES
(1,3693532623668202094,1,1,1,1,137438953474,42388657152369,1,0,0,2,0),
(1,3693623218537450096,2,2,2,2,137438953476,15127833288548,1,0,0,1,0),
(1,3693698718630861525,2,3,6,4,824633720952,-62872344707038,0,600000,360000,3,1),
(1,3693710043251661529,2,3,3,3,274877906952,-62872344707038,0,0,0,1,0),
(1,3693713818125261540,2,2,NULL,NULL,6597069774848,-15507723231322,3,0,42600000,0,3),
(1,3693728917619064706,2,5,4,4,206158462992,104876598548406,3,0,60000,1,1),
(1,3693805673382861543,2,2,NULL,NULL,2199023263744,-15507723231322,3,0,0,0,1),
(1,3693910237380984708,2,5,NULL,NULL,274877939712,104876598548406,3,0,0,0,1),
(1,3693925211046264697,5,2,14,14,26388279083008,16324278357721,3,0,60000,1,0),
(1,3693940310540664701,2,2,3,3,8796093022216,114751616556724,1,0,0,1,0),
(1,3693984979878861530,2,3,7,7,274877907072,-75067350055897,1,0,0,1,0),
(1,3693986238170061531,2,3,8,8,274877907200,44949902046277,1,0,0,1,0),
(1,3694004483392461533,4,2,3,3,274877906952,115066884820911,0,0,0,1,0),
(1,3694012033139661534,2,2,10,10,274877907968,115066884820911,0,0,0,1,0),
(1,3694121504473464702,2,2,13,13,114349209296896,-58907447121240,3,0,6000000,1,2),
(1,3694257399923661537,2,2,12,12,274877911040,88582820270384,1,0,0,1,0),
(1,3694272625246584709,2,5,NULL,NULL,549755846656,85472809595375,3,0,0,0,1),
(1,3694272751075704710,2,5,NULL,NULL,-1,-82969452318905,1,0,0,0,1),
(1,3694302698406264705,2,2,13,13,8796093030400,-58907447121240,3,0,0,1,0),
(2,3693819388756941538,2,3,3,3,274877906952,-40331745699037,1,0,0,1,0),
(2,3693819514586061539,2,3,3,3,274877906952,-68842523513013,1,0,0,1,0);
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
(1,'wh_a7cf36c3b601',1,'http://127.0.0.1:34931/hook','goal.completed usage.threshold realtime.spike',100,'json','whsec_eAbmLeWrZaPbIOsWwnk/HHwAeGqHVcLaQr2DsrgAQ4c=','whsec_JpfCFpwBKCgasHEGYohMpZT3P4G8SbnzZvPBthhzRDA=',1796136954676,1,'',NULL,0,1796136954515),
(2,'wh_afacd255348c',1,'http://127.0.0.1:33865/hook','goal.completed usage.threshold',NULL,'slack','whsec_yJULMWeBTIg2w2hHheE3k3E0aWsdb0bei+Q9zIfO/ok=','',0,1,'',1796136955852,0,1796136954830),
(3,'wh_61738df17aa0',1,'http://127.0.0.1:33865/hook','goal.completed',NULL,'json','whsec_K5OK5a88mtr3ZXlyBzGMHVjJDmnj6IuFoozNo0rqQPA=','',0,0,'',NULL,0,1796136954978);
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

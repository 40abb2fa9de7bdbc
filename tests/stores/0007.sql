PRAGMA application_id = 1870035052;
PRAGMA user_version = 7;
BEGIN TRANSACTION;
CREATE TABLE admin (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    password_hash TEXT NOT NULL,            -- with its algorithm and parameters; '' until a password is chosen
    cookie_key    BLOB NOT NULL,            -- signs cookies; replaced with every new password
    cookie_name   TEXT NOT NULL DEFAULT ''  -- '' until the first new password: then it is derived from the key
) STRICT;
INSERT INTO "admin" VALUES
(1,'scrypt 16384 8 5 r7wy6ou8tRbFuz7VnHmJMQ== XBcIwZo6M+CYJuyiDceox8DQjK6wi78kuTK7u394A2Y=',X'DE67FEF67863F7C965D4E7D9E13553EA0B35D33C0AA18D34AEEAAABAFC70988B','ovx-c4dcf354');
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
    hourly_limit INTEGER,              -- in place of the tier's
    key_hash     BLOB NOT NULL UNIQUE, -- SHA-256
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;
INSERT INTO "api_keys" VALUES
('key_8221419f4e5e',1,'server','enterprise',NULL,X'5147A5FCF854CE1F888602C56AB72D2EFB946D052F0C40B5AC2B0F4975DFD77A',1796120302641,NULL,1796120325859),
('key_d54f5d9e4668',1,'old','enterprise',NULL,X'0154ADDD565006D902DE594F4B9503D8608C2BBFBC41A5D585E43E46E7CFC1B1',1796120304044,1796120305052,NULL),
('key_55b910f3c18f',2,'','enterprise',500,X'123DB4A18283891F94A5CCB018611396A865E6A42AC6AC89868E4D220DCBBA65',1796120306142,NULL,1796120311871);
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
(1,3766737320683066535,1796120319700,175,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"182ff1e393567fdda81ff2e34ae688ce2117636afd53981155db02441aa1234e","webhook-id":"msg_344623a2d98554a7","webhook-timestamp":"1796120319","webhook-signature":"v1,5YfoTNx+90FdhEB6hUM0jHAtDAlU3P75L7NE3fD1u58= v1,Gyw3x3ftMRBocbq//doYuJS189G/wFVcbu4uyVsoY5s="}',''),
(2,3766737320683066536,1796120319700,183,500,'status','the receiver answered 500: see its answer and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"e93cb1f812422b8be05198513a7a23c7cebefda6fc4e0101c5f9a0d34d564c7b","webhook-id":"msg_344623a2d98554a8","webhook-timestamp":"1796120319","webhook-signature":"v1,D2G6expr5ehGpeXOoHmF11rwPkXFwz2rQctMJaW9fkA="}','not now'),
(3,3766737321247200426,1796120319969,1,500,'status','the receiver answered 500: see its answer and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"0d6e2e6b05be3a757954152964fc11d5362b2264066f64176c27fbb49a9266f4","webhook-id":"msg_344623a2fb2554aa","webhook-timestamp":"1796120319","webhook-signature":"v1,UjN187jERhyqf8Og2AoK77XIZgSQmOMT66Q8YMnQ/4M="}','not now'),
(4,3766737321247200425,1796120319968,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"3714d3afaf1ef233f2417838f5f6d18a29f3e42f82d94a80b48ad8e5aa54ada9","webhook-id":"msg_344623a2fb2554a9","webhook-timestamp":"1796120319","webhook-signature":"v1,KlN6Cy/KQofv5LA6FSbFMJ6EBYrg57js5JdjoiPfABI= v1,jdoW5/THNLuL6D+75gKkNVHRlkPK0Dks2Nn2ldeA67k="}',''),
(5,3766737321276560556,1796120319981,2,500,'status','the receiver answered 500: see its answer and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"6727415b7b936627fdac3627e77bab4584a6859ad69851858ca4d7b1f0b50bf0","webhook-id":"msg_344623a2fce554ac","webhook-timestamp":"1796120319","webhook-signature":"v1,0KAo4Vysau8raBFONkHr6qZFkIQM+lRHudNha3vHzeA="}','not now'),
(6,3766737321276560555,1796120319980,3,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"97f1a06b9ef8e2a542b818c5271d8c8662c0074a6fc05b16355cb56c1fc4be3d","webhook-id":"msg_344623a2fce554ab","webhook-timestamp":"1796120319","webhook-signature":"v1,zFHRLe61xjFpyVamBmnXP9nO08aK8RZ6m71dYz18oNY= v1,xF6zKxSwOXoAbdvVc2/xA1AJEL4DKKEDhs+kgtynOic="}',''),
(7,3766737321299629229,1796120319992,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"49c885bbfe19e08c41814fd709e84361a388f6d4e4de2b4cee1f13ea7b13db5a","webhook-id":"msg_344623a2fe4554ad","webhook-timestamp":"1796120319","webhook-signature":"v1,XYQASja4CF0ivnV/rNNKO2n47szQDdrlDLBQntS1RZ4= v1,kLUeeOypkmEmhGRdN6qyIpA/y3mVtH52XM02uHYz84E="}',''),
(8,3766737321299629230,1796120319993,1,500,'status','the receiver answered 500: see its answer and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"goal.completed","X-Ovyxa-Signature":"2d26237165ad63d64226395fbb8ce818694920c21b89629a28becbaf3a652c42","webhook-id":"msg_344623a2fe4554ae","webhook-timestamp":"1796120319","webhook-signature":"v1,OUe+rEK4eH0qBk6jAbECdqqcVmGTAc81BUmBymI904I="}','not now'),
(9,3766737321299629231,1796120319996,2,200,'','','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"400d92065e348ce19bfaa95bf31a87889f82e47089930b205b316b78d602e73e","webhook-id":"msg_344623a2fe4554af","webhook-timestamp":"1796120319","webhook-signature":"v1,lYa2UPttWDpX95dmH4ZK27PZiQlqQ8rS+p7NIbRdTDM= v1,sgkmqgiy7h/Q4g9GvaI2cek/sJN6NvBrZ2T76ISmOM8="}',''),
(10,3766737321299629232,1796120319997,1,500,'status','the receiver answered 500: see its answer and its log','{"Content-Type":"application/json","User-Agent":"ovx-lite/0.1.0","X-Ovyxa-Event":"usage.threshold","X-Ovyxa-Signature":"eb7f401ab991fdc111bf1c2b6b3f09739dba372fada2e524d62d38281a8c04f3","webhook-id":"msg_344623a2fe4554b0","webhook-timestamp":"1796120319","webhook-signature":"v1,NDGHdX4iWSbFOrEePzeskp1L3D7R6f6kQKArmwWgOj8="}','not now');
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
    body             BLOB NOT NULL,    -- the very bytes, the same in all attempts
    status           TEXT NOT NULL,    -- pending, delivered, failed, throttled or skipped
    attempts         INTEGER NOT NULL, -- that ended, since it was queued last
    next_attempt_at  INTEGER NOT NULL,
    lease_token      INTEGER,          -- of the process that is sending it now
    lease_expires_at INTEGER
) STRICT;
INSERT INTO "deliveries" VALUES
(3766737320683066535,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D7D','delivered',1,1796120319875,NULL,NULL),
(3766737320683066536,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32355431343A30303A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F7465616D222C22736F75726365223A226E6577732E6578616D706C652E6F7267222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F7465616D20286E6577732E6578616D706C652E6F726729222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796120379938,NULL,NULL),
(3766737321247200425,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431303A31383A33395A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796120319970,NULL,NULL),
(3766737321247200426,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431303A31383A33395A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A38302C227573616765223A32342C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D736974652068617320757365642038302025206F6620697473206576656E7473206F6620323032362D31323A203234206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796120379970,NULL,NULL),
(3766737321276560555,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796120319983,NULL,NULL),
(3766737321276560556,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32345431323A30313A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A2250726963696E67222C2276697369746F725F636F756E74223A312C2275726C223A222F70726963696E672F706C616E73222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A2250726963696E673A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F70726963696E672F706C616E73202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796120379983,NULL,NULL),
(3766737321299629229,1,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D7D','delivered',1,1796120319995,NULL,NULL),
(3766737321299629230,2,'goal.completed',X'7B226576656E74223A22676F616C2E636F6D706C65746564222C2274696D657374616D70223A22323032352D31302D32375431323A30323A30305A222C22736974655F6964223A226D792D73697465222C2264617461223A7B22676F616C5F6E616D65223A225369676E2D7570222C2276697369746F725F636F756E74223A312C2275726C223A222F7369676E7570222C22736F75726365223A22646972656374222C22636F756E747279223A22227D2C2274657874223A225369676E2D75703A20676F616C20636F6D706C65746564206F6E206D792D73697465206F6E202F7369676E7570202864697265637429222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796120379995,NULL,NULL),
(3766737321299629231,1,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431303A31383A33395A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D7D','delivered',1,1796120319999,NULL,NULL),
(3766737321299629232,2,'usage.threshold',X'7B226576656E74223A2275736167652E7468726573686F6C64222C2274696D657374616D70223A22323032362D31322D30315431303A31383A33395A222C22736974655F6964223A226D792D73697465222C2264617461223A7B227468726573686F6C64223A3130302C227573616765223A33302C226C696D6974223A33302C22706572696F64223A22323032362D3132227D2C2274657874223A226D792D73697465206861732075736564203130302025206F6620697473206576656E7473206F6620323032362D31323A203330206F66203330222C226D726B64776E223A66616C73652C226C696E6B5F6E616D6573223A66616C73652C22756E6675726C5F6C696E6B73223A66616C73652C22756E6675726C5F6D65646961223A66616C73657D','pending',1,1796120379999,NULL,NULL);
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
CREATE TABLE event_types (
    id              INTEGER PRIMARY KEY,
    api             TEXT NOT NULL, -- the dialect in which it was sent, or 'import'
    type            TEXT NOT NULL, -- 'pageview', 'event', …
    name            TEXT NOT NULL,
    excluded_reason TEXT NOT NULL, -- why such events are in no count ('bot'); '' if they are counted
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
    visit_id          INTEGER NOT NULL, -- the id of the event that began the visit; its own if it is in no visit
    id_offset         INTEGER NOT NULL, -- negative for an event that arrived late and happened before that one
    event_type_id     INTEGER NOT NULL,
    page_id           INTEGER NOT NULL,
    traffic_source_id INTEGER NOT NULL,
    client_id         INTEGER NOT NULL,
    props             TEXT,             -- custom properties: a JSON object
    import_line_hash  INTEGER,          -- of imported events: the log line's, without its address
    person_id         INTEGER,          -- whom the request named; for other events, see identity_links
    revenue_minor     INTEGER,          -- in the event type's currency
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES
(1,3693532623667399622,0,1,1,1,1,NULL,1316618514,NULL,NULL),
(1,3693532623667399622,1,1,1,1,1,NULL,2116170787,NULL,NULL),
(1,3693623218536647624,0,1,2,2,2,NULL,976570908,NULL,NULL),
(1,3693698718630153170,-1258291199997,2,6,2,3,NULL,NULL,NULL,NULL),
(1,3693698718630153170,0,2,3,3,3,NULL,NULL,NULL,NULL),
(1,3693698718630153170,629145600001,2,4,2,3,NULL,NULL,NULL,NULL),
(1,3693698718630153170,754974720002,3,5,2,3,'{"plan":"pro","seats":3,"trial":true,"price":0.1,"note":"\"Größe\"\n尺寸"}',NULL,NULL,NULL),
(1,3693710043250953174,0,2,3,2,3,NULL,NULL,NULL,NULL),
(1,3693713818124553185,0,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693713818124553185,1258291200001,6,13,2,2,'{"amount":19.99,"currency":"EUR","item":"book"}',NULL,-2285343577200732905,1999),
(1,3693713818124553185,89338675200002,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693728917619037360,0,11,15,2,5,NULL,NULL,3450765172397278752,NULL),
(1,3693728917619037360,125829120001,12,4,2,5,NULL,NULL,3450765172397278752,NULL),
(1,3693805673382153188,0,5,13,2,2,NULL,NULL,NULL,NULL),
(1,3693895012057353177,0,4,9,2,4,NULL,NULL,NULL,NULL),
(1,3693910237380957362,0,13,15,2,5,NULL,NULL,3450765172397278752,1500),
(1,3693925211046237351,0,7,14,5,2,NULL,NULL,NULL,NULL),
(1,3693925211046237351,125829120001,8,14,2,2,'{"ms":41000,"scroll":80}',NULL,NULL,NULL),
(1,3693932760793437353,0,8,13,2,2,'{"ms":9000,"scroll":10}',NULL,NULL,NULL),
(1,3693933012451677354,0,8,13,2,2,'{"ms":2000,"scroll":90}',NULL,NULL,NULL),
(1,3693940310540637355,0,7,3,2,2,NULL,NULL,NULL,NULL),
(1,3693984979878153175,0,2,7,2,3,NULL,NULL,NULL,NULL),
(1,3693986238169353176,0,2,8,2,3,NULL,NULL,NULL,NULL),
(1,3694004483391753178,0,2,3,4,2,NULL,NULL,NULL,NULL),
(1,3694012033138953179,0,2,10,2,2,NULL,NULL,NULL,NULL),
(1,3694121504473437356,0,7,13,2,2,NULL,NULL,2576456042512006273,NULL),
(1,3694121504473437356,125829120001,9,13,2,2,'{"text":"Buy"}',NULL,NULL,NULL),
(1,3694121504473437356,12582912000002,10,13,2,2,NULL,NULL,NULL,NULL),
(1,3694249850175753181,0,3,5,2,5,'{"plan":"free"}',NULL,NULL,NULL),
(1,3694257399922953182,0,2,12,2,2,NULL,NULL,NULL,NULL),
(1,3694272625246557363,0,14,15,2,5,NULL,NULL,2576456042512006273,1234),
(1,3694272751075677364,0,15,5,2,5,NULL,NULL,NULL,NULL),
(1,3694302698406237359,0,7,13,2,2,NULL,NULL,3450765172397278752,NULL),
(1,3694359321510153180,0,2,11,2,5,NULL,NULL,NULL,NULL),
(2,3693819388756233183,0,2,3,2,3,NULL,NULL,NULL,NULL),
(2,3693819514585353184,0,2,3,2,3,NULL,NULL,NULL,NULL);
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
    event_name       TEXT NOT NULL, -- '' if path_pattern decides
    path_pattern     TEXT NOT NULL, -- '' if event_name decides
    created_at       INTEGER NOT NULL,
    counted_from_day INTEGER NOT NULL -- the rollups have it from this day on; 0 once they have all days
) STRICT;
INSERT INTO "goals" VALUES
(1,'goal_1aa7b5033146',1,'Sign-up','signup','',1796120312752,0),
(2,'goal_f19562397a27',1,'Pricing','','/pricing/**',1796120313616,0);
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
(1,'key','key-1',X'E7FF704502812AABBE0196D127F7FB13',201,X'7B2273756363657373223A747275652C226576656E745F6964223A226576745F33333434613338383366343430626465227D',1796120311846);
CREATE TABLE identity_links (
    site_id    INTEGER NOT NULL,
    visitor_id INTEGER NOT NULL,
    linked_at  INTEGER NOT NULL,
    person_id  INTEGER NOT NULL, -- 0 if the person was erased
    PRIMARY KEY (site_id, visitor_id, linked_at, person_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "identity_links" VALUES
(1,-118257308031076,1761494400250,2576456042512006273),
(1,-118257308031076,1761580800250,3450765172397278752),
(1,12698465713631,1761300600250,-2285343577200732905);
CREATE TABLE login_sessions (
    token_hash BLOB PRIMARY KEY, -- SHA-256 of the token in the browser's cookie
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "login_sessions" VALUES
(X'F0CF09BB283E8C74BDE4AFD472F2BECEE6232AA25C70541B7A592B8FE1A6CF4A',1796120320444);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES
('registry_version',815),
('retention_ran_at',1796120325213),
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
    session_key      INTEGER,          -- a hash of the session that the caller named, if it did
    PRIMARY KEY (daily_visitor_id, site_id, visit_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "open_visits" VALUES
(1,-124312358933405,3694004483391753178,NULL),
(1,-124312358933405,3694012033138953179,NULL),
(1,-118257308014536,3694302698406237359,NULL),
(1,-118257308014529,3694121504473437356,-69686633142299),
(2,-68105633862410,3693819514585353184,NULL),
(1,-43152019210118,3693698718630153170,NULL),
(1,-43152019210118,3693710043250953174,NULL),
(1,12698465727101,3693805673382153188,-12229771739348),
(1,12698465727102,3693713818124553185,52873110248655),
(2,12714086566956,3693819388756233183,NULL),
(1,42881301660602,3693986238169353176,NULL),
(1,78627198549256,3694272625246557363,NULL),
(1,100204300655436,3693532623667399622,NULL),
(1,101417065327439,3693925211046237351,NULL),
(1,105217065715274,3693940310540637355,NULL),
(1,105308995727277,3693910237380957362,NULL),
(1,105308995727278,3693728917619037360,NULL),
(1,112381263262572,3693984979878153175,NULL),
(1,113062282787795,3693623218536647624,NULL),
(1,129977444888134,3694257399922953182,NULL);
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
    external_id TEXT NOT NULL,       -- the caller's own id for them
    traits      TEXT NOT NULL,       -- what callers said about them: a JSON object
    created_at  INTEGER NOT NULL     -- the time of the event that first named them
) STRICT;
INSERT INTO "persons" VALUES
(-2285343577200732905,1,'ada','{"email":"ada@example.com","name":"Ada"}',1761300600250),
(2576456042512006273,1,'bob','{}',1761494400250),
(3450765172397278752,1,'carol','{"name":"Carol","plan":"pro","seats":3}',1761580800250);
CREATE TABLE rate_limit_counters (
    principal   TEXT NOT NULL,    -- the public_id of an API key, or a site and the hash of an address
    unix_second INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (principal, unix_second)
) STRICT, WITHOUT ROWID;
INSERT INTO "rate_limit_counters" VALUES
('1:40f94000ed75bf5b',1796120311,4),
('1:40f94000ed75bf5b',1796120319,8),
('key_55b910f3c18f',1796120311,2);
CREATE TABLE rollups (
    site_id     INTEGER NOT NULL,
    period_days INTEGER NOT NULL, -- 1 or 7
    start_day   INTEGER NOT NULL,
    dimension   INTEGER NOT NULL, -- a number of the class Dimension
    value_id    INTEGER NOT NULL, -- of a dimension_value, a goal or a person; 0 for all other values together
    visitors    INTEGER NOT NULL, -- of a week: the sum of its days
    visits      INTEGER NOT NULL,
    pageviews   INTEGER NOT NULL, -- 0 where the dimension belongs to visits, as in events
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
(1,1,20385,19,-2285343577200732905,0,0,0,1),
(1,1,20385,19,3450765172397278752,0,0,1,2),
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
(1,1,20386,19,3450765172397278752,0,0,0,1),
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
(1,1,20387,19,2576456042512006273,0,0,1,1),
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
(1,1,20388,19,2576456042512006273,0,0,0,1),
(1,1,20388,19,3450765172397278752,0,0,1,1),
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
(1,20788,X'B9C9138EABEFA9CE22993957367324A51E779976F003A6A9F3AA8B66FE711831'),
(2,20788,X'1680DBA47C94A870F1E011B5CF062C28CC2DAB7340E79D54B581A609DFEE0279');
CREATE TABLE shared_links (
    site_id       INTEGER PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    token         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL, -- '' if the link needs no password
    created_at    INTEGER NOT NULL
) STRICT;
INSERT INTO "shared_links" VALUES
(1,'8j4VG-EpSYVKV7yq','scrypt 16384 8 5 V0EOE1OMF8BEvaUnHtazpA== p7OOiaRMotHppRWK0nENHnyYdPjSSGBgfGbf4Z17LV4=',1796120320984);
CREATE TABLE sites (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so no event ever changes its site
    slug            TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    domain          TEXT NOT NULL,
    timezone        TEXT NOT NULL,                     -- an IANA name; days are this zone's
    public_key      TEXT NOT NULL UNIQUE,              -- may stand in web pages
    jwt_secret      TEXT NOT NULL,
    monthly_limit   INTEGER,                           -- events a month; alerts count against it
    retention_days  INTEGER,                           -- older events are deleted
    created_at      INTEGER NOT NULL,
    identity_secret BLOB NOT NULL DEFAULT x'',         -- hashes the names of visitors and persons that callers send
    allowed_hosts   TEXT NOT NULL DEFAULT '',          -- separated by spaces; '' for all
    hourly_limit    INTEGER,                           -- requests without a key, an hour and address
    hourly_events   INTEGER                            -- events without a key, an hour and address
) STRICT;
INSERT INTO "sites" VALUES
(1,'my-site','Größe','example.com','Europe/Paris','pk_live_c01eccc1c9952e7312f5b784','wJUjibm7_5aOgn5XDWUfC1lyabVdsRNgbdv6WczC74Y',30,36500,1796120299822,X'C9BB6EDF8B093758E4690F32E538B7EA8C03FAFFC15FDD6F7F6C90918045770C','example.com example.org',700,NULL),
(2,'other-site','other-site','','UTC','pk_live_7726ff65be3bad95c62ec242','5Ks1yDSWCIUscWbrzyYCGdvsAyrsQyoPPvcMNX4-K-U',NULL,NULL,1796120301382,X'82C4F8CC760DE9F6ACB1013453341426B77C1E637E3828E6F01BA9E8B815025E','',NULL,NULL);
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
    id                   INTEGER NOT NULL, -- that of the event that began it, as events arrived
    traffic_source_id    INTEGER NOT NULL, -- of its earliest event
    client_id            INTEGER NOT NULL, -- of its earliest event
    entry_page_id        INTEGER,          -- the first page viewed; NULL without a pageview
    exit_page_id         INTEGER,          -- the last page viewed
    page_type_bloom      INTEGER NOT NULL, -- a Bloom filter: a bit for each of its pages and event types
    visitor_id           INTEGER NOT NULL, -- 48 bits; another one each day, unless the caller identified the visitor
    is_identified        INTEGER NOT NULL, -- whether the caller did
    is_only_visit_of_day INTEGER NOT NULL, -- whether the visitor has no other visit on its day
    early_ms             INTEGER NOT NULL, -- from its earliest event to the one that began it
    elapsed_ms           INTEGER NOT NULL, -- from the event that began it to its last one
    pageviews            INTEGER NOT NULL,
    events               INTEGER NOT NULL, -- pageviews included
    PRIMARY KEY (site_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "visits" VALUES
(1,3693532623667399622,1,1,1,1,137438953474,100204300655436,0,1,0,0,2,2),
(1,3693623218536647624,2,2,2,2,137438953476,113062282787795,0,1,0,0,1,1),
(1,3693698718630153170,2,3,6,4,824633720952,-43152019210118,0,0,600000,360000,3,4),
(1,3693710043250953174,2,3,3,3,274877906952,-43152019210118,0,0,0,0,1,1),
(1,3693713818124553185,2,2,NULL,NULL,6597069774848,12698465713631,1,1,0,42600000,0,3),
(1,3693728917619037360,2,5,4,4,206158462992,105308995739663,1,1,0,60000,1,2),
(1,3693805673382153188,2,2,NULL,NULL,2199023263744,12698465713631,1,1,0,0,0,1),
(1,3693910237380957362,2,5,NULL,NULL,274877939712,105308995739663,1,1,0,0,0,1),
(1,3693925211046237351,5,2,14,14,26388279083008,101417065342189,1,1,0,60000,1,1),
(1,3693940310540637355,2,2,3,3,8796093022216,105217065715274,0,1,0,0,1,1),
(1,3693984979878153175,2,3,7,7,274877907072,112381263262572,0,1,0,0,1,1),
(1,3693986238169353176,2,3,8,8,274877907200,42881301660602,0,1,0,0,1,1),
(1,3694004483391753178,4,2,3,3,274877906952,-124312358933405,0,0,0,0,1,1),
(1,3694012033138953179,2,2,10,10,274877907968,-124312358933405,0,0,0,0,1,1),
(1,3694121504473437356,2,2,13,13,114349209296896,-118257308031076,1,1,0,6000000,1,3),
(1,3694257399922953182,2,2,12,12,274877911040,129977444888134,0,1,0,0,1,1),
(1,3694272625246557363,2,5,NULL,NULL,549755846656,78627198562988,1,1,0,0,0,1),
(1,3694272751075677364,2,5,NULL,NULL,-1,32273807219811,0,1,0,0,0,1),
(1,3694302698406237359,2,2,13,13,8796093030400,-118257308031076,1,1,0,0,1,1),
(2,3693819388756233183,2,3,3,3,274877906952,12714086566956,0,1,0,0,1,1),
(2,3693819514585353184,2,3,3,3,274877906952,-68105633862410,0,1,0,0,1,1);
CREATE TABLE webhooks (
    id                INTEGER PRIMARY KEY,
    public_id         TEXT NOT NULL UNIQUE,
    site_id           INTEGER NOT NULL REFERENCES sites ON DELETE CASCADE,
    url               TEXT NOT NULL,
    event_names       TEXT NOT NULL,    -- which messages it gets, separated by spaces
    spike_threshold   INTEGER,          -- active visitors, for realtime.spike
    body_format       TEXT NOT NULL,    -- json, slack or discord
    secret            TEXT NOT NULL,    -- signs messages, so a hash would not do
    previous_secret   TEXT NOT NULL,    -- signs, too, for a day after rotated_at; '' if there is none
    rotated_at        INTEGER NOT NULL,
    is_enabled        INTEGER NOT NULL,
    disabled_reason   TEXT NOT NULL,    -- '' if a person disabled it
    first_failed_at   INTEGER,          -- the first failed attempt since the last success
    failed_deliveries INTEGER NOT NULL, -- deliveries since then that are not attempted any more
    created_at        INTEGER NOT NULL
) STRICT;
INSERT INTO "webhooks" VALUES
(1,'wh_ce79e56cb7ce',1,'http://127.0.0.1:35559/hook','goal.completed usage.threshold realtime.spike',100,'json','whsec_/x/9y3qw6Cln/M6IR4H+KiBwDWFA/nXpi41Wlz/sXds=','whsec_72JjXmBBmy8rgxWEMl58dUOePxkR93uqiPrlk8BunAM=',1796120315182,1,'',NULL,0,1796120314203),
(2,'wh_d96557487411',1,'http://127.0.0.1:38557/hook','goal.completed usage.threshold',NULL,'slack','whsec_ofLr/dPX79Dvva8Ti6aKfAT/O/UXjLjS8IuaR8UA9r0=','',0,1,'',1796120319938,0,1796120316202),
(3,'wh_bc991c70af1d',1,'http://127.0.0.1:38557/hook','goal.completed',NULL,'json','whsec_UjSKSjD4OGRyPGmt5J8BBg5p+ugFVYq0/ehMkQkHpXo=','',0,0,'',NULL,0,1796120317066);
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

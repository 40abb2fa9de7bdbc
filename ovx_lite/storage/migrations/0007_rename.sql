-- Tables and columns get the names that web analytics uses, with their units. Only rows of `meta` change.

-- SQLite cannot rename an index, so these are created again at the end.
DROP INDEX keys_of_site;
DROP INDEX annotations_of_site;
DROP INDEX answers_by_age;
DROP INDEX visits_of_named;
DROP INDEX deliveries_of_webhook;
DROP INDEX due;
DROP INDEX being_sent;
DROP INDEX attempts_of_delivery;

UPDATE meta SET name = 'registry_version' WHERE name = 'registry';
UPDATE meta SET name = 'write_checked_at' WHERE name = 'touched';
UPDATE meta SET name = 'retention_ran_at' WHERE name = 'retention_ran_at_ms';

ALTER TABLE admin RENAME COLUMN password TO password_hash;

ALTER TABLE sessions RENAME TO login_sessions;
ALTER TABLE login_sessions RENAME COLUMN digest TO token_hash;
ALTER TABLE login_sessions RENAME COLUMN began TO started_at;

ALTER TABLE sites RENAME COLUMN id TO slug;
ALTER TABLE sites RENAME COLUMN number TO id;
ALTER TABLE sites RENAME COLUMN created TO created_at;
ALTER TABLE sites RENAME COLUMN secret TO identity_secret;

ALTER TABLE keys RENAME TO api_keys;
ALTER TABLE api_keys RENAME COLUMN id TO public_id;
ALTER TABLE api_keys RENAME COLUMN site TO site_id;
ALTER TABLE api_keys RENAME COLUMN digest TO key_hash;
ALTER TABLE api_keys RENAME COLUMN created TO created_at;
ALTER TABLE api_keys RENAME COLUMN revoked TO revoked_at;
ALTER TABLE api_keys RENAME COLUMN last_used TO last_used_at;

ALTER TABLE salts RENAME COLUMN site TO site_id;

ALTER TABLE shares RENAME TO shared_links;
ALTER TABLE shared_links RENAME COLUMN site TO site_id;
ALTER TABLE shared_links RENAME COLUMN password TO password_hash;
ALTER TABLE shared_links RENAME COLUMN created TO created_at;

ALTER TABLE annotations RENAME COLUMN id TO public_id;
ALTER TABLE annotations RENAME COLUMN site TO site_id;

ALTER TABLE answers RENAME TO idempotent_responses;
ALTER TABLE idempotent_responses RENAME COLUMN site TO site_id;
ALTER TABLE idempotent_responses RENAME COLUMN key TO idempotency_key;
ALTER TABLE idempotent_responses RENAME COLUMN fingerprint TO request_hash;
ALTER TABLE idempotent_responses RENAME COLUMN status TO http_status;
ALTER TABLE idempotent_responses RENAME COLUMN answered TO created_at;

ALTER TABLE usage RENAME TO rate_limit_counters;
ALTER TABLE rate_limit_counters RENAME COLUMN caller TO principal;
ALTER TABLE rate_limit_counters RENAME COLUMN second TO unix_second;

ALTER TABLE months RENAME TO monthly_usage;
ALTER TABLE monthly_usage RENAME COLUMN site TO site_id;

ALTER TABLE origins RENAME TO traffic_sources;

ALTER TABLE kinds RENAME TO event_types;
ALTER TABLE event_types RENAME COLUMN excluded TO excluded_reason;

ALTER TABLE events RENAME COLUMN site TO site_id;
ALTER TABLE events RENAME COLUMN visit TO visit_id;
ALTER TABLE events RENAME COLUMN later TO id_offset;
ALTER TABLE events RENAME COLUMN kind TO event_type_id;
ALTER TABLE events RENAME COLUMN page TO page_id;
ALTER TABLE events RENAME COLUMN origin TO traffic_source_id;
ALTER TABLE events RENAME COLUMN client TO client_id;
ALTER TABLE events RENAME COLUMN line TO import_line_hash;
ALTER TABLE events RENAME COLUMN person TO person_id;
ALTER TABLE events RENAME COLUMN revenue TO revenue_minor;

ALTER TABLE visits RENAME COLUMN site TO site_id;
ALTER TABLE visits RENAME COLUMN origin TO traffic_source_id;
ALTER TABLE visits RENAME COLUMN client TO client_id;
ALTER TABLE visits RENAME COLUMN entry TO entry_page_id;
ALTER TABLE visits RENAME COLUMN exit TO exit_page_id;
ALTER TABLE visits RENAME COLUMN seen TO page_type_bloom;
ALTER TABLE visits RENAME COLUMN visitor TO visitor_id;
ALTER TABLE visits RENAME COLUMN named TO is_identified;
ALTER TABLE visits RENAME COLUMN alone TO is_only_visit_of_day;
ALTER TABLE visits RENAME COLUMN before TO early_ms;
ALTER TABLE visits RENAME COLUMN after TO elapsed_ms;

ALTER TABLE open_visits RENAME COLUMN site TO site_id;
ALTER TABLE open_visits RENAME COLUMN guest TO daily_visitor_id;
ALTER TABLE open_visits RENAME COLUMN visit TO visit_id;
ALTER TABLE open_visits RENAME COLUMN stay TO session_key;

ALTER TABLE persons RENAME COLUMN id TO external_id;
ALTER TABLE persons RENAME COLUMN number TO id;
ALTER TABLE persons RENAME COLUMN site TO site_id;
ALTER TABLE persons RENAME COLUMN created TO created_at;

ALTER TABLE ties RENAME TO identity_links;
ALTER TABLE identity_links RENAME COLUMN site TO site_id;
ALTER TABLE identity_links RENAME COLUMN visitor TO visitor_id;
ALTER TABLE identity_links RENAME COLUMN since TO linked_at;
ALTER TABLE identity_links RENAME COLUMN person TO person_id;

ALTER TABLE days RENAME TO daily_totals;
ALTER TABLE daily_totals RENAME COLUMN site TO site_id;
ALTER TABLE daily_totals RENAME COLUMN duration TO duration_ms;
ALTER TABLE daily_totals RENAME COLUMN strays TO sessionless_events;

ALTER TABLE takings RENAME TO daily_revenue;
ALTER TABLE daily_revenue RENAME COLUMN site TO site_id;
ALTER TABLE daily_revenue RENAME COLUMN times TO transactions;
ALTER TABLE daily_revenue RENAME COLUMN amount TO amount_minor;

ALTER TABLE words RENAME TO dimension_values;
ALTER TABLE dimension_values RENAME COLUMN word TO value;

ALTER TABLE rollups RENAME COLUMN site TO site_id;
ALTER TABLE rollups RENAME COLUMN span TO period_days;
ALTER TABLE rollups RENAME COLUMN begins TO start_day;
ALTER TABLE rollups RENAME COLUMN value TO value_id;

ALTER TABLE settled RENAME TO finalized;
ALTER TABLE finalized RENAME COLUMN site TO site_id;
ALTER TABLE finalized RENAME COLUMN until TO before_day;

ALTER TABLE stale RENAME TO dirty_days;
ALTER TABLE dirty_days RENAME COLUMN site TO site_id;

ALTER TABLE goals RENAME COLUMN id TO public_id;
ALTER TABLE goals RENAME COLUMN number TO id;
ALTER TABLE goals RENAME COLUMN site TO site_id;
ALTER TABLE goals RENAME COLUMN event TO event_name;
ALTER TABLE goals RENAME COLUMN path TO path_pattern;
ALTER TABLE goals RENAME COLUMN created TO created_at;
ALTER TABLE goals RENAME COLUMN since TO counted_from_day;

ALTER TABLE webhooks RENAME COLUMN id TO public_id;
ALTER TABLE webhooks RENAME COLUMN number TO id;
ALTER TABLE webhooks RENAME COLUMN site TO site_id;
ALTER TABLE webhooks RENAME COLUMN events TO event_names;
ALTER TABLE webhooks RENAME COLUMN spike_above TO spike_threshold;
ALTER TABLE webhooks RENAME COLUMN format TO body_format;
ALTER TABLE webhooks RENAME COLUMN old_secret TO previous_secret;
ALTER TABLE webhooks RENAME COLUMN rotated TO rotated_at;
ALTER TABLE webhooks RENAME COLUMN enabled TO is_enabled;
ALTER TABLE webhooks RENAME COLUMN why TO disabled_reason;
ALTER TABLE webhooks RENAME COLUMN failing_since TO first_failed_at;
ALTER TABLE webhooks RENAME COLUMN exhausted TO failed_deliveries;
ALTER TABLE webhooks RENAME COLUMN created TO created_at;

ALTER TABLE deliveries RENAME COLUMN number TO id;
ALTER TABLE deliveries RENAME COLUMN webhook TO webhook_id;
ALTER TABLE deliveries RENAME COLUMN event TO event_name;
ALTER TABLE deliveries RENAME COLUMN tries TO attempts;
ALTER TABLE deliveries RENAME COLUMN due TO next_attempt_at;
ALTER TABLE deliveries RENAME COLUMN token TO lease_token;
ALTER TABLE deliveries RENAME COLUMN lease TO lease_expires_at;

ALTER TABLE attempts RENAME COLUMN number TO id;
ALTER TABLE attempts RENAME COLUMN delivery TO delivery_id;
ALTER TABLE attempts RENAME COLUMN began TO started_at;
ALTER TABLE attempts RENAME COLUMN took TO duration_ms;
ALTER TABLE attempts RENAME COLUMN status TO http_status;
ALTER TABLE attempts RENAME COLUMN error TO error_code;
ALTER TABLE attempts RENAME COLUMN words TO hint;
ALTER TABLE attempts RENAME COLUMN headers TO request_headers;
ALTER TABLE attempts RENAME COLUMN answer TO response_body;

ALTER TABLE marks RENAME TO fired_alerts;
ALTER TABLE fired_alerts RENAME COLUMN site TO site_id;
ALTER TABLE fired_alerts RENAME COLUMN mark TO dedupe_key;

CREATE INDEX api_keys_by_site ON api_keys (site_id);
CREATE INDEX annotations_by_day ON annotations (site_id, day);
CREATE INDEX idempotent_responses_by_age ON idempotent_responses (created_at);
CREATE INDEX visits_by_identified_visitor ON visits (site_id, visitor_id, id) WHERE is_identified = 1;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_to_send ON deliveries (webhook_id, next_attempt_at)
    WHERE status = 'pending' AND lease_token IS NULL;
CREATE INDEX deliveries_by_lease ON deliveries (lease_expires_at) WHERE lease_token IS NOT NULL;
CREATE INDEX attempts_by_delivery ON attempts (delivery_id);

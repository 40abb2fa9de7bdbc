-- What keeps one caller from costing all others too much.

ALTER TABLE sites ADD COLUMN hourly_events INTEGER; -- events without a key, per address; NULL for no limit

-- Events are accepted into a journal first, and projected from there in batches.

CREATE TABLE event_journal (
    seq         INTEGER PRIMARY KEY,
    event_count INTEGER NOT NULL,
    events      BLOB NOT NULL
) STRICT;

-- The columns of events that few events use become tables of their own: a column without a value takes a byte. The
-- events are copied in the order of their key, which fills the pages of the new table.

ALTER TABLE events RENAME TO wide_events;

CREATE TABLE events (
    site_id           INTEGER NOT NULL,
    visit_id          INTEGER NOT NULL,
    id_offset         INTEGER NOT NULL,
    event_type_id     INTEGER NOT NULL,
    page_id           INTEGER NOT NULL,
    traffic_source_id INTEGER NOT NULL,
    client_id         INTEGER NOT NULL,
    props             TEXT,
    person_id         INTEGER,
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;

INSERT INTO events
SELECT site_id, visit_id, id_offset, event_type_id, page_id, traffic_source_id, client_id, props, person_id
FROM wide_events ORDER BY site_id, visit_id, id_offset;

CREATE TABLE event_revenue (
    site_id      INTEGER NOT NULL,
    visit_id     INTEGER NOT NULL,
    id_offset    INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (site_id, visit_id, id_offset)
) STRICT, WITHOUT ROWID;

INSERT INTO event_revenue
SELECT site_id, visit_id, id_offset, revenue_minor
FROM wide_events WHERE revenue_minor IS NOT NULL ORDER BY site_id, visit_id, id_offset;

CREATE TABLE imported_lines (
    site_id   INTEGER NOT NULL,
    logged_at INTEGER NOT NULL,
    line_hash INTEGER NOT NULL,
    PRIMARY KEY (site_id, logged_at, line_hash)
) STRICT, WITHOUT ROWID;

INSERT INTO imported_lines
SELECT DISTINCT site_id, visit_id + id_offset >> 21, import_line_hash
FROM wide_events WHERE import_line_hash IS NOT NULL ORDER BY 1, 2, 3;

DROP TABLE wide_events;

-- Flags share a column, and what is mostly 0 is stored in place of what is not: 0 takes no space.

ALTER TABLE visits RENAME TO wide_visits;

CREATE TABLE visits (
    site_id              INTEGER NOT NULL,
    id                   INTEGER NOT NULL,
    traffic_source_id    INTEGER NOT NULL,
    client_id            INTEGER NOT NULL,
    entry_page_id        INTEGER,
    exit_page_id         INTEGER,
    page_type_bloom      INTEGER NOT NULL,
    visitor_id           INTEGER NOT NULL,
    flags                INTEGER NOT NULL,
    is_only_visit_of_day INTEGER AS (flags & 1),
    is_identified        INTEGER AS (flags >> 1),
    early_ms             INTEGER NOT NULL,
    elapsed_ms           INTEGER NOT NULL,
    pageviews            INTEGER NOT NULL,
    other_events         INTEGER NOT NULL,
    events               INTEGER AS (pageviews + other_events),
    PRIMARY KEY (site_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO visits
SELECT site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom, visitor_id,
    is_only_visit_of_day + 2 * is_identified, early_ms, elapsed_ms, pageviews, events - pageviews
FROM wide_visits ORDER BY site_id, id;

DROP TABLE wide_visits;
CREATE INDEX visits_by_identified_visitor ON visits (site_id, visitor_id, id) WHERE is_identified = 1;

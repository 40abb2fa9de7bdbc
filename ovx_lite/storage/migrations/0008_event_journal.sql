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

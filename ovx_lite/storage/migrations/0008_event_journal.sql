-- Events are accepted into a journal first, and projected from there in batches.

CREATE TABLE event_journal (
    seq         INTEGER PRIMARY KEY,
    event_count INTEGER NOT NULL,
    events      BLOB NOT NULL
) STRICT;

-- When a stream that has lost its events got its last one: it goes an hour after that. NULL while it has events, or never had any.

ALTER TABLE streams ADD COLUMN emptied_ms INTEGER;

CREATE INDEX streams_emptied ON streams (emptied_ms) WHERE emptied_ms IS NOT NULL;

UPDATE streams SET emptied_ms = ingested_ms
WHERE ingested_ms IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events WHERE stream_id = streams.id);

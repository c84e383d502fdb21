-- Rows carry the pipeline that they belong to and their event's place in the total order of events, and the offsets that
-- the audit has read up to are kept beside the rows. The program gives the settings activity_indexer.pipeline and
-- activity_indexer.topic for this transaction: what was written from that topic becomes the pipeline's.

-- A version is now (microseconds * 4 + class) * 256, and 63 bits hold that up to the year 2255.
DO $$
DECLARE
    beyond bigint;
BEGIN
    SELECT count(*) INTO beyond FROM transaction_events WHERE version >= 1::bigint << 55;
    SELECT beyond + count(*) INTO beyond FROM transaction_versions WHERE version >= 1::bigint << 55;
    IF beyond > 0 THEN
        RAISE EXCEPTION 'the audit has % rows with a time after the year 2255: delete them from transactions, '
            'transaction_events and transaction_versions WHERE version >= 36028797018963968, then start again', beyond;
    END IF;
END
$$;

-- Who writes here.
CREATE TABLE audit_pipelines (
    pipeline text COLLATE "C" PRIMARY KEY,
    topic text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);

-- One rewrite for each table: the type of the column stays, its values change.
ALTER TABLE transaction_versions
    ADD COLUMN pipeline text COLLATE "C" NOT NULL DEFAULT current_setting('activity_indexer.pipeline'),
    ADD COLUMN nanoseconds smallint NOT NULL DEFAULT 0,
    ADD COLUMN rank smallint NOT NULL GENERATED ALWAYS AS ((version / 256) % 4) STORED,
    ADD COLUMN published bigint NOT NULL DEFAULT 0,
    ADD COLUMN published_partition integer NOT NULL DEFAULT -1,
    ADD COLUMN published_offset bigint NOT NULL DEFAULT -1,
    ADD COLUMN content bytea NOT NULL DEFAULT '',
    ALTER COLUMN version TYPE bigint USING version * 256;
ALTER TABLE transactions
    ADD COLUMN pipeline text COLLATE "C" NOT NULL DEFAULT current_setting('activity_indexer.pipeline'),
    ADD COLUMN source text,
    ALTER COLUMN version TYPE bigint USING version * 256;
ALTER TABLE transaction_events
    ADD COLUMN pipeline text COLLATE "C" NOT NULL DEFAULT current_setting('activity_indexer.pipeline'),
    ADD COLUMN nanoseconds smallint NOT NULL DEFAULT 0,
    ADD COLUMN rank smallint NOT NULL GENERATED ALWAYS AS ((version / 256) % 4) STORED,
    ADD COLUMN published bigint NOT NULL DEFAULT 0,
    ADD COLUMN published_partition integer NOT NULL DEFAULT -1,
    ADD COLUMN published_offset bigint NOT NULL DEFAULT -1,
    ADD COLUMN content bytea NOT NULL DEFAULT '',
    ADD COLUMN source text,
    ALTER COLUMN version TYPE bigint USING version * 256;
ALTER TABLE audit_rejects
    ADD COLUMN pipeline text COLLATE "C" NOT NULL DEFAULT current_setting('activity_indexer.pipeline'),
    ADD COLUMN nanoseconds smallint NOT NULL DEFAULT 0,
    ADD COLUMN published bigint NOT NULL DEFAULT 0,
    ADD COLUMN published_partition integer NOT NULL DEFAULT -1,
    ADD COLUMN published_offset bigint NOT NULL DEFAULT -1,
    ADD COLUMN source text,
    ALTER COLUMN version TYPE bigint USING version * 256;
ALTER TABLE transaction_versions ALTER COLUMN rank DROP EXPRESSION, ALTER COLUMN pipeline DROP DEFAULT;
ALTER TABLE transaction_events ALTER COLUMN rank DROP EXPRESSION, ALTER COLUMN pipeline DROP DEFAULT;
ALTER TABLE transactions ALTER COLUMN pipeline DROP DEFAULT;
ALTER TABLE audit_rejects ALTER COLUMN pipeline DROP DEFAULT;

-- The names of the old keys depend on what was in the schema when they were made.
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN
        SELECT conrelid::regclass AS owner, conname FROM pg_constraint
        WHERE contype = 'p' AND conrelid IN (
            'transaction_versions'::regclass, 'transactions'::regclass,
            'transaction_events'::regclass, 'audit_rejects'::regclass
        )
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.owner, key.conname);
    END LOOP;
END
$$;

-- What another topic's audit wrote into the same tables belongs to nobody until its pipeline claims it.
UPDATE transaction_events SET pipeline = '' WHERE topic <> current_setting('activity_indexer.topic');
UPDATE audit_rejects SET pipeline = '' WHERE topic <> current_setting('activity_indexer.topic');

ALTER TABLE transaction_events ADD PRIMARY KEY (pipeline, transaction_id, version, nanoseconds, rank, content);
ALTER TABLE audit_rejects ADD PRIMARY KEY (pipeline, topic, partition, "offset");

UPDATE transaction_versions AS v SET pipeline = '' WHERE EXISTS (
    SELECT FROM transaction_events AS e WHERE e.pipeline = '' AND e.transaction_id = v.id AND e.version = v.version
);
UPDATE transactions AS t SET pipeline = '' WHERE EXISTS (
    SELECT FROM transaction_events AS e WHERE e.pipeline = '' AND e.transaction_id = t.id AND e.version = t.version
);

ALTER TABLE transaction_versions ADD PRIMARY KEY (pipeline, id);
ALTER TABLE transactions ADD PRIMARY KEY (pipeline, id);

-- How far the audit has read each partition: all from first_offset up to next_offset (but for audit_losses) is here. It
-- is written with the rows, in one transaction, so that a backup holds what belongs together.
CREATE TABLE audit_offsets (
    pipeline text COLLATE "C" NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL DEFAULT '',
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic, partition)
);
INSERT INTO audit_offsets (pipeline, topic, partition, first_offset, next_offset)
SELECT pipeline, topic, partition, min("offset"), max("offset") + 1 FROM transaction_events
GROUP BY pipeline, topic, partition;

-- Records that were gone before the audit read them.
CREATE TABLE audit_losses (
    pipeline text COLLATE "C" NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL DEFAULT '',
    first_offset bigint NOT NULL,
    records bigint NOT NULL,
    reason text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now()
);

-- Gives what belongs to nobody, and was written from this topic, to a pipeline.
CREATE FUNCTION audit_claim(owner text, of_topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE transaction_versions AS v SET pipeline = owner WHERE v.pipeline = '' AND EXISTS (
        SELECT FROM transaction_events AS e
        WHERE e.pipeline = '' AND e.transaction_id = v.id AND e.version = v.version AND e.topic = of_topic
    );
    UPDATE transactions AS t SET pipeline = owner WHERE t.pipeline = '' AND EXISTS (
        SELECT FROM transaction_events AS e
        WHERE e.pipeline = '' AND e.transaction_id = t.id AND e.version = t.version AND e.topic = of_topic
    );
    UPDATE transaction_events SET pipeline = owner WHERE pipeline = '' AND topic = of_topic;
    UPDATE audit_rejects SET pipeline = owner WHERE pipeline = '' AND topic = of_topic;
    UPDATE audit_offsets SET pipeline = owner WHERE pipeline = '' AND topic = of_topic;
END
$$;

-- For an operator: a pipeline goes on under another name. Stop its indexers before.
CREATE FUNCTION audit_rename_pipeline(old_name text, new_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audit_pipelines SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE transaction_versions SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE transactions SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE transaction_events SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE audit_rejects SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE audit_offsets SET pipeline = new_name WHERE pipeline = old_name;
    UPDATE audit_losses SET pipeline = new_name WHERE pipeline = old_name;
END
$$;

-- Where reading a partition begins, when that is not where it ended: at first, after a loss, in a topic that is new.
CREATE FUNCTION audit_begin(
    owner text, of_topic text, of_partition integer, of_topic_id text, start bigint,
    lost_first bigint, lost_records bigint, lost_reason text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_offsets AS known (pipeline, topic, partition, topic_id, first_offset, next_offset)
    VALUES (owner, of_topic, of_partition, of_topic_id, start, start)
    ON CONFLICT (pipeline, topic, partition) DO UPDATE SET
        first_offset = CASE
            WHEN known.topic_id IN ('', excluded.topic_id) THEN least(known.first_offset, excluded.first_offset)
            ELSE excluded.first_offset
        END,
        topic_id = excluded.topic_id,
        next_offset = excluded.next_offset,
        updated_at = now();
    IF lost_reason IS NOT NULL THEN
        INSERT INTO audit_losses (pipeline, topic, partition, topic_id, first_offset, records, reason)
        VALUES (owner, of_topic, of_partition, of_topic_id, lost_first, lost_records, lost_reason);
    END IF;
END
$$;

DROP FUNCTION audit_write(
    text[], bigint[], text[], text[], timestamptz[], text[], integer[], bigint[], text[], text[], text[], text[], text[],
    text[], timestamptz[]
);

-- Writes a batch of a pipeline, and how far its partitions are read then: element n of every array belongs to event n, or
-- to partition n. Returns how many of the events are ties: new, with the time and rank of another one.
CREATE FUNCTION audit_write(
    owner text,
    ids text[],
    versions bigint[],
    fractions smallint[],
    ranks smallint[],
    record_times bigint[],
    record_partitions integer[],
    record_offsets bigint[],
    contents bytea[],
    event_types text[],
    user_ids text[],
    moments timestamptz[],
    topics text[],
    partitions integer[],
    offsets bigint[],
    bodies text[],
    sources text[],
    transaction_types text[],
    products text[],
    statuses text[],
    currencies text[],
    amounts text[],
    creations timestamptz[],
    read_topics text[],
    read_partitions integer[],
    read_topic_ids text[],
    read_since bigint[],
    read_until bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    advanced text[];
    new_ids text[];
    new_versions bigint[];
    new_fractions smallint[];
    new_ranks smallint[];
    ties bigint;
BEGIN
    -- What was read since the last time follows what was read before. Else an older backup took this database's place.
    IF EXISTS (
        SELECT FROM unnest(read_topics, read_partitions, read_since) AS r (topic, partition, since)
        LEFT JOIN audit_offsets AS known
            ON known.pipeline = owner AND known.topic = r.topic AND known.partition = r.partition
        WHERE coalesce(known.next_offset, 0) < r.since
    ) THEN
        RAISE EXCEPTION 'the offsets of the audit went back' USING ERRCODE = 'AI001';
    END IF;

    -- Locks every transaction of the batch, in one order for all writers. The statements below see what the writer
    -- before us committed, for each has a snapshot of its own.
    WITH newest AS (
        SELECT DISTINCT ON (id) * FROM unnest(
            ids, versions, fractions, ranks, record_times, record_partitions, record_offsets, contents
        ) AS e (id, version, nanoseconds, rank, published, published_partition, published_offset, content)
        ORDER BY id, version DESC, nanoseconds DESC, rank DESC,
            published DESC, published_partition DESC, published_offset DESC
    ), moved AS (
        INSERT INTO transaction_versions AS known
            (pipeline, id, version, nanoseconds, rank, published, published_partition, published_offset, content, deleted)
        SELECT owner, id, version, nanoseconds, rank, published, published_partition, published_offset, content, rank = 2
        FROM newest ORDER BY id
        ON CONFLICT (pipeline, id) DO UPDATE SET
            version = excluded.version,
            nanoseconds = excluded.nanoseconds,
            rank = excluded.rank,
            published = excluded.published,
            published_partition = excluded.published_partition,
            published_offset = excluded.published_offset,
            content = excluded.content,
            deleted = excluded.deleted
        WHERE (known.version, known.nanoseconds, known.rank,
               known.published, known.published_partition, known.published_offset)
            < (excluded.version, excluded.nanoseconds, excluded.rank,
               excluded.published, excluded.published_partition, excluded.published_offset)
        RETURNING known.id
    )
    SELECT array_agg(id) INTO advanced FROM moved;

    -- Rows from before 0002 learn what their event's content is, so that its next delivery is no other event.
    UPDATE transaction_events AS known SET
        content = e.content,
        source = e.source,
        published = e.published,
        published_partition = e.published_partition,
        published_offset = e.published_offset
    FROM unnest(
        ids, versions, ranks, record_times, record_partitions, record_offsets, contents, user_ids, bodies, sources, fractions
    ) AS e (id, version, rank, published, published_partition, published_offset, content, user_id, body, source, nanoseconds)
    WHERE known.pipeline = owner AND known.transaction_id = e.id AND known.version = e.version
        AND known.nanoseconds = e.nanoseconds AND known.rank = e.rank AND known.content = ''
        AND known.transaction::text IS NOT DISTINCT FROM e.body AND known.user_id = e.user_id;

    WITH added AS (
        INSERT INTO transaction_events
            (pipeline, transaction_id, version, nanoseconds, rank, published, published_partition, published_offset,
             content, event_type, user_id, "timestamp", topic, partition, "offset", transaction, source)
        SELECT owner, id, version, nanoseconds, rank, published, published_partition, published_offset,
            content, event_type, user_id, moment, topic, partition, position, body::json, source
        FROM unnest(
            ids, versions, fractions, ranks, record_times, record_partitions, record_offsets,
            contents, event_types, user_ids, moments, topics, partitions, offsets, bodies, sources
        ) AS e (
            id, version, nanoseconds, rank, published, published_partition, published_offset,
            content, event_type, user_id, moment, topic, partition, position, body, source
        )
        ON CONFLICT DO NOTHING
        RETURNING transaction_id, version, nanoseconds, rank
    )
    SELECT array_agg(transaction_id), array_agg(version), array_agg(nanoseconds), array_agg(rank)
    INTO new_ids, new_versions, new_fractions, new_ranks FROM added;

    SELECT coalesce(sum(fresh - (fresh = total)::integer), 0) INTO ties FROM (
        SELECT count(*) AS fresh, (
            SELECT count(*) FROM transaction_events AS h
            WHERE h.pipeline = owner AND h.transaction_id = n.id AND h.version = n.version
                AND h.nanoseconds = n.nanoseconds AND h.rank = n.rank
        ) AS total
        FROM unnest(new_ids, new_versions, new_fractions, new_ranks) AS n (id, version, nanoseconds, rank)
        GROUP BY n.id, n.version, n.nanoseconds, n.rank
    ) AS grouped;

    DELETE FROM transactions AS live
    USING unnest(advanced) AS a (id), transaction_versions AS known
    WHERE live.pipeline = owner AND live.id = a.id AND known.pipeline = owner AND known.id = a.id AND known.deleted;

    INSERT INTO transactions
        (pipeline, id, user_id, transaction_type, product, status, currency, amount, created_at,
         event_type, version, updated_at, transaction, source)
    SELECT DISTINCT ON (e.id)
        owner, e.id, e.user_id, e.transaction_type, e.product, e.status, e.currency, e.amount::numeric, e.created_at,
        e.event_type, e.version, e.moment, e.body::json, e.source
    FROM unnest(
        ids, versions, fractions, ranks, record_times, record_partitions, record_offsets, user_ids, event_types, moments,
        bodies, sources, transaction_types, products, statuses, currencies, amounts, creations
    ) WITH ORDINALITY AS e (
        id, version, nanoseconds, rank, published, published_partition, published_offset, user_id, event_type, moment,
        body, source, transaction_type, product, status, currency, amount, created_at, place
    )
    JOIN unnest(advanced) AS a (id) ON a.id = e.id
    JOIN transaction_versions AS known ON known.pipeline = owner AND known.id = e.id
        AND (known.version, known.nanoseconds, known.rank,
             known.published, known.published_partition, known.published_offset)
          = (e.version, e.nanoseconds, e.rank, e.published, e.published_partition, e.published_offset)
    WHERE NOT known.deleted
    ORDER BY e.id, e.place
    ON CONFLICT (pipeline, id) DO UPDATE SET
        user_id = excluded.user_id,
        transaction_type = excluded.transaction_type,
        product = excluded.product,
        status = excluded.status,
        currency = excluded.currency,
        amount = excluded.amount,
        created_at = excluded.created_at,
        event_type = excluded.event_type,
        version = excluded.version,
        updated_at = excluded.updated_at,
        transaction = excluded.transaction,
        source = excluded.source;

    -- A member that comes back late takes no offset back, and has no say in a topic that took its topic's name.
    INSERT INTO audit_offsets AS known (pipeline, topic, partition, topic_id, first_offset, next_offset)
    SELECT owner, topic, partition, topic_id, since, until
    FROM unnest(read_topics, read_partitions, read_topic_ids, read_since, read_until)
        AS r (topic, partition, topic_id, since, until)
    ORDER BY topic, partition
    ON CONFLICT (pipeline, topic, partition) DO UPDATE SET
        next_offset = greatest(known.next_offset, excluded.next_offset),
        topic_id = CASE WHEN excluded.topic_id = '' THEN known.topic_id ELSE excluded.topic_id END,
        updated_at = now()
    WHERE known.topic_id IN ('', excluded.topic_id) OR excluded.topic_id = '';

    RETURN ties;
END
$$;

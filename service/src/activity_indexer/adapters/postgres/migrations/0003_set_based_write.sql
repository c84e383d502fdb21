-- A new audit_write: the same rows and the same order of events, with less work for each event.
--
-- * PostgreSQL cannot know how long an array is, so a join of arrays became a nested loop: here no two arrays are joined.
--   A set of ids is looked up by NOT IN and IN … IS TRUE, which PostgreSQL executes as one hash table.
-- * Arrays are expanded in the select list, which keeps no copy of them, in place of FROM unnest(…), which keeps one of each.
-- * What the program can derive is not sent: the event's type and time are in its rank and version. An array is empty
--   where all its elements are the usual ones.
-- * Of a transaction that is new to the audit there are no earlier rows to look for.
--
-- The function of 0002 stays for indexers of the release before, while they are being replaced.

-- An update finds room for the new row beside the old one, and then changes no index. A vacuum of a large table may hold
-- the lock that this needs for hours: then the tables stay as they are.
DO $$
DECLARE
    before text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '5s', true);
    BEGIN
        ALTER TABLE transactions SET (fillfactor = 85);
        ALTER TABLE transaction_versions SET (fillfactor = 90);
    EXCEPTION WHEN lock_not_available THEN
        RAISE WARNING 'the fill factors are not set, as the tables are locked';
    END;
    PERFORM set_config('lock_timeout', before, true);
END
$$;

-- Where rows were deleted as 0002 advises for times after the year 2255, a transaction may have events and no version: such
-- a transaction is not new, or the function below would not recognize its events from before 0002 when they come again.
INSERT INTO transaction_versions
    (pipeline, id, version, nanoseconds, rank, published, published_partition, published_offset, content, deleted)
SELECT DISTINCT ON (pipeline, transaction_id)
    pipeline, transaction_id, version, nanoseconds, rank, published, published_partition, published_offset, content, rank = 2
FROM transaction_events AS e
WHERE NOT EXISTS (SELECT FROM transaction_versions AS v WHERE v.pipeline = e.pipeline AND v.id = e.transaction_id)
ORDER BY pipeline, transaction_id, version DESC, nanoseconds DESC, rank DESC,
    published DESC, published_partition DESC, published_offset DESC;

-- The texts of a column, which came as one: `cut` is between them, and `nothing` in place of a null.
CREATE FUNCTION audit_split(joined text, cut text, nothing text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN joined = '' THEN '{""}' ELSE string_to_array(joined, cut, nothing) END
$$;

-- Writes a batch of a pipeline, and how far its partitions are read then. Element n of every array, and text n of every
-- column, belongs to event n, or to partition n. Returns how many of the events are ties: new, with the time and rank of
-- another one.
CREATE FUNCTION audit_write(
    owner text,
    of_topic text,
    versions bigint[],
    partitions integer[],
    offsets bigint[],
    record_times bigint[],
    creations bigint[],            -- microseconds since 1970
    fractions smallint[],          -- nanoseconds below the microsecond; empty: all zero
    ranks smallint[],              -- empty: as the versions have them
    record_partitions integer[],   -- of the original record; empty: all as in partitions
    record_offsets bigint[],       -- of the original record; empty: all as in offsets
    passed bigint[],               -- places of events that are not the last ones of their transactions in the batch
    contents bytea,                -- eight bytes for each event
    cut text,
    nothing text,
    id_column text,
    user_id_column text,
    body_column text,
    source_column text,
    transaction_type_column text,
    product_column text,
    status_column text,
    currency_column text,
    amount_column text,
    read_topics text[],
    read_partitions integer[],
    read_topic_ids text[],
    read_since bigint[],
    read_until bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    ids text[] := audit_split(id_column, cut, nothing);
    user_ids text[] := audit_split(user_id_column, cut, nothing);
    bodies json[] := audit_split(body_column, cut, nothing);
    sources text[] := audit_split(source_column, cut, nothing);
    transaction_types text[] := audit_split(transaction_type_column, cut, nothing);
    products text[] := audit_split(product_column, cut, nothing);
    statuses text[] := audit_split(status_column, cut, nothing);
    currencies text[] := audit_split(currency_column, cut, nothing);
    amounts text[] := audit_split(amount_column, cut, nothing);
    advanced text[];
    fresh text[];
    gone text[];
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
    -- before us committed, for each has a snapshot of its own. A row that was inserted here has no xmax.
    WITH moved AS (
        INSERT INTO transaction_versions AS known
            (pipeline, id, version, nanoseconds, rank, published, published_partition, published_offset, content, deleted)
        SELECT owner, id, version, coalesce(nanoseconds, 0), coalesce(rank, (version >> 8) & 3), published,
            coalesce(published_partition, partition), coalesce(published_offset, position),
            substr(contents, 8 * place - 7, 8), coalesce(rank, (version >> 8) & 3) = 2
        FROM (
            SELECT generate_subscripts(versions, 1) AS place, unnest(ids) AS id, unnest(versions) AS version,
                unnest(fractions) AS nanoseconds, unnest(ranks) AS rank, unnest(record_times) AS published,
                unnest(record_partitions) AS published_partition, unnest(record_offsets) AS published_offset,
                unnest(partitions) AS partition, unnest(offsets) AS position
        ) AS e
        WHERE place NOT IN (SELECT unnest(passed)) ORDER BY id
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
        RETURNING known.id, known.xmax = 0 AS is_fresh, known.deleted
    )
    SELECT array_agg(id), array_agg(id) FILTER (WHERE is_fresh), array_agg(id) FILTER (WHERE deleted)
    INTO advanced, fresh, gone FROM moved;

    -- Rows from before 0002 learn what their event's content is, so that its next delivery is no other event.
    UPDATE transaction_events AS known SET
        content = substr(contents, 8 * e.place - 7, 8),
        source = e.source,
        published = e.published,
        published_partition = coalesce(e.published_partition, e.partition),
        published_offset = coalesce(e.published_offset, e.position)
    FROM (
        SELECT generate_subscripts(versions, 1) AS place, unnest(ids) AS id, unnest(versions) AS version,
            unnest(fractions) AS nanoseconds, unnest(ranks) AS rank, unnest(record_times) AS published,
            unnest(record_partitions) AS published_partition, unnest(record_offsets) AS published_offset,
            unnest(partitions) AS partition, unnest(offsets) AS position,
            unnest(user_ids) AS user_id, unnest(bodies) AS body, unnest(sources) AS source
    ) AS e
    WHERE (e.id IN (SELECT unnest(fresh))) IS NOT TRUE
        AND known.pipeline = owner AND known.transaction_id = e.id AND known.version = e.version
        AND known.nanoseconds = coalesce(e.nanoseconds, 0) AND known.rank = coalesce(e.rank, (e.version >> 8) & 3)
        AND known.content = ''
        AND known.transaction::text IS NOT DISTINCT FROM e.body::text AND known.user_id = e.user_id;

    WITH added AS (
        INSERT INTO transaction_events
            (pipeline, transaction_id, version, nanoseconds, rank, published, published_partition, published_offset,
             content, event_type, user_id, "timestamp", topic, partition, "offset", transaction, source)
        SELECT owner, id, version, coalesce(nanoseconds, 0), coalesce(rank, (version >> 8) & 3), published,
            coalesce(published_partition, partition), coalesce(published_offset, position),
            substr(contents, 8 * place - 7, 8),
            ('{transaction.created,transaction.updated,transaction.deleted}'::text[])[coalesce(rank, (version >> 8) & 3) + 1],
            user_id,
            'epoch'::timestamptz + (version >> 10) * interval '1 microsecond', of_topic, partition, position, body, source
        FROM (
            SELECT generate_subscripts(versions, 1) AS place, unnest(ids) AS id, unnest(versions) AS version,
                unnest(fractions) AS nanoseconds, unnest(ranks) AS rank, unnest(record_times) AS published,
                unnest(record_partitions) AS published_partition, unnest(record_offsets) AS published_offset,
                unnest(partitions) AS partition, unnest(offsets) AS position,
                unnest(user_ids) AS user_id, unnest(bodies) AS body, unnest(sources) AS source
        ) AS e
        ON CONFLICT DO NOTHING
        RETURNING transaction_id, version, nanoseconds, rank
    ), grouped AS (
        SELECT transaction_id AS id, version, nanoseconds, rank, count(*) AS events FROM added GROUP BY 1, 2, 3, 4
    )
    SELECT coalesce(sum(g.events - (NOT EXISTS (
        SELECT FROM transaction_events AS h   -- in the snapshot of this statement: as it was before
        WHERE h.pipeline = owner AND h.transaction_id = g.id AND h.version = g.version
            AND h.nanoseconds = g.nanoseconds AND h.rank = g.rank
            AND (g.id IN (SELECT unnest(fresh))) IS NOT TRUE
    ))::integer), 0) INTO ties FROM grouped AS g;

    DELETE FROM transactions AS live USING unnest(gone) AS g (id) WHERE live.pipeline = owner AND live.id = g.id;

    INSERT INTO transactions
        (pipeline, id, user_id, transaction_type, product, status, currency, amount, created_at,
         event_type, version, updated_at, transaction, source)
    SELECT owner, id, user_id, transaction_type, product, status, currency, amount::numeric,
        'epoch'::timestamptz + (created / 1000000) * interval '1 second' + (created % 1000000) * interval '1 microsecond',
        ('{transaction.created,transaction.updated,transaction.deleted}'::text[])[coalesce(rank, (version >> 8) & 3) + 1],
        version,
        'epoch'::timestamptz + (version >> 10) * interval '1 microsecond', body, source
    FROM (
        SELECT generate_subscripts(versions, 1) AS place, unnest(ids) AS id, unnest(versions) AS version,
            unnest(ranks) AS rank,
            unnest(user_ids) AS user_id, unnest(bodies) AS body, unnest(sources) AS source,
            unnest(transaction_types) AS transaction_type, unnest(products) AS product, unnest(statuses) AS status,
            unnest(currencies) AS currency, unnest(amounts) AS amount, unnest(creations) AS created
    ) AS e
    WHERE coalesce(rank, (version >> 8) & 3) < 2 AND place NOT IN (SELECT unnest(passed))
        AND (id IN (SELECT unnest(advanced))) IS TRUE
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

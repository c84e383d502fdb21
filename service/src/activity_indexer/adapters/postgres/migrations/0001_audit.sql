-- The newest version of every transaction that was ever seen. It outlives the transaction: a late event must not bring a
-- deleted one back. Its rows are also the locks that keep two writers of one transaction apart.
CREATE TABLE transaction_versions (
    id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    deleted boolean NOT NULL
);

-- One row for each live transaction.
CREATE TABLE transactions (
    id text COLLATE "C" PRIMARY KEY,
    user_id text NOT NULL,
    transaction_type text NOT NULL,
    product text,
    status text NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL,
    created_at timestamptz,
    event_type text NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    transaction json NOT NULL
);

-- A B-tree holds no key above 2,704 bytes, and a user id may be longer.
CREATE INDEX ON transactions USING spgist (user_id);

-- Every event that arrived, once; only ever appended to.
CREATE TABLE transaction_events (
    transaction_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    event_type text NOT NULL,
    user_id text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    transaction json,
    PRIMARY KEY (transaction_id, version)
);

CREATE INDEX ON transaction_events USING brin (recorded_at);

-- Events that this database refuses, byte for byte.
CREATE TABLE audit_rejects (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    reason text NOT NULL,
    transaction_id text NOT NULL,
    version bigint NOT NULL,
    event_type text NOT NULL,
    body bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset")
);

-- Writes a batch: element n of every array belongs to event n.
CREATE FUNCTION audit_write(
    ids text[],
    versions bigint[],
    event_types text[],
    user_ids text[],
    moments timestamptz[],
    topics text[],
    partitions integer[],
    offsets bigint[],
    bodies text[],
    transaction_types text[],
    products text[],
    statuses text[],
    currencies text[],
    amounts text[],
    creations timestamptz[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    advanced text[];
BEGIN
    -- Locks every transaction of the batch, in one order for all writers. The statements below see what the writer
    -- before us committed, for each has a snapshot of its own.
    WITH newest AS (
        SELECT DISTINCT ON (id) id, version, event_type = 'transaction.deleted' AS deleted
        FROM unnest(ids, versions, event_types) AS e (id, version, event_type)
        ORDER BY id, version DESC
    ), moved AS (
        INSERT INTO transaction_versions AS known (id, version, deleted)
        SELECT id, version, deleted FROM newest ORDER BY id
        ON CONFLICT (id) DO UPDATE SET version = excluded.version, deleted = excluded.deleted
        WHERE known.version < excluded.version
        RETURNING known.id
    )
    SELECT array_agg(id) INTO advanced FROM moved;

    INSERT INTO transaction_events
        (transaction_id, version, event_type, user_id, "timestamp", topic, partition, "offset", transaction)
    SELECT id, version, event_type, user_id, moment, topic, partition, position, body::json
    FROM unnest(ids, versions, event_types, user_ids, moments, topics, partitions, offsets, bodies)
        AS e (id, version, event_type, user_id, moment, topic, partition, position, body)
    ON CONFLICT DO NOTHING;

    DELETE FROM transactions AS live
    USING unnest(advanced) AS a (id), transaction_versions AS known
    WHERE live.id = a.id AND known.id = a.id AND known.deleted;

    INSERT INTO transactions
        (id, user_id, transaction_type, product, status, currency, amount, created_at,
         event_type, version, updated_at, transaction)
    SELECT DISTINCT ON (e.id)
        e.id, e.user_id, e.transaction_type, e.product, e.status, e.currency, e.amount::numeric, e.created_at,
        e.event_type, e.version, e.moment, e.body::json
    FROM unnest(ids, versions, event_types, user_ids, moments, bodies,
                transaction_types, products, statuses, currencies, amounts, creations) WITH ORDINALITY
        AS e (id, version, event_type, user_id, moment, body,
              transaction_type, product, status, currency, amount, created_at, position)
    JOIN unnest(advanced) AS a (id) ON a.id = e.id
    JOIN transaction_versions AS known ON known.id = e.id AND known.version = e.version
    WHERE NOT known.deleted
    ORDER BY e.id, e.position
    ON CONFLICT (id) DO UPDATE SET
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
        transaction = excluded.transaction;
END
$$;

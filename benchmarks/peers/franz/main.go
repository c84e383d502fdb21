// The same work in Go: franz-go, encoding/json, the official client's transport, four requests under way.
//
// Like the prototype in Python it is a bound and no indexer: no dead letters, no deduplication, no metrics.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

const underWay = 4

type event struct {
	EventType   string          `json:"event_type"`
	Transaction json.RawMessage `json:"transaction"`
	Timestamp   string          `json:"timestamp"`
}

type transaction struct {
	ID        string            `json:"id"`
	UserID    string            `json:"user_id"`
	Type      string            `json:"transaction_type"`
	Product   string            `json:"product"`
	Status    string            `json:"status"`
	Currency  string            `json:"currency"`
	Amount    json.RawMessage   `json:"amount"`
	CreatedAt string            `json:"created_at"`
	Metadata  map[string]string `json:"metadata"`
}

var (
	ranks      = map[string]int64{"transaction.created": 0, "transaction.updated": 1, "transaction.deleted": 2}
	categories = map[string]string{"4121": "transport", "5411": "groceries", "5462": "groceries", "5812": "restaurants", "5814": "fast_food"}
	errInvalid = errors.New("no valid event")
)

// moment reads a timestamp, with or without an offset.
func moment(text string) (time.Time, error) {
	if read, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return read, nil
	}
	return time.Parse("2006-01-02T15:04:05.999999", text)
}

// enriched gives the fields and the search terms that a transaction's type calls for.
func enriched(t *transaction, fields map[string]any) []string {
	m := t.Metadata
	switch t.Type {
	case "card":
		name, code, last, network := m["merchant_name"], m["merchant_category_code"], m["card_last_four"], m["card_network"]
		category, known := categories[code]
		if !known {
			category = "other"
		}
		fields["merchant"] = map[string]string{"name": name, "category": category, "mcc": code}
		fields["card"] = map[string]string{"masked": "•••• " + last, "last_four": last, "network": network}
		return []string{name, category, network, last}
	case "p2p":
		fields["direction"] = "out"
		if m["direction"] == "received" {
			fields["direction"] = "in"
		}
		fields["counterparty"] = map[string]string{"id": m["peer_id"], "name": m["peer_name"]}
		return []string{m["peer_id"], m["peer_name"], m["note"]}
	default:
		fields["direction"] = "in"
		if m["side"] == "sell" {
			fields["direction"] = "out"
		}
		fields["asset"] = map[string]string{"symbol": m["asset"], "name": m["asset_name"], "network": m["network"]}
		fields["quantity"] = m["quantity"]
		fields["counterparty"] = map[string]string{"id": m["wallet_address"]}
		return []string{m["asset"], m["asset_name"], m["network"], m["quantity"], m["wallet_address"]}
	}
}

// once drops words that were there before.
func once(words []string) string {
	seen := make(map[string]struct{}, len(words))
	kept := words[:0]
	for _, word := range words {
		if _, again := seen[word]; !again {
			seen[word] = struct{}{}
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

// build appends the two lines of a bulk body.
func build(out *bytes.Buffer, value []byte) error {
	var e event
	if err := json.Unmarshal(value, &e); err != nil {
		return err
	}
	var t transaction
	if err := json.Unmarshal(e.Transaction, &t); err != nil {
		return err
	}
	rank, known := ranks[e.EventType]
	if !known || t.ID == "" || t.UserID == "" || len(t.CreatedAt) < 10 {
		return errInvalid
	}
	at, err := moment(e.Timestamp)
	if err != nil {
		return err
	}
	amount := string(t.Amount)
	if _, err := strconv.ParseFloat(amount, 64); err != nil {
		return err
	}
	day, sign := t.CreatedAt[:10], "positive"
	if strings.HasPrefix(amount, "-") {
		sign = "negative"
	}
	fields := map[string]any{
		"day": day, "month": day[:7], "amount_absolute": json.RawMessage(strings.TrimPrefix(amount, "-")), "sign": sign,
	}
	terms := append([]string{t.ID, t.UserID, t.Type, t.Product, t.Status, t.Currency, amount, day}, enriched(&t, fields)...)
	enrichment, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	search, err := json.Marshal(once(strings.Fields(strings.ToLower(strings.Join(terms, " ")))))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `{"index":{"_id":%q,"version":%d,"version_type":"external"}}`+"\n", t.ID, at.UnixMicro()*4+rank)
	out.Write(e.Transaction[:len(e.Transaction)-1])
	fmt.Fprintf(out, `,"event_type":%q,"_updated_at":%q,"_enriched":true,"_enriched_at":"2026-01-01T00:00:00Z"`, e.EventType, e.Timestamp)
	fmt.Fprintf(out, `,"enrichment":%s,"search_content":%s}`+"\n", enrichment, search)
	return nil
}

// send writes one bulk body; a failure ends the program, which the harness sees.
func send(es *elasticsearch.Client, index string, body *bytes.Buffer) {
	reply, err := es.Bulk(body, es.Bulk.WithIndex(index), es.Bulk.WithFilterPath("errors", "items.*.status"))
	if err != nil {
		log.Fatal(err)
	}
	defer reply.Body.Close()
	var answer struct {
		Errors bool `json:"errors"`
	}
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
}

func main() {
	batch, err := strconv.Atoi(os.Getenv("BATCH"))
	if err != nil {
		log.Fatal(err)
	}
	es, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{os.Getenv("ELASTICSEARCH_URL")}, DisableRetry: true})
	if err != nil {
		log.Fatal(err)
	}
	kafka, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA_BOOTSTRAP_SERVERS")), kgo.ConsumerGroup(os.Getenv("GROUP")),
		kgo.ConsumeTopics(os.Getenv("TOPIC")), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		log.Fatal(err)
	}
	places := make(chan struct{}, underWay)
	var working sync.WaitGroup
	committed := time.Now()
	for {
		fetched := kafka.PollRecords(context.Background(), batch)
		if fetched.NumRecords() == 0 {
			continue
		}
		body := &bytes.Buffer{}
		body.Grow(1200 * fetched.NumRecords())
		fetched.EachRecord(func(record *kgo.Record) { _ = build(body, record.Value) })
		places <- struct{}{}
		working.Add(1)
		go func() {
			defer func() { <-places; working.Done() }()
			send(es, os.Getenv("INDEX"), body)
		}()
		if time.Since(committed) > time.Second {
			working.Wait()
			if err := kafka.CommitUncommittedOffsets(context.Background()); err != nil {
				log.Print(err)
			}
			committed = time.Now()
		}
	}
}

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/go-faster/city"
	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// openClickHouse connects directly to ClickHouse, not to the proxy.
func (r *run) openClickHouse() (driver.Conn, error) {
	c := r.cluster.stack.Config.ClickHouse
	c.Addrs = []string{r.cluster.clickhouse.Addr}
	c.ReadTimeout = settleTime
	return clickhouse.Open(c)
}

func (r *run) streamParameter(ctx context.Context, more ...string) context.Context {
	p := ch.Parameters{"stream": r.cluster.stack.Config.Stream.Name}
	for i := 0; i+1 < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return ch.Context(ctx, ch.WithParameters(p))
}

// checkEvents compares the rows of the events table, by position, with those that
// follow from the raw records.
func (r *run) checkEvents(ctx context.Context, conn driver.Conn, t *truth, v *verdict) error {
	database := r.cluster.stack.Config.ClickHouse.Database
	query := fmt.Sprintf("SELECT src_offset, %s FROM %s.events FINAL WHERE stream = {stream:String} AND src_partition = {p:UInt32}", rowSQL(), database)
	var stored, wanted digest
	for p, part := range t.parts {
		seen := make([]uint8, len(part.what))
		rows, err := conn.Query(r.streamParameter(ctx, "p", fmt.Sprint(p)), query)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for rows.Next() {
			var offset, hash uint64
			if err := rows.Scan(&offset, &hash); err != nil {
				return fmt.Errorf("read events: %w", err)
			}
			stored.add(hash)
			switch {
			case offset >= uint64(len(part.what)) || part.what[offset] != good:
				v.Duplicated++
				v.find("a row of events at %d-%d, where there is no event to count", p, offset)
				continue
			case seen[offset] > 0:
				v.Duplicated++
				v.find("two rows of events at %d-%d", p, offset)
			case hash != part.rows[offset]:
				v.Different++
				v.find("the row of events at %d-%d is not what the record says", p, offset)
			}
			seen[offset]++
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for offset, what := range part.what {
			if what != good {
				continue
			}
			wanted.add(part.rows[offset])
			if seen[offset] == 0 {
				v.Lost++
				v.find("event %d-%d is not in ClickHouse", p, offset)
			}
		}
	}
	v.same("events", stored.String(), wanted.String())
	return r.countIDs(ctx, conn, t, v)
}

// countIDs checks that no event is stored under two positions.
func (r *run) countIDs(ctx context.Context, conn driver.Conn, t *truth, v *verdict) error {
	var rows, ids, physical uint64
	from := r.cluster.stack.Config.ClickHouse.Database + ".events"
	if err := conn.QueryRow(r.streamParameter(ctx), "SELECT count(), uniqExact(id) FROM "+from+" FINAL WHERE stream = {stream:String}").Scan(&rows, &ids); err != nil {
		return fmt.Errorf("count ids: %w", err)
	}
	if err := conn.QueryRow(r.streamParameter(ctx), "SELECT count() FROM "+from+" WHERE stream = {stream:String}").Scan(&physical); err != nil {
		return fmt.Errorf("count rows: %w", err)
	}
	wanted := 0
	for _, p := range t.parts {
		wanted += len(p.ids)
	}
	v.Events, v.Physical = int64(rows), int64(physical)
	if int(ids) != wanted || rows != ids {
		v.find("%d rows of events with %d ids are stored, not %d", rows, ids, wanted)
	}
	return nil
}

// checkSignals compares the signal tables, and the ids in the signal topic, with the
// results of the replay.
func (r *run) checkSignals(ctx context.Context, conn driver.Conn, re *replayed, v *verdict) (err error) {
	if v.Signals, err = r.checkSignalTable(ctx, conn, "signals", re.signals, v); err != nil {
		return err
	}
	if v.Watched, err = r.checkSignalTable(ctx, conn, "shadow_signals", re.shadow, v); err != nil {
		return err
	}
	return r.checkSignalLog(ctx, re, v)
}

// checkSignalTable compares a table with its expected texts, by id.
func (r *run) checkSignalTable(ctx context.Context, conn driver.Conn, table string, want map[string]string, v *verdict) (n int64, err error) {
	rows, err := conn.Query(r.streamParameter(ctx), fmt.Sprintf(signalSQL, r.cluster.stack.Config.ClickHouse.Database, table))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", table, err)
	}
	var stored, wanted digest
	seen := map[string]bool{}
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return 0, fmt.Errorf("read %s: %w", table, err)
		}
		stored.add(city.CH64([]byte(text)))
		should, ok := want[id]
		switch {
		case !ok:
			v.find("%s: %s is stored, but the facet log does not lead to it", table, id)
		case should != text:
			v.find("%s: %s is stored as %q, but should be %q", table, id, text, should)
		case seen[id]:
			v.find("%s: %s is stored twice", table, id)
		}
		seen[id] = true
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read %s: %w", table, err)
	}
	for id, text := range want {
		wanted.add(city.CH64([]byte(text)))
		if !seen[id] {
			v.find("%s: %s is not in ClickHouse", table, id)
		}
	}
	v.same(table, stored.String(), wanted.String())
	return stored.Rows, nil
}

func (r *run) checkSignalLog(ctx context.Context, re *replayed, v *verdict) error {
	seen := map[string]bool{}
	err := eachRecord(ctx, r.cluster.stack, "signals", func(rec *kafka.Record) error {
		id := string(rec.Key)
		if _, ok := re.signals[id]; !ok && !seen[id] {
			v.find("signal %s is in Kafka, but the facet log does not lead to it", id)
		}
		seen[id] = true
		return nil
	})
	for id := range re.signals {
		if !seen[id] {
			v.find("signal %s is not in Kafka", id)
		}
	}
	v.same("signal_log", fmt.Sprint(len(seen)), fmt.Sprint(len(re.signals)))
	return err
}

func eachRecord(ctx context.Context, s *stack.Stack, what string, yield func(*kafka.Record) error) error {
	topic := s.Config.Stream.Topic(what)
	n, err := s.Kafka.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	for p := range n {
		log, err := openLog(ctx, s.Kafka, topic, int32(p))
		if err != nil {
			return err
		}
		if err := log.each(ctx, yield); err != nil {
			return err
		}
	}
	return nil
}

// checkDead compares the dead letters, by key, with the garbage.
func (r *run) checkDead(ctx context.Context, conn driver.Conn, t *truth, said *ordered, v *verdict) error {
	seen := map[string]bool{}
	err := eachRecord(ctx, r.cluster.stack, "dead", func(rec *kafka.Record) error {
		key := string(rec.Key)
		if seen[key] {
			return nil // it was read again after a crash; readers recognise it by the key
		}
		seen[key] = true
		var p, offset int64
		if n, _ := fmt.Sscanf(key, "controls-0-%d", &offset); n == 1 {
			if letter, ok := said.garbage[offset]; !ok || !bytes.Equal(letter, rec.Value) {
				v.find("dead letter %s does not hold the bytes of garbage among the control records", key)
			}
			return nil
		}
		if _, err := fmt.Sscanf(key, "%d-%d", &p, &offset); err != nil || p < 0 || int(p) >= len(t.parts) {
			v.find("a dead letter has the key %q", key)
			return nil
		}
		letter, ok := t.parts[p].letters[offset]
		switch {
		case !ok:
			v.Duplicated++
			v.find("a dead letter of %s, which is not garbage", key)
		case !bytes.Equal(letter, rec.Value):
			v.find("dead letter %s does not hold the record's own bytes", key)
		case header(rec, ingest.HeaderReason) == "":
			v.find("dead letter %s gives no reason", key)
		}
		return nil
	})
	for p, part := range t.parts {
		for offset := range part.letters {
			if !seen[fmt.Sprintf("%d-%d", p, offset)] {
				v.Lost++
				v.find("garbage at %d-%d is no dead letter", p, offset)
			}
		}
	}
	for offset := range said.garbage {
		if !seen[fmt.Sprintf("controls-0-%d", offset)] {
			v.Lost++
			v.find("garbage at %d of the control records is no dead letter", offset)
		}
	}
	if err := r.checkDeadTable(ctx, conn, seen, v); err != nil {
		return err
	}
	v.Dead = int64(len(seen))
	v.same("dead_letters", fmt.Sprint(len(seen)), fmt.Sprint(t.garbage()+int64(len(said.garbage))))
	return err
}

// checkDeadTable compares the table of dead letters with their topic, by key.
func (r *run) checkDeadTable(ctx context.Context, conn driver.Conn, letters map[string]bool, v *verdict) error {
	rows, err := conn.Query(r.streamParameter(ctx), `SELECT concat(if(source = 'controls', 'controls-', ''), toString(src_partition), '-', toString(src_offset)), reason
FROM `+r.cluster.stack.Config.ClickHouse.Database+`.dead_letters FINAL WHERE stream = {stream:String}`)
	if err != nil {
		return fmt.Errorf("read dead_letters: %w", err)
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var key, reason string
		if err := rows.Scan(&key, &reason); err != nil {
			return fmt.Errorf("read dead_letters: %w", err)
		}
		switch {
		case found[key]:
			v.Duplicated++
			v.find("dead_letters: %s is there twice", key)
		case !letters[key]:
			v.Duplicated++
			v.find("dead_letters: %s is in the table, and not in the topic", key)
		case reason == "":
			v.find("dead_letters: %s gives no reason", key)
		}
		found[key] = true
	}
	for key := range letters {
		if !found[key] {
			v.Lost++
			v.find("dead_letters: %s is in the topic, and not in the table", key)
		}
	}
	return rows.Err()
}

func header(rec *kafka.Record, key string) string {
	for _, h := range rec.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// checkScores compares the contents of Redis with the live scores of the replayed
// state.
func (r *run) checkScores(ctx context.Context, re *replayed, v *verdict) error {
	codec, err := r.codec()
	if err != nil {
		return err
	}
	held, err := r.readRedis(ctx, codec)
	if err != nil {
		return err
	}
	var stored, wanted digest
	for _, text := range held {
		stored.add(city.CH64([]byte(text)))
	}
	for _, u := range re.scores {
		key := codec.Key(u.Entity)
		u.Position.Partition = 0 // not stored
		want := scoreText(key, u.Position, u.Contributions)
		wanted.add(city.CH64([]byte(want)))
		got, ok := held[key]
		switch {
		case !ok:
			v.find("the score of %s %s/%s is not in Redis", u.Entity.Kind, u.Entity.Tenant, u.Entity.Key)
		case got != want:
			v.find("the score of %s %s/%s in Redis is %s, but should be %s", u.Entity.Kind, u.Entity.Tenant, u.Entity.Key, got, want)
		}
		delete(held, key)
	}
	for key := range held {
		v.find("Redis holds %s, which has no live score", key)
	}
	v.Scores = stored.Rows
	v.same("scores", stored.String(), wanted.String())
	return nil
}

func riskPrefix(c app.Config) string { return c.Redis.KeyPrefix }

// codec returns the codec of the stream's scores.
func (r *run) codec() (*score.Codec, error) {
	secret, err := r.cluster.stack.Config.Stream.RiskKey()
	if err != nil {
		return nil, err
	}
	return score.NewCodec(secret, riskPrefix(r.cluster.stack.Config)), nil
}

// readRedis reads every score as comparable text. It reports values that are not
// scores.
func (r *run) readRedis(ctx context.Context, codec *score.Codec) (map[string]string, error) {
	client := goredis.NewClient(&goredis.Options{Addr: r.cluster.redis.Addr})
	defer client.Close()
	all := map[string]string{}
	scan := client.Scan(ctx, 0, riskPrefix(r.cluster.stack.Config)+":*{*", 1000).Iterator()
	for scan.Next(ctx) {
		if strings.HasPrefix(scan.Val(), riskPrefix(r.cluster.stack.Config)+":owner:") {
			continue // names the writer of a facet partition's scores
		}
		text, err := client.Get(ctx, scan.Val()).Result()
		if err != nil {
			return nil, fmt.Errorf("read score %s: %w", scan.Val(), err)
		}
		value, err := codec.Parse(scan.Val(), text)
		if err != nil {
			all[scan.Val()] = err.Error()
			continue
		}
		if len(value.Contributions) == 0 {
			continue // cleared: it only says how long a former value could matter
		}
		all[scan.Val()] = scoreText(scan.Val(), value.Position, value.Contributions)
	}
	return all, scan.Err()
}

func scoreText(key string, at score.Position, list []score.Contribution) string {
	return strings.Join([]string{key, fmt.Sprintf("%+v", at), fmt.Sprintf("%+v", list)}, " ")
}

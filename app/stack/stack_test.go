package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/clickhouse"
)

// TestWholePath is the integration suite: the programs themselves, on the
// embedded servers and on Apache Kafka and redis-server, fed with people, an
// attack on them and garbage, and killed while they work.
func TestWholePath(t *testing.T) {
	testkit.ChDB(t)
	testkit.Programs(t)
	t.Run("embedded", func(t *testing.T) { wholePath(t, Options{}, 100_000) })
	t.Run("apache", func(t *testing.T) {
		wholePath(t, Options{Kafka: testkit.Kafka(t), Redis: testkit.Redis(t)}, 20_000)
	})
}

const (
	goodEvents  = 20_000
	repeatEvery = 50 // the gateway sends one in so many twice
)

func wholePath(t *testing.T, o Options, garbage int) {
	o.Stream, o.Topics, o.Format = app.StreamConfig{Name: "weir", Incarnation: 1}, app.TopicDefaults(), "weir"
	s, err := Start(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(s.StartWorker(), s.StartGate()); err != nil {
		t.Fatal(err)
	}
	world := feed(t, s, garbage)
	settle(t, s)
	check(t, s, world, garbage)

	attackers := world.Campaigns()[0].Attackers
	for _, a := range attackers {
		denied(t, s, a)
	}
	for _, e := range world.Innocents()[:50] {
		if got := decide(t, s, e); got != "allow" {
			t.Errorf("the gate says %s of the innocent %s %s", got, e.Kind, e.Key)
		}
	}
	forget(t, s)
	for _, a := range attackers {
		denied(t, s, a)
	}
	if n := s.Worker.Restarts(); n < 3 {
		t.Errorf("the worker was started again %d times; it was to be killed 3 times", n)
	}
	s.Stop()
	if _, rss := s.Worker.Usage(); rss > 600<<20 {
		t.Errorf("the worker took %d MiB", rss>>20)
	}
	check(t, s, world, garbage)
}

// feed sends good events, some of them twice, and garbage, mixed, and kills the worker three times
// meanwhile.
func feed(t *testing.T, s *Stack, garbage int) *population.Population {
	t.Helper()
	const length = 60 * time.Second
	start := time.Now().Add(-length)
	world := population.New(population.Config{
		Seed: 7, People: 2000, Rate: 300, Start: start.UnixMilli(), Run: "t",
	})
	world.Launch(population.Campaign{
		Kind: "credential_stuffing", Start: start.Add(10 * time.Second).UnixMilli(), Duration: length, Addresses: 4, Rate: 50,
	})
	rng := rand.New(rand.NewPCG(7, 7))
	parts := make([][]kafka.Outgoing, app.TopicDefaults().EventPartitions)
	sent, bad := 0, 0
	for at := start; sent < goodEvents; at = at.Add(time.Second) {
		world.Until(at.UnixMilli(), func(e *event.Event, _ int) {
			if sent < goodEvents {
				p := sent % len(parts)
				r := kafka.Outgoing{Key: []byte(strings.Clone(e.Text(event.ID))), Value: e.AppendJSON(nil)}
				parts[p] = append(parts[p], r)
				if sent%repeatEvery == 0 {
					parts[p] = append(parts[p], r)
				}
				sent++
			}
		})
		for ; bad < garbage*sent/goodEvents; bad++ {
			p := rng.IntN(len(parts))
			parts[p] = append(parts[p], kafka.Outgoing{Value: rubbish(rng, bad)})
		}
		for p := range parts {
			if len(parts[p]) == 0 {
				continue
			}
			if err := s.Kafka.Produce(t.Context(), s.Config.Stream.Topic("events"), []kafka.Produce{{Partition: int32(p), Records: parts[p]}}); err != nil {
				t.Fatal(err)
			}
			parts[p] = parts[p][:0]
		}
		if done := 4 * sent / goodEvents; int(s.Worker.Restarts()) < min(done, 3) {
			kill(t, s)
		}
	}
	return world
}

// kill ends the worker without warning, once it works, and waits until it has
// been started again.
func kill(t *testing.T, s *Stack) {
	t.Helper()
	before := s.Worker.Restarts()
	await(t, "the worker has committed something", func() bool {
		b, err := s.Books(t.Context())
		return err == nil && b.Ingest.Fetched > int64(before)*1000
	})
	pid := s.Worker.PID()
	if pid == 0 {
		t.Fatal("no worker runs")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the worker runs again", func() bool { return s.Worker.Restarts() > before && s.Worker.PID() != 0 })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	longest := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-longest:
			t.Fatalf("waited a minute in vain until %s", what)
		}
	}
}

// denied waits until the gate denies an entity. One answer alone says little: the
// gate has a few milliseconds, and what it does without Redis is to allow.
func denied(t *testing.T, s *Stack, e facet.Entity) {
	t.Helper()
	await(t, "the gate denies "+e.Key, func() bool { return decide(t, s, e) == "deny" })
}

// forget has Redis lose everything.
func forget(t *testing.T, s *Stack) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Config.Redis.Addrs[0]})
	defer c.Close()
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// rubbish is the i-th record that no decoder should read.
func rubbish(rng *rand.Rand, i int) []byte {
	good := fmt.Sprintf(`{"id":"x%d","time":"2026-11-23T00:00:00Z","account":"a"}`, i)
	switch i % 10 {
	case 0:
		return []byte(good[:1+rng.IntN(len(good)-2)])
	case 1:
		b := make([]byte, 1+rng.IntN(300))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		b[0] = 0xff
		return b
	case 2:
		return []byte(strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60))
	case 3:
		if i%1000 == 3 {
			return []byte(`{"id":"` + strings.Repeat("x", 100<<10) + `"}`)
		}
		return []byte(`{"id":"` + strings.Repeat("x", 1000) + `"}`)
	case 4:
		return []byte(good[:len(good)-1] + `,"account":"b"}`)
	case 5:
		return []byte(good[:len(good)-1] + `,"Account":"b"}`)
	case 6:
		return []byte(good[:len(good)-1] + ",\"gateway\":\"\xc3\x28\"}")
	case 7:
		return []byte(good[:len(good)-1] + `,"status":70000}`)
	case 8:
		return []byte(good + good)
	}
	return nil
}

func settle(t *testing.T, s *Stack) {
	t.Helper()
	if err := s.Settle(t.Context(), 2*time.Minute); err != nil {
		log, _ := os.ReadFile(s.LogFile(s.Worker))
		t.Fatalf("%v\nthe worker's log ends:\n%s", err, log[max(0, len(log)-4000):])
	}
}

// check compares what went in with what is in ClickHouse, in the dead-letter
// topic and in the ledgers.
func check(t *testing.T, s *Stack, world *population.Population, garbage int) {
	t.Helper()
	b, err := s.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored, ids, signals := ask(t, s)
	letters, err := s.DeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range b.Imbalances(stored, letters.Total) {
		t.Error(complaint)
	}
	if stored != goodEvents || ids != goodEvents {
		t.Errorf("%d rows with %d ids are stored of %d events", stored, ids, goodEvents)
	}
	if b.Ingest.Repeat != goodEvents/repeatEvery {
		t.Errorf("%d repeats are recognised of %d", b.Ingest.Repeat, goodEvents/repeatEvery)
	}
	if letters.Total != int64(garbage) || len(letters.ByReason) < 7 {
		t.Errorf("%d dead letters, %v, of %d records of garbage", letters.Total, letters.ByReason, garbage)
	}
	if signals == 0 {
		t.Error("no signal is stored")
	}
	original(t, s)
}

func ask(t *testing.T, s *Stack) (rows, ids, signals uint64) {
	t.Helper()
	conn, err := clickhouse.Open(s.Config.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := ch.Context(t.Context(), ch.WithParameters(ch.Parameters{"stream": s.Config.Stream.Name}))
	query := "SELECT count(), uniqExact(id) FROM weir.events FINAL WHERE stream = {stream:String}"
	if err := conn.QueryRow(ctx, query).Scan(&rows, &ids); err != nil {
		t.Fatal(err)
	}
	query = "SELECT count() FROM weir.signals FINAL WHERE stream = {stream:String} AND rule = 'credential-stuffing-ip'"
	if err := conn.QueryRow(ctx, query).Scan(&signals); err != nil {
		t.Fatal(err)
	}
	return rows, ids, signals
}

// original checks that dead letters hold the very bytes of the records that they
// name.
func original(t *testing.T, s *Stack) {
	t.Helper()
	raw := map[string][]byte{}
	each(t, s, "events", func(p int32, r *kafka.Record) {
		raw[fmt.Sprintf("%d-%d", p, r.Offset)] = bytes.Clone(r.Value)
	})
	each(t, s, "dead", func(_ int32, r *kafka.Record) {
		want, ok := raw[string(r.Key)]
		if !ok || !bytes.Equal(want, r.Value) {
			t.Errorf("dead letter %s does not hold the record's own bytes", r.Key)
		}
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers[ingest.HeaderReason] == "" || headers[ingest.HeaderPartition]+"-"+headers[ingest.HeaderOffset] != string(r.Key) {
			t.Errorf("dead letter %s has the headers %v", r.Key, headers)
		}
	})
}

func each(t *testing.T, s *Stack, what string, yield func(partition int32, r *kafka.Record)) {
	t.Helper()
	topic := s.Config.Stream.Topic(what)
	ends, err := s.Kafka.Offsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var b kafka.Batch
	for p, r := range ends {
		for at := r.Start; at < r.End; at = max(at, b.Next) {
			if err := s.Kafka.Fetch(t.Context(), topic, int32(p), at, &b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Records {
				yield(int32(p), &b.Records[i])
			}
		}
	}
}

// decide asks the gate for the action.
func decide(t *testing.T, s *Stack, e facet.Entity) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"entities": map[string]string{e.Kind.String(): e.Key}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Config.Gate.Listen+"/v1/decide", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ Action string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Action
}

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/score"
)

// TestChaos runs the real programs, which are built once.
func TestChaos(t *testing.T) {
	testkit.ChDB(t)
	testkit.Programs(t)
	t.Run("nothing is lost while everything is killed", killEverything)
	t.Run("the verdict turns", spoilEverything)
}

// killEverything is a short complete run.
func killEverything(t *testing.T) {
	o := Defaults()
	o.For, o.Rate, o.JSON = 25*time.Second, 800, true
	var out bytes.Buffer
	report, err := Run(t.Context(), o, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !report.Proven || report.Lost != 0 || report.Duplicated != 0 || !report.DigestsEqual {
		t.Errorf("not proven:\n%s", out.String())
	}
	if report.Kills < 2 || report.Events < 10_000 || report.Signals == 0 || report.Scores == 0 || report.DeadLetters == 0 || report.Repeats == 0 || report.LateFacets == 0 || report.Controls == 0 || report.HeldBack == 0 {
		t.Errorf("the run has seen too little:\n%s", out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last Report
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	if err := d.Decode(&last); err != nil || last.Events != report.Events || last.Seed != o.Seed {
		t.Errorf("the last line is not the report: %v", err)
	}
}

// calmRun is a run without disturbance, up to the verdict.
func calmRun(t *testing.T) *run {
	t.Helper()
	o := Defaults()
	o.For, o.Rate, o.Workers = 5*time.Second, 1500, 1
	r := &run{opts: o, out: &bytes.Buffer{}, log: slog.New(slog.DiscardHandler), began: time.Now(), started: time.Now(), facetPartitions: 8}
	if err := r.open(t.Context()); err != nil {
		t.Fatal(errors.Join(err, r.close()))
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	r.faults.quiet = true
	r.disturb(t.Context())
	if err := r.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// spoilEverything damages the results of a run in one way after the other: a
// verifier that cannot fail proves nothing.
func spoilEverything(t *testing.T) {
	r := calmRun(t)
	v := verdictOf(t, r)
	if !v.equal() || v.Scores == 0 || v.Signals == 0 {
		t.Fatalf("an undisturbed run: %d signals, %d scores, and these findings:\n%s", v.Signals, v.Scores, strings.Join(v.first(), "\n"))
	}
	spoilVersions(t, r)
	for i, c := range []struct {
		name  string
		spoil func(context.Context, *run) error
		want  string // beginning of a finding
		turns func(*verdict) bool
	}{
		{"a row of a time line is gone", sql("DELETE FROM weir.entity_events WHERE src_partition = 3 AND src_offset = (SELECT min(src_offset) FROM weir.entity_events WHERE src_partition = 3)"),
			"digest of entity_events", nil},
		{"an event is not found by its id", sql("DELETE FROM weir.event_ids WHERE src_partition = 3 AND src_offset = (SELECT min(src_offset) FROM weir.event_ids WHERE src_partition = 3)"),
			"digest of event_ids", nil},
		{"a signal is not found by its rule", sql("DELETE FROM weir.named_signals WHERE found_by = 'rule' AND facet_offset = (SELECT min(facet_offset) FROM weir.named_signals)"), "digest of named_signals", nil},
		{"events are counted twice", sql("INSERT INTO weir.event_minutes SELECT * REPLACE (block + 4 AS block) FROM weir.event_minutes ORDER BY minute LIMIT 1"), "digest of event_minutes", nil},
		{"events of an address are not counted", sql("DELETE FROM weir.entity_minutes WHERE entity_kind = 'ip' AND src_partition = 1"), "digest of entity_minutes", nil},
		{"a row of events is gone", sql("DELETE FROM weir.events WHERE src_partition = 0 AND src_offset = 10"), "event 0-10 is not in ClickHouse",
			func(v *verdict) bool { return v.Lost == 1 }},
		{"a row of events says something else", sql("ALTER TABLE weir.events UPDATE account = 'somebody' WHERE src_partition = 1 AND src_offset = 20 SETTINGS mutations_sync = 2"),
			"the row of events at 1-20 is not what the record says", func(v *verdict) bool { return v.Different == 1 }},
		{"an event is stored a second time, elsewhere", sql("INSERT INTO weir.events SELECT * REPLACE (src_offset + 30000000 AS src_offset) FROM weir.events WHERE src_partition = 2 ORDER BY src_offset LIMIT 1"),
			"a row of events at 2-300000", func(v *verdict) bool { return v.Duplicated == 1 }},
		{"a signal is gone", sql("DELETE FROM weir.signals WHERE facet_offset = (SELECT min(facet_offset) FROM weir.signals)"), "signals: 1-", nil},
		{"a signal is also one of shadow rules", sql("INSERT INTO weir.shadow_signals SELECT * FROM weir.signals ORDER BY facet_offset LIMIT 1"), "shadow_signals: 1-", nil},
		{"a label is gone", sql("DELETE FROM weir.labels WHERE src_offset = (SELECT min(src_offset) FROM weir.labels)"), "labels: control record ", nil},
		{"the audit says something else", sql("ALTER TABLE weir.audit UPDATE who = 'somebody' WHERE src_offset = (SELECT max(src_offset) FROM weir.audit) SETTINGS mutations_sync = 2"), "audit: control record ", nil},
		{"control records were acknowledged that are not in the log", func(_ context.Context, r *run) error { r.sender.ordersAcked += 2; return nil },
			"2 acknowledged control records are not in the log", nil},
		{"Redis has lost a score", dropScore, "the score of ", nil},
		{"Redis holds an older score", ageScore, "the score of ", nil},
		{"Redis holds a score of nobody", strangeScore, "Redis holds ", nil},
		{"Redis holds a forged score", forgeScore, "score with a wrong code", nil},
		{"a dead letter is gone from the table", sql("DELETE FROM weir.dead_letters WHERE src_offset = (SELECT min(src_offset) FROM weir.dead_letters)"), "dead_letters: ", nil},
		{"a dead letter of a good record", deadLetter, "a dead letter of 0-1, which is not garbage", nil},
		{"records were acknowledged that are not in the log", func(_ context.Context, r *run) error { r.sender.acked[3] += 5; return nil },
			"5 acknowledged records are not in the raw log", nil},
		{"a push that never gets through", func(_ context.Context, r *run) error {
			r.faults.unpushed = append(r.faults.unpushed, errors.New("no worker follows"))
			return nil
		}, "a push did not get through", nil},
		{"another seed", func(_ context.Context, r *run) error { r.plan.Seed++; return nil }, "acknowledged records are not in the raw log", nil},
		{"a frame that does not join", gap, "the facet log cannot be replayed", nil},
	} {
		if testkit.Raced && i == 2 {
			break // each takes half a minute there, because pools of buffers keep little
		}
		plan, acked, orders := r.plan, slices.Clone(r.sender.acked), r.sender.ordersAcked
		if err := c.spoil(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		v := verdictOf(t, r)
		r.plan, r.sender.acked, r.sender.ordersAcked, r.faults.unpushed = plan, acked, orders, nil
		told := slices.ContainsFunc(v.findings, func(f string) bool { return strings.Contains(f, c.want) })
		if v.equal() || !told || c.turns != nil && !c.turns(v) {
			t.Errorf("%s: lost %d, duplicated %d, different %d, and these findings:\n%s", c.name, v.Lost, v.Duplicated, v.Different, strings.Join(v.first(), "\n"))
		}
	}
}

// spoilVersions damages the table rule_versions, and repairs it. Only its own check
// runs, because a whole verdict takes seconds.
func spoilVersions(t *testing.T, r *run) {
	conn, err := r.openClickHouse()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	must := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if err := conn.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	must("CREATE TABLE weir.kept_versions AS weir.rule_versions", "INSERT INTO weir.kept_versions SELECT * FROM weir.rule_versions")
	defer must("DROP TABLE weir.kept_versions")
	pushed := versionKey{kind: decision.Rules, version: "0011223344556677", program: pusher, instance: "push 1", time: 1}
	const unwritten = "a push is in the log and has no row"
	for _, c := range []struct{ name, statement, want string }{
		{"nothing is done", "SELECT 1", ""},
		{unwritten, "SELECT 1", "of weir rules push push 1 at 1 was in force, and has no row"},
		{"a row of a push that is not in the log", "INSERT INTO weir.rule_versions SELECT * REPLACE ('weir rules push' AS program) FROM weir.kept_versions WHERE kind = 'rules'", " was never in force"},
		{"a row is inserted again", "INSERT INTO weir.rule_versions SELECT * FROM weir.kept_versions", ""},
		{"a worker's row is gone", "DELETE FROM weir.rule_versions WHERE kind = 'rules'", " has no row"},
		{"a gate's row is gone", "DELETE FROM weir.rule_versions WHERE kind = 'policies'", " is in the topic, and not in the table"},
		{"a worker's row is there twice", "INSERT INTO weir.rule_versions SELECT * REPLACE (time + INTERVAL 1 SECOND AS time) FROM weir.kept_versions WHERE kind = 'rules'", " has 2 rows"},
		{"a gate's row is there twice", "INSERT INTO weir.rule_versions SELECT * REPLACE (time + INTERVAL 1 SECOND AS time) FROM weir.kept_versions WHERE kind = 'policies'", " was never in force"},
		{"a row has another version", "INSERT INTO weir.rule_versions SELECT * REPLACE ('0011223344556677' AS version) FROM weir.kept_versions WHERE kind = 'rules'", " was never in force"},
		{"a row has another text", "ALTER TABLE weir.rule_versions UPDATE text = concat(text, ' ') WHERE kind = 'rules' SETTINGS mutations_sync = 2", " has other rules than were in force"},
	} {
		must(c.statement)
		v, re := &verdict{}, newReplayed(&truth{})
		if c.name == unwritten {
			re.switched[pushed] = versionRow{}
		}
		if err := r.checkVersions(t.Context(), conn, re, v); err != nil {
			t.Fatal(err)
		}
		if v.Versions == 0 && c.want == "" || (c.want == "") != v.equal() || !slices.ContainsFunc(v.findings, func(f string) bool { return strings.HasPrefix(f, "rule_versions: ") && strings.Contains(f, c.want) }) && c.want != "" {
			t.Errorf("%s: %d rows, and these findings:\n%s", c.name, v.Versions, strings.Join(v.first(), "\n"))
		}
		must("TRUNCATE TABLE weir.rule_versions", "INSERT INTO weir.rule_versions SELECT * FROM weir.kept_versions")
	}
}

func verdictOf(t *testing.T, r *run) *verdict {
	t.Helper()
	v, err := r.verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sql(statement string) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		conn, err := r.openClickHouse()
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Exec(ctx, statement)
	}
}

// aScore calls change with the key and the value of a score.
func aScore(ctx context.Context, r *run, change func(c *goredis.Client, codec *score.Codec, key string, v score.Value) error) error {
	client := goredis.NewClient(&goredis.Options{Addr: r.cluster.redis.Addr})
	defer client.Close()
	codec, err := r.codec()
	if err != nil {
		return err
	}
	held, err := r.readRedis(ctx, codec)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(held)) {
		if strings.Contains(key, nobody) {
			continue // whose score is no live one, whatever it is
		}
		text, err := client.Get(ctx, key).Result()
		if err != nil {
			return err
		}
		if v, err := codec.Parse(key, text); err == nil { // and not one forged by an earlier change
			return change(client, codec, key, v)
		}
	}
	return errors.New("there is no score")
}

func dropScore(ctx context.Context, r *run) error {
	return aScore(ctx, r, func(c *goredis.Client, _ *score.Codec, key string, _ score.Value) error { return c.Del(ctx, key).Err() })
}

// ageScore replaces a newer score with an older genuine one.
func ageScore(ctx context.Context, r *run) error {
	return aScore(ctx, r, func(c *goredis.Client, codec *score.Codec, key string, v score.Value) error {
		v.Position.Offset = 0
		text, err := codec.Append(nil, v)
		if err != nil {
			return err
		}
		return c.Set(ctx, key, text, time.Hour).Err()
	})
}

// forgeScore lowers a weight without updating its authentication code.
func forgeScore(ctx context.Context, r *run) error {
	return aScore(ctx, r, func(c *goredis.Client, codec *score.Codec, key string, v score.Value) error {
		honest, err := codec.Append(nil, v)
		if err != nil {
			return err
		}
		v.Contributions[0].Weight--
		forged, err := codec.Append(nil, v)
		if err != nil {
			return err
		}
		return c.Set(ctx, key, append(forged[:len(forged)-22], honest[len(honest)-22:]...), time.Hour).Err()
	})
}

// nobody is the digest of no entity.
var nobody = strings.Repeat("a", score.DigestLen)

func strangeScore(ctx context.Context, r *run) error {
	return aScore(ctx, r, func(c *goredis.Client, codec *score.Codec, _ string, v score.Value) error {
		v.Digest = nobody
		text, err := codec.Append(nil, v)
		if err != nil {
			return err
		}
		return c.Set(ctx, codec.KeyOf(v.Kind, v.Digest), text, time.Hour).Err()
	})
}

func deadLetter(ctx context.Context, r *run) error {
	s := r.cluster.stack
	return s.Kafka.Produce(ctx, s.Config.Stream.Topic("dead"), []kafka.Produce{{Records: []kafka.Outgoing{{Key: []byte("0-1"), Value: []byte("x")}}}})
}

// gap writes a copy of the last frame of facet partition 0 with its range moved up,
// so that offsets in between are missing.
func gap(ctx context.Context, r *run) error {
	s := r.cluster.stack
	topic := s.Config.Stream.Topic("facets")
	calm, err := newCalm(s.Config, r.rulesets, r.plan.Partitions, r.facetPartitions)
	if err != nil {
		return err
	}
	calm.sources[0].owner, calm.sources[0].from, calm.sources[0].next = 1<<62, 1<<40, 1<<40+1
	return s.Kafka.Produce(ctx, topic, []kafka.Produce{{Records: []kafka.Outgoing{{Value: bytes.Clone(calm.frame(0, 0))}}}})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no time":        func(o *Options) { o.For = 0 },
		"another broker": func(o *Options) { o.Kafka = "redpanda" },
		"no workers":     func(o *Options) { o.Workers = 0 },
		"many workers":   func(o *Options) { o.Workers = mostWorkers + 1 },
		"no rate":        func(o *Options) { o.Rate = 0 },
	} {
		o := Defaults()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestWhatAnotherRunLeftIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := makeEmpty(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if makeEmpty(dir) == nil {
		t.Error("a directory that is not empty is taken")
	}
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i))
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(slices.Clone(all), share); got != want {
			t.Errorf("quantile %v is %d, not %d", share, got, want)
		}
	}
	if quantile(nil, 1) != 0 {
		t.Error("nothing has a quantile")
	}
}

func TestLagIsTheAgeOfWhatIsNotCommitted(t *testing.T) {
	at := func(committed, end int64) stack.Position {
		return stack.Position{
			Committed: []kafka.Commit{{Offset: end}, {Partition: 1, Offset: committed}},
			Log:       []kafka.OffsetRange{{End: end}, {End: end}},
		}
	}
	var m lagMeter
	began := time.Unix(0, 0)
	for i, c := range []struct {
		committed, end int64
		lag            time.Duration
	}{{-1, 0, 0}, {-1, 10, 0}, {5, 20, 1}, {10, 30, 1}, {10, 30, 2}, {29, 30, 2}, {30, 30, 0}, {30, 31, 0}} {
		if lag := m.see(began.Add(time.Duration(i)), at(c.committed, c.end)); lag != c.lag {
			t.Errorf("look %d: committed %d of %d, the lag is %d, not %d", i, c.committed, c.end, lag, c.lag)
		}
	}
}

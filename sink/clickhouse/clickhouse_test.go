package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/eventtest"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/chdb"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// engine is the one ClickHouse of this process: it can be opened once. It is
// closed before the process ends, since its threads do not survive that.
var engine struct {
	once sync.Once
	dir  string
	*chdb.Engine
	err error
}

func open() (*chdb.Engine, error) {
	engine.once.Do(func() {
		if engine.dir, engine.err = os.MkdirTemp("", "weir-clickhouse"); engine.err == nil {
			engine.Engine, engine.err = chdb.Open(engine.dir, "--config-file=testdata/cluster.xml")
		}
	})
	return engine.Engine, engine.err
}

// engineFor is the engine, or the end of a test where there is none.
func engineFor(t *testing.T) *chdb.Engine {
	t.Helper()
	testkit.ChDB(t)
	e, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMain(m *testing.M) {
	code := m.Run()
	if engine.Engine != nil {
		engine.Close()
	}
	if engine.dir != "" {
		_ = os.RemoveAll(engine.dir)
	}
	os.Exit(code)
}

// server is a server in front of the engine that can be stopped and started,
// and can cut connections after an insert went through.
type server struct {
	t      *testing.T
	addr   string
	stop   context.CancelFunc
	served chan struct{}
}

func start(t *testing.T, addr string) *server {
	t.Helper()
	e := engineFor(t)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{t: t, addr: l.Addr().String(), stop: cancel, served: make(chan struct{})}
	go func() { defer close(s.served); _ = chdb.NewServer(e, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(s.close)
	return s
}

func (s *server) close() { s.stop(); <-s.served }

func config(t *testing.T, addr string) clickhouse.Config {
	t.Helper()
	c := clickhouse.Defaults()
	c.Addrs, c.FlushAge = []string{addr}, 20*time.Millisecond
	c.Database = fmt.Sprintf("t%d", time.Now().UnixNano())
	if err := clickhouse.Migrate(t.Context(), c, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return c
}

// running starts a writer that is stopped with the test.
func running(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("writer: %v", err)
		}
	})
}

func events(t *testing.T, c clickhouse.Config) *clickhouse.Events {
	t.Helper()
	w, err := clickhouse.NewEvents(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func sample(t *testing.T, n int) *event.Event {
	t.Helper()
	var d format.Decoder
	e := new(event.Event)
	if err := d.Decode(eventtest.Sample(n), e); err != nil {
		t.Fatal(err)
	}
	return e
}

func query(t *testing.T, c clickhouse.Config, sql string, into ...any) {
	t.Helper()
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func(conn driver.Conn) { _ = conn.Close() }(conn)
	if err := conn.QueryRow(t.Context(), fmt.Sprintf(sql, c.Database)).Scan(into...); err != nil {
		t.Fatal(err)
	}
}

func TestARowWrittenTwiceIsOneRow(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w := events(t, c)
	running(t, w.Run)
	track := w.Open(3)
	now := time.Now().UnixMilli() // rows received long ago would be deleted
	for range 2 {
		for n := range 500 {
			if err := track.Append(t.Context(), int64(n), 7, now, sample(t, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if track.Stored() != math.MaxInt64 {
		t.Errorf("stored up to %d after a drain", track.Stored())
	}
	var rows, distinct uint64
	query(t, c, "SELECT count(), uniqExact(src_offset) FROM %s.events FINAL", &rows, &distinct)
	if rows != 500 || distinct != 500 {
		t.Errorf("%d rows, %d positions, want 500", rows, distinct)
	}
	var id, account, path string
	var status int64
	var at, received time.Time
	var partition uint32
	query(t, c, "SELECT id, account, path, status, time, received, src_partition FROM %s.events FINAL WHERE src_offset = 7",
		&id, &account, &path, &status, &at, &received, &partition)
	e := sample(t, 7)
	if id != e.Text(event.ID) || account != e.Text(event.Account) || path != e.Text(event.Path) || status != 401 ||
		at.UnixMilli() != e.Num(event.Time) || received.UnixMilli() != now || partition != 3 {
		t.Errorf("row %s %s %s %d %v %v %d", id, account, path, status, at, received, partition)
	}
}

func TestAnOutageBlocksAndLosesNothing(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	c.FlushRows, c.FlushAge = 100, time.Minute // by number alone
	w := events(t, c)
	running(t, w.Run)
	track := w.Open(0)
	s.close()
	blocked, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	n := int64(0)
	for ; n < 1000; n++ {
		if track.Append(blocked, n, 1, time.Now().UnixMilli(), sample(t, int(n))) != nil {
			break
		}
	}
	if n != 200 {
		t.Errorf("%d rows were taken without a server; two batches of 100 fit", n)
	}
	if stored := track.Stored(); stored != 0 {
		t.Errorf("stored up to %d, though nothing is", stored)
	}
	start(t, s.addr)
	for ; n < 1000; n++ {
		if err := track.Append(t.Context(), n, 1, time.Now().UnixMilli(), sample(t, int(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := track.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rows uint64
	query(t, c, "SELECT count() FROM %s.events FINAL", &rows)
	if rows != 1000 {
		t.Errorf("%d rows, want 1000", rows)
	}
}

// signalWriters makes the writers of the tables of signals, by table.
var signalWriters = map[string]func(clickhouse.Config, clickhouse.Stream, *slog.Logger, prometheus.Registerer) (*clickhouse.Signals, error){
	"signals": clickhouse.NewSignals, "shadow_signals": clickhouse.NewShadowSignals,
}

func TestSignalsKeepTheirEvidence(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	for table := range signalWriters {
		t.Run(table, func(t *testing.T) { keepsItsEvidence(t, config(t, s.addr), table) })
	}
}

func keepsItsEvidence(t *testing.T, c clickhouse.Config, table string) {
	t.Helper()
	w, err := signalWriters[table](c, clickhouse.Stream{Name: "weir", Incarnation: 1}, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	track := w.Open(2)
	sig := &score.Signal{Position: score.Position{Incarnation: 1, Partition: 2, Offset: 99, Index: 4}, Rule: "r", Category: "bot", Reason: "why",
		Entity: facet.Entity{Kind: facet.IP, Key: "192.0.2.1"}, Group: facet.Entity{Kind: facet.Net, Key: "192.0.2.0/24"}, Weight: 80, HalfLife: time.Minute,
		Evidence: []facet.Evidence{facet.Number("distinct", 12), facet.Number("window_ms", 600000)}, Time: 1763892000123}
	for range 2 {
		if err := track.Append(t.Context(), 99, sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := track.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n uint64
	var entity, evidence, groupKind, group string
	var weight uint8
	query(t, c, "SELECT count(), any(entity), any(evidence), any(weight), any(group_kind), any(group_key) FROM %s.v_"+table, &n, &entity, &evidence, &weight, &groupKind, &group)
	if n != 1 || entity != "192.0.2.1" || groupKind != "net" || group != "192.0.2.0/24" || evidence != `{"distinct":12,"window_ms":600000}` || weight != 80 {
		t.Errorf("%d rows: %s %s %d", n, entity, evidence, weight)
	}
	for other := range signalWriters {
		if query(t, c, "SELECT count() FROM %s."+other, &n); (n > 0) != (other == table) {
			t.Errorf("%d rows in %s", n, other)
		}
	}
}

func TestTablesOfAnOlderProgramAreCompleted(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, table := range []string{"VIEW " + c.Database + ".feed_named_signals", "TABLE " + c.Database + ".named_signals"} { // as before version 10
		if err := conn.Exec(t.Context(), "DROP "+table+" SYNC"); err != nil {
			t.Fatal(err)
		}
	}
	for _, column := range []string{"group_kind", "group_key"} { // as before version 2
		if err := conn.Exec(t.Context(), "ALTER TABLE "+c.Database+".signals DROP COLUMN "+column); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE "+c.Database+".schema_version"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO "+c.Database+".schema_version SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if err := events(t, c).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "weir migrate") {
		t.Errorf("check of older tables: %v", err)
	}
	if err := clickhouse.Migrate(t.Context(), c, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := events(t, c).Check(t.Context()); err != nil {
		t.Errorf("check of tables brought up to date: %v", err)
	}
	var columns uint64
	query(t, c, "SELECT count() FROM system.columns WHERE database = '%s' AND table = 'signals' AND name IN ('group_kind', 'group_key')", &columns)
	if columns != 2 {
		t.Errorf("%d of 2 columns were added", columns)
	}
}

func TestTablesOfANewerProgramAreLeftAlone(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	log := slog.New(slog.DiscardHandler)
	if err := clickhouse.Migrate(t.Context(), c, log); err != nil {
		t.Errorf("migrating twice: %v", err)
	}
	if err := events(t, c).Check(t.Context()); err != nil {
		t.Errorf("check of tables just made: %v", err)
	}
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "INSERT INTO "+c.Database+".schema_version SELECT 99"); err != nil {
		t.Fatal(err)
	}
	if err := clickhouse.Migrate(t.Context(), c, log); err == nil {
		t.Error("a newer schema was migrated")
	}
	if err := events(t, c).Check(t.Context()); !errors.Is(err, clickhouse.ErrSchema) || !strings.HasSuffix(err.Error(), "use a newer one") {
		t.Errorf("of a newer schema the check says %v", err)
	}
	other := c
	other.Database = "nowhere"
	if err := events(t, other).Check(t.Context()); !errors.Is(err, clickhouse.ErrSchema) || err.Error() != "database nowhere has no tables of Weir; `weir migrate` makes them" {
		t.Errorf("of missing tables the check says %v", err)
	}
}

// TestADecisionWithTwoPositionsIsOneRow: a gate repeats a produce whose reply was
// lost, and a worker reads some records again.
func TestADecisionWithTwoPositionsIsOneRow(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w, err := clickhouse.NewDecisions(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	track := w.Open(2)
	now := time.Now().UnixMilli()
	d := &decision.Record{ID: "d-1", Time: now, Tenant: "shop", Entities: map[string]string{"account": "alice", "ip": "203.0.113.9"}, Action: "deny", Would: "deny",
		Score: 90, ObservedScore: 93, Reasons: []decision.Reason{{Rule: "r", Reason: "why", Weight: 90, Entity: "ip"}, {Rule: "s", Reason: "too", Entity: "account"}},
		Limits: []string{"login", "page"}, LimitedBy: "login", Degraded: true, LatencyMicros: 812}
	other := &decision.Record{ID: "d-2", Time: now, Action: "allow", Would: "allow"}
	for _, at := range []struct {
		offset int64
		d      *decision.Record
	}{{7, d}, {8, other}, {1 << 26, d}, {7, d}, {8, other}} {
		if err := track.Append(t.Context(), at.offset, now, at.d); err != nil {
			t.Fatal(err)
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var n uint64
	var ip, reasons string
	var rules, codes, limits []string
	var at time.Time
	var score, degraded uint8
	query(t, c, "SELECT count() FROM %s.v_decisions", &n)
	query(t, c, "SELECT entities['ip'], rules, reason_codes, reasons, arrayPushBack(limits, limited_by), time, score, degraded FROM %s.v_decisions WHERE id = 'd-1'",
		&ip, &rules, &codes, &reasons, &limits, &at, &score, &degraded)
	if n != 2 || ip != "203.0.113.9" || fmt.Sprint(rules, codes, limits) != "[r s] [why too] [login page login]" || at.UnixMilli() != now || score != 90 || degraded != 1 {
		t.Errorf("%d rows: %s %v %v %v %v %d %d", n, ip, rules, codes, limits, at, score, degraded)
	}
	if !strings.HasPrefix(reasons, `[{"rule":"r","reason":"why","category":"","weight":90,`) {
		t.Errorf("reasons %s", reasons)
	}
	query(t, c, "SELECT reasons FROM %s.v_decisions WHERE id = 'd-2'", &reasons)
	if reasons != "[]" {
		t.Errorf("no reasons are %s", reasons)
	}
}

func digest(e facet.Entity) string { return "digest of " + e.Key }

// TestAControlThatIsReadTwiceIsOneRow: a worker that takes over reads some records
// again, and the audit does not name an erased entity.
func TestAControlThatIsReadTwiceIsOneRow(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w, err := clickhouse.NewControls(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, digest, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	now := time.Now().UnixMilli()
	all := []control.Record{
		{ID: "c-0", Action: "false_positive", Time: now, Tenant: "shop", Kind: "account", Key: "alice", Rule: "r", Who: "ann", Reason: "why", Expires: now + 1000},
		{ID: "c-1", Action: "release", Time: now, Kind: "ip", Key: "203.0.113.9", Who: "bob", Reason: "too"},
		{ID: "c-2", Action: "erase", Time: now, Kind: "account", Key: "carol", Who: "ann", Reason: "asked for"},
		{ID: "c-3", Action: "challenge_passed", Time: now, Kind: "device", Key: "d", Category: "bot", Who: "gate", Reason: "solved"},
	}
	for owner := range uint64(2) {
		track := w.Open()
		for i := range all {
			if err := track.Append(t.Context(), int64(i), owner+1, now, &all[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at := track.Stored(); at < int64(len(all)) {
			t.Errorf("stored up to %d", at)
		}
	}
	var labels, erased, passed uint64
	var label, audit string
	query(t, c, "SELECT count(), any(concat(label, ' ', tenant, ' ', entity_kind, ':', entity, ' ', rule, ' ', who, ' ', reason, ' ', toString(toUnixTimestamp64Milli(expires) - toUnixTimestamp64Milli(time)))) FROM %s.v_labels", &labels, &label)
	query(t, c, "SELECT arrayStringConcat(arraySort(groupArray(concat(id, ' ', action, ' ', entity))), ', '), countIf(entity = '' AND entity_digest = 'digest of carol' AND owner = 2), countIf(category = 'bot') FROM %s.v_audit", &audit, &erased, &passed)
	if labels != 1 || label != "false_positive shop account:alice r ann why 1000" {
		t.Errorf("%d labels, %q", labels, label)
	}
	if want := "c-0 false_positive alice, c-1 release 203.0.113.9, c-2 erase , c-3 challenge_passed d"; audit != want || erased != 1 || passed != 1 {
		t.Errorf("%q, want %q; %d %d", audit, want, erased, passed)
	}
}

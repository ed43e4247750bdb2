package clickhouse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// answers are what the views say of a few events: how many there are of an address,
// in its time line, by id, by route and minute, and by address and minute.
func answers(t *testing.T, c clickhouse.Config, ip, id string) (line, byID, routes, addresses uint64) {
	t.Helper()
	query(t, c, "SELECT count() FROM %s.v_entity_events WHERE entity_kind = 'ip' AND entity = '"+ip+"'", &line)
	query(t, c, "SELECT count() FROM %s.v_events_by_id(id = '"+id+"')", &byID)
	if n := count(t, c, clickhouse.EventsByID(), id); n != byID {
		t.Errorf("id %q: programs find %d events, the view %d", id, n, byID)
	}
	query(t, c, "SELECT sum(events) FROM %s.v_event_minutes", &routes)
	query(t, c, "SELECT sum(events) FROM %s.v_entity_minutes WHERE entity_kind = 'ip' AND entity = '"+ip+"'", &addresses)
	return line, byID, routes, addresses
}

// reader is a connection of a program that reads.
func reader(t *testing.T, c clickhouse.Config) driver.Conn {
	t.Helper()
	conn, err := clickhouse.OpenToRead(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// count asks as the programs do.
func count(t *testing.T, c clickhouse.Config, byID, id string) (n uint64) {
	t.Helper()
	if err := reader(t, c).QueryRow(t.Context(), "SELECT count() FROM "+byID, id, id).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Events are written three times, the last time by another owner, which gives some of
// them another time.
func TestWhatIsMadeFromEventsCountsEachOnce(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	c.FlushRows = 3000 // a batch ends within a block
	w := events(t, c)
	running(t, w.Run)
	const n = 10_000 // two blocks
	now := time.Now().Truncate(time.Minute).UnixMilli()
	write := func(owner uint64, from int64, shift int64) {
		t.Helper()
		track, e := w.Open(3), new(event.Event)
		for i := from; i < n; i++ {
			e.Reset()
			e.SetNum(event.Time, now+i*10+shift)
			e.SetText(event.ClientIP, fmt.Sprintf("203.0.113.%d", i%10))
			e.SetText(event.RequestID, fmt.Sprintf("r-%d", i))
			e.SetText(event.Route, fmt.Sprintf("/%d", i%7))
			e.SetNum(event.Status, 200)
			if err := track.Append(t.Context(), i, owner, now, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		line, byID, routes, addresses := answers(t, c, "203.0.113.4", "r-9994")
		if line != n/10 || byID != 1 || routes != n || addresses != n/10 {
			t.Errorf("%s: %d events of an address, %d with an id, %d by route, %d by address; want %d, 1, %d, %d", when, line, byID, routes, addresses, n/10, n, n/10)
		}
		var different uint64
		query(t, c, `SELECT count() FROM (SELECT toStartOfMinute(time) AS minute, route, count() AS events FROM %[1]s.v_events GROUP BY minute, route) AS e
FULL JOIN (SELECT minute, route, sum(events) AS events FROM %[1]s.v_event_minutes GROUP BY minute, route) AS m ON e.minute = m.minute AND e.route = m.route WHERE e.events != m.events`, &different)
		if different != 0 {
			t.Errorf("%s: %d minutes and routes have other counts than their events", when, different)
		}
	}
	write(1, 0, 0)
	check("written once")
	write(1, 5000, 0)
	check("written again")
	write(2, 5000, 3*60_000)
	check("written by another owner, with other times")
	write(1, 5000, 0)
	check("written late by the former owner")
	if err := connect(t, c).Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.superseded_streams VALUES ('weir', 1, 'weir', 2)", c.Database)); err != nil {
		t.Fatal(err)
	}
	if line, byID, routes, addresses := answers(t, c, "203.0.113.4", "r-9994"); line+byID+routes+addresses != 0 {
		t.Errorf("of a superseded stream there are %d events of an address, %d with an id, %d by route, %d by address", line, byID, routes, addresses)
	}
}

func TestADecisionIsFoundByEachOfItsNames(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w, err := clickhouse.NewDecisions(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	track, now := w.Open(0), time.Now().UnixMilli()
	for i := range int64(3) { // the gate wrote the second one twice
		d := &decision.Record{ID: fmt.Sprintf("d-%d", min(i, 1)), RequestID: fmt.Sprintf("r-%d", min(i, 1)), Time: now + min(i, 1), Action: "deny", Would: "deny",
			Entities: map[string]string{"ip": "203.0.113.9", "account": fmt.Sprintf("a-%d", min(i, 1))}}
		if err := track.Append(t.Context(), i, now, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := track.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]uint64{"d-1": 1, "r-1": 1, "a-1": 1, "203.0.113.9": 2, "d-2": 0, "": 0} {
		var n uint64
		if query(t, c, "SELECT count() FROM %s.v_decisions_by_id(id = '"+id+"')", &n); n != want {
			t.Errorf("%d decisions with the name %q, want %d", n, id, want)
		}
		if n := count(t, c, clickhouse.DecisionsByID(), id); n != want {
			t.Errorf("programs find %d decisions with the name %q, want %d", n, id, want)
		}
	}
}

func TestAWriterOfAFileHidesTheRunsThatItReplaces(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	now := time.Now().UnixMilli()
	for run, lines := range []int{3, 5} {
		w, err := clickhouse.NewEvents(c, clickhouse.Stream{Name: fmt.Sprintf("history-%d", run), Incarnation: 1}, discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		running(t, w.Run)
		track, e := w.Open(0), new(event.Event)
		for i := range lines {
			e.Reset()
			e.SetNum(event.Time, now+int64(i))
			e.SetText(event.ClientIP, "203.0.113.9")
			if err := track.Append(t.Context(), int64(i), 1, now+int64(run), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n, streams uint64
		query(t, c, "SELECT count(), uniqExact(stream) FROM %s.v_events", &n, &streams)
		line, _, routes, addresses := answers(t, c, "203.0.113.9", "-")
		if n != uint64(lines) || streams != 1 || line != n || routes != n || addresses != n {
			t.Errorf("after run %d: %d events of %d streams, %d in the time line, %d and %d counted; want %d of 1", run, n, streams, line, routes, addresses, lines)
		}
	}
}

// A time line reads what it shows, and little beside it: wide columns only where the
// key is the entity's. Conditions on other columns come after FINAL has chosen.
func TestATimeLineReadsByItsKey(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	conn := connect(t, c)
	for _, row := range []string{"1, 401", "2, 200"} { // the second owner's row stays
		if err := conn.Exec(t.Context(), "INSERT INTO "+c.Database+".events (stream, incarnation, src_offset, received, time, client_ip, owner, status) SELECT 'weir', 1, 7, now64(3), now64(3), '203.0.113.9', "+row); err != nil {
			t.Fatal(err)
		}
	}
	const line = "SELECT * FROM %s.v_entity_events WHERE entity_kind = 'ip' AND entity = '203.0.113.9' AND status = 401 ORDER BY time DESC LIMIT 200"
	rows, err := conn.Query(t.Context(), "EXPLAIN actions = 1 "+fmt.Sprintf(line, c.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var before string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		if _, condition, found := strings.Cut(text, "Prewhere filter column:"); found {
			before += condition
		}
	}
	if !strings.Contains(before, "203.0.113.9") || strings.Contains(before, "status") {
		t.Errorf("before all columns are read, the condition is %q; want that on the entity alone", before)
	}
	var n uint64
	if query(t, c, strings.Replace(strings.TrimSuffix(line, " ORDER BY time DESC LIMIT 200"), "*", "count()", 1), &n); n != 0 {
		t.Error("a row that was replaced is found by what it said")
	}
}

// Of 60,000 events in three parts, 3,000 are about an address. Its time line may read
// them with a granule at each end in each part, and wide columns of 200 of them alone.
// ClickHouse refuses a query that reads more than it may.
func TestATimeLineReadsNoMoreThanItsRange(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	conn := connect(t, c)
	const parts, ofAddress, granule, newest = 3, 3000, 512, 200
	for part := range parts {
		if err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s.entity_events (entity_kind, entity, stream, incarnation, src_offset, owner, day, time, object)
SELECT 'ip', if(number %% 20 = 0, '203.0.113.9', 'a' || toString(number)), 'weir', 1, %d + number, 1, today(), now64(3) + number, repeat('o', 1000) FROM numbers(20000)`, c.Database, part*20_000)); err != nil {
			t.Fatal(err)
		}
	}
	line := fmt.Sprintf("SELECT * FROM %s.v_entity_events WHERE entity_kind = 'ip' AND entity = '203.0.113.9' ORDER BY time DESC LIMIT %d", c.Database, newest)
	within := func(rows, bytes int) (found uint64, err error) {
		err = conn.QueryRow(t.Context(), fmt.Sprintf("SELECT countIf(object != '') FROM (%s) SETTINGS max_rows_to_read = %d, max_bytes_to_read = %d", line, rows, bytes)).Scan(&found)
		return found, err
	}
	const rows, bytes = ofAddress + 2*granule*parts, 1 << 20 // all of its objects are 3 MB
	if n, err := within(rows, bytes); err != nil || n != newest {
		t.Errorf("of %d events there are %d: %v", newest, n, err)
	}
	if _, err := within(ofAddress-1, bytes); err == nil {
		t.Error("ClickHouse does not count the rows that it reads")
	}
	if _, err := within(rows, 1<<16); err == nil {
		t.Error("ClickHouse does not count the bytes that it reads")
	}
	if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.superseded_streams VALUES ('weir', 1, 'weir', 2)", c.Database)); err != nil {
		t.Fatal(err)
	}
	if n, err := within(rows, bytes); err != nil || n != 0 {
		t.Errorf("of a superseded stream there are %d events: %v", n, err)
	}
}

// Of 20,000 events and decisions, an id has one of each. ClickHouse may read the granule
// that has it, of the table itself and of the one that finds it.
func TestAnIDReadsAGranule(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	conn, read := connect(t, c), reader(t, c)
	for table, byID := range map[string]string{"events": clickhouse.EventsByID(), "decisions": clickhouse.DecisionsByID()} {
		if err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s.%s (stream, incarnation, src_offset, time, received, id, request_id)
SELECT 'weir', 1, number, now64(3) + number, now64(3), 'id-' || toString(number), 'r-' || toString(number) FROM numbers(20000)`, c.Database, table)); err != nil {
			t.Fatal(err)
		}
		ask := func(rows int) (found uint64, err error) {
			view := fmt.Sprintf("v_%s_by_id(id = 'r-7777')", table)
			for _, from := range []string{view, strings.ReplaceAll(byID, "?", "'r-7777'")} {
				sql := fmt.Sprintf("SELECT count() FROM (SELECT * FROM %s) WHERE id = 'id-7777' SETTINGS max_rows_to_read = %d", from, rows)
				err = errors.Join(err, read.QueryRow(t.Context(), sql).Scan(&found))
			}
			return found, err
		}
		const granule = 2048
		if n, err := ask(2 * granule); err != nil || n != 1 {
			t.Errorf("%s: %d rows: %v", table, n, err)
		}
		if _, err := ask(granule / 4); err == nil {
			t.Errorf("%s: ClickHouse does not count the rows that it reads", table)
		}
	}
}

// Of 400 minutes with a thousand addresses each, ClickHouse reads the lists of a granule
// only from the minute on that is asked for.
func TestCountsOfAMinuteReadFewLists(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	if err := connect(t, c).Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s.entity_minutes (entity_kind, minute, stream, incarnation, block, version, day, tenants, entities, events, failures, errors, refused)
SELECT 'ip', toDateTime('2026-11-05 00:00:00', 'UTC') + 60 * number, 'weir', 1, 0, 1, today(), arrayResize([''], 1000, ''), arrayMap(n -> 'address ' || toString(n), range(1000)),
    arrayResize([1], 1000, 1), arrayResize([0], 1000, 0), arrayResize([0], 1000, 0), arrayResize([0], 1000, 0) FROM numbers(400)`, c.Database)); err != nil {
		t.Fatal(err)
	}
	const ask = "SELECT count() FROM %s.v_entity_minutes WHERE entity_kind = 'ip' AND minute = toDateTime('2026-11-05 03:00:00', 'UTC') AND events > 0 SETTINGS max_bytes_to_read = "
	var n uint64
	if query(t, c, ask+"8000000", &n); n != 1000 { // all lists have 14 MB
		t.Errorf("%d addresses, want 1000", n)
	}
	if err := connect(t, c).QueryRow(t.Context(), fmt.Sprintf(ask+"1000", c.Database)).Scan(&n); err == nil {
		t.Error("ClickHouse does not count the bytes that it reads")
	}
}

func TestASignalIsFoundByEachOfItsNames(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w, err := clickhouse.NewSignals(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	track, now := w.Open(0), time.Now().UnixMilli()
	for range 2 { // written again after a crash
		for n, account := range []string{"alice", "bob"} {
			sig := &score.Signal{Position: score.Position{Incarnation: 1, Offset: int64(n)}, Rule: "stuffing", HalfLife: time.Minute, Time: now,
				Entity: facet.Entity{Kind: facet.Account, Tenant: "shop", Key: account}, Group: facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}}
			if err := track.Append(t.Context(), int64(n), sig); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for where, want := range map[string]uint64{
		"found_by = 'rule' AND name_kind = '' AND name = 'stuffing'":            2,
		"found_by = 'entity' AND name_kind = 'account' AND name = 'alice'":      1,
		"found_by = 'group' AND name_kind = 'ip' AND name = '203.0.113.9'":      2,
		"found_by = 'entity' AND name_kind = 'ip' AND name = '203.0.113.9'":     0,
		"found_by = 'rule' AND name_kind = '' AND name = 'another'":             0,
		"found_by = 'group' AND name_kind = 'account' AND name = '203.0.113.9'": 0,
	} {
		var n uint64
		if query(t, c, "SELECT count() FROM %s.v_named_signals WHERE "+where, &n); n != want {
			t.Errorf("%d signals where %s, want %d", n, where, want)
		}
	}
}

// Of 20,000 signals of a rule within 20 days, a day has 1,000.
func TestSignalsOfARuleAreFoundByTime(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	if err := connect(t, c).Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s.signals (stream, incarnation, facet_offset, rule, time, received)
SELECT 'weir', 1, number, 'busy', toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + intDiv(number * 86400, 1000), now64(3) FROM numbers(20000)`, c.Database)); err != nil {
		t.Fatal(err)
	}
	var n uint64
	query(t, c, `SELECT count() FROM %s.v_named_signals WHERE found_by = 'rule' AND name_kind = '' AND name = 'busy'
AND time >= toDateTime('2026-11-05 00:00:00', 'UTC') AND time < toDateTime('2026-11-06 00:00:00', 'UTC') SETTINGS max_rows_to_read = 4096`, &n) // in granules of 512
	if n != 1000 {
		t.Errorf("%d signals in a day, want 1000", n)
	}
}

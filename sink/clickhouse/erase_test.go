package clickhouse_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// TestAnErasureLeavesNothingAndTouchesNobodyElse fills every table with rows about a
// subject, rows about others that name it, and rows about others that do not.
func TestAnErasureLeavesNothingAndTouchesNobodyElse(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	stream, now := clickhouse.Stream{Name: "weir", Incarnation: 1}, time.Now().UnixMilli()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const subject, other = `al"i&ce'`, "bob"
	e := facet.Entity{Kind: facet.Account, Tenant: "shop", Key: subject}

	w := events(t, c)
	running(t, w.Run)
	rows := w.Open(0)
	for n, account := range []string{subject, other, subject} {
		ev := sample(t, n)
		ev.SetNum(event.Time, now)
		ev.SetText(event.Tenant, []string{"shop", "shop", "elsewhere"}[n])
		ev.SetText(event.Account, account)
		ev.SetText(event.Session, fmt.Sprint("s-", n))
		must(rows.Append(t.Context(), int64(n), 1, now, ev))
		must(rows.Append(t.Context(), int64(n), 2, now, ev)) // another copy
	}
	must(rows.Drain(t.Context()))

	for _, make := range signalWriters {
		w, err := make(c, stream, discard(), nil)
		must(err)
		running(t, w.Run)
		caught := w.Open(0)
		for n, sig := range []score.Signal{
			{Entity: e}, {Entity: facet.Entity{Kind: facet.Account, Tenant: "shop", Key: other}},
			{Entity: facet.Entity{Kind: facet.Device, Tenant: "shop", Key: "d"}, Group: e},
			{Entity: facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "192.0.2.1"}, Evidence: []facet.Evidence{facet.Text("who", subject), facet.Number("count", 3)}},
			{Entity: facet.Entity{Kind: facet.Device, Tenant: "shop", Key: subject}}, // another entity of that name
		} {
			sig.Position, sig.Rule, sig.HalfLife, sig.Time = score.Position{Incarnation: 1, Offset: int64(n)}, "r", time.Minute, now
			must(caught.Append(t.Context(), int64(n), &sig))
		}
		must(caught.Drain(t.Context()))
	}

	d, err := clickhouse.NewDecisions(c, stream, discard(), nil)
	must(err)
	running(t, d.Run)
	decisions := d.Open(0)
	for n, account := range []string{subject, other} {
		must(decisions.Append(t.Context(), int64(n), now, &decision.Record{ID: fmt.Sprint("d", n), Time: now, Tenant: "shop", Action: "deny", Would: "deny", Entities: map[string]string{"account": account}}))
	}
	must(decisions.Append(t.Context(), 7, now, &decision.Record{ID: "d0", Time: now, Tenant: "shop", Action: "deny", Would: "deny", Entities: map[string]string{"account": subject}})) // written twice
	must(decisions.Drain(t.Context()))
	conn, err := clickhouse.Open(c)
	must(err)
	must(conn.Exec(t.Context(), "OPTIMIZE TABLE "+c.Database+".decisions FINAL"))
	must(conn.Close())

	said, err := clickhouse.NewControls(c, stream, digest, discard(), nil)
	must(err)
	running(t, said.Run)
	track := said.Open()
	for n, account := range []string{subject, other} {
		must(track.Append(t.Context(), int64(n), 1, now, &control.Record{ID: fmt.Sprint("c", n), Action: "true_positive", Time: now, Tenant: "shop", Kind: "account", Key: account}))
	}
	must(track.Append(t.Context(), 2, 1, now, &control.Record{ID: "c2", Action: "erase", Time: now, Tenant: "shop", Kind: "account", Key: subject}))
	must(track.Drain(t.Context()))

	refused, err := clickhouse.NewDeadLetters(c, stream, discard(), nil)
	must(err)
	running(t, refused.Run)
	letters := refused.Open(0)
	for n, l := range []event.DeadLetter{
		{Value: []byte(`{"account":"al\"i&ce'","x":`)}, {Value: []byte(`{"account":"bob","x":`)}, {Key: []byte(subject)}, {Detail: "account: al\"i&ce' is none"},
		{Value: []byte(`{"account":"al\"i&ce'2"`)}, // another name
		{Value: []byte(`{"account":"al\"i\u0026ce'","x":`)},
	} {
		l.Offset, l.Reason = int64(n), "json"
		must(letters.Append(t.Context(), 1, now, &l))
	}
	must(letters.Drain(t.Context()))

	before, err := clickhouse.Remains(t.Context(), c, e)
	must(err)
	erased, err := clickhouse.Erase(t.Context(), c, e)
	must(err)
	names := func(all []clickhouse.Trace) (names []string) {
		for _, t := range all {
			names = append(names, t.Table)
		}
		return slices.Compact(names)
	}
	was := names(before)
	if fmt.Sprint(was) != "[decision_ids event_ids audit dead_letters decisions entity_events entity_minutes events labels named_signals shadow_signals signals]" || fmt.Sprint(names(erased)) != fmt.Sprint(was) {
		t.Errorf("erased %v, there was %v", erased, before)
	}
	if left, err := clickhouse.Remains(t.Context(), c, e); err != nil || len(left) > 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	var n, named, group, evidence uint64
	query(t, c, "SELECT count(), countIf(tenant = 'elsewhere') FROM %s.v_events", &n, &named)
	if n != 2 || named != 1 {
		t.Errorf("%d events are left, %d of another tenant", n, named)
	}
	var kept, silent uint64
	query(t, c, "SELECT count(), countIf(sample = '' AND record_key = '' AND detail = '') FROM %s.v_dead_letters", &kept, &silent)
	if kept != 6 || silent != 4 {
		t.Errorf("%d dead letters are left, %d without text; want 6 and 4", kept, silent)
	}
	var counted uint64
	query(t, c, "SELECT sum(events) FROM %s.v_event_minutes", &counted)
	query(t, c, "SELECT count(), countIf(entity = 'bob') FROM (SELECT * FROM %s.v_entity_minutes WHERE entity_kind = 'account' AND events > 0)", &group, &named)
	if counted != 2 || group != 2 || named != 1 {
		t.Errorf("%d events are counted, %d accounts are, %d of them bob", counted, group, named)
	}
	for _, table := range []string{"v_signals", "v_shadow_signals"} {
		query(t, c, "SELECT count(), countIf(entity = 'bob' OR entity_kind = 'device' AND entity LIKE 'al%%'), countIf(entity = 'd' AND group_key = ''), countIf(evidence LIKE '%%\"\"%%' AND JSONExtractInt(evidence, 'count') = 3) FROM %s."+table, &n, &named, &group, &evidence)
		if n != 4 || named != 2 || group != 1 || evidence != 1 {
			t.Errorf("%s: %d rows, %d others, %d without group, %d without evidence", table, n, named, group, evidence)
		}
	}
	query(t, c, "SELECT count(), countIf(account = 'bob') FROM %s.entity_events FINAL WHERE entity_kind = 'account'", &n, &named)
	if n != 2 || named != 1 {
		t.Errorf("%d copies of events are left", n)
	}
	query(t, c, "SELECT sum(arraySum(events)), sum(countEqual(entities, 'bob')) FROM %s.entity_minutes FINAL WHERE entity_kind = 'account'", &n, &named)
	if n != 2 || named != 1 {
		t.Errorf("%d events are counted, %d of bob", n, named)
	}
	query(t, c, "SELECT countIf(id_hash = toUInt32(cityHash64('d0'))), countIf(id_hash = toUInt32(cityHash64('bob'))) FROM %s.decision_ids FINAL", &n, &named)
	if n != 0 || named != 1 {
		t.Errorf("%d ids of the erased decision are left, and %d of bob's", n, named)
	}
	query(t, c, "SELECT count(), countIf((stream, incarnation, src_partition, src_offset) NOT IN (SELECT stream, incarnation, src_partition, src_offset FROM %[1]s.events)) FROM %[1]s.event_ids", &n, &named)
	if n == 0 || named != 0 {
		t.Errorf("of %d ids of events, %d are of none", n, named)
	}
	query(t, c, "SELECT count(), countIf(entities['account'] = 'bob') FROM %s.v_decisions", &n, &named)
	if n != 1 || named != 1 {
		t.Errorf("%d decisions are left", n)
	}
	query(t, c, "SELECT count(), countIf(entity = 'bob') FROM %s.v_labels", &n, &named)
	if n != 1 || named != 1 {
		t.Errorf("%d labels are left", n)
	}
	query(t, c, "SELECT count(), countIf(entity = '') FROM %s.v_audit", &n, &named)
	if n != 3 || named != 2 {
		t.Errorf("the audit has %d rows, %d without a name", n, named)
	}
	if offsets, err := clickhouse.Erasures(t.Context(), c, stream, digest(e)); err != nil || fmt.Sprint(offsets) != "[2]" {
		t.Errorf("erasures at %v (%v)", offsets, err)
	}

	// What is found by a hash of its name, and is in no copy.
	session := facet.Entity{Kind: facet.Session, Tenant: "shop", Key: "s-1"}
	if erased, err = clickhouse.Erase(t.Context(), c, session); err != nil || fmt.Sprint(names(erased)) != "[event_ids events]" {
		t.Errorf("of a session, %v is erased (%v)", erased, err)
	}
	if left, err := clickhouse.Remains(t.Context(), c, session); err != nil || len(left) > 0 {
		t.Errorf("left of the session: %v (%v)", left, err)
	}
}

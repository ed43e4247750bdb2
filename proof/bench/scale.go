package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/sink/clickhouse"
)

// ScaleOptions are the user's settings for [Scale].
type ScaleOptions struct {
	Events int    // that are loaded
	Dir    string // that keeps them; empty: a temporary one. If it has events, they are not loaded again
}

// ScaleDefaults returns the settings for which the bars were set.
func ScaleDefaults() ScaleOptions { return ScaleOptions{Events: 20_000_000} }

const (
	scalePartitions = 4       // of the raw topic
	scaleSample     = 100_000 // events with which inserting is measured
	scaleRounds     = 5       // of each question, and of each insert
)

// Scale loads a day of simulated traffic into the tables, in the way of a worker, and
// prints how long the questions take that people ask, how many bytes an event has in
// each table, and what inserting costs with and without the tables beside events.
// reached says whether every bar is reached.
func Scale(ctx context.Context, o ScaleOptions, out io.Writer, log *slog.Logger) (reached bool, err error) {
	dir := o.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "weir-scale"); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s, err := sandbox.New(sandbox.Config{Dir: dir, ClickHouseAddr: "127.0.0.1:0"}, log)
	if err != nil {
		return false, err
	}
	if err := s.Start(); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c := clickhouse.Defaults()
	c.Addrs, c.ReadTimeout = []string{s.Addresses().ClickHouse}, time.Hour
	if err := clickhouse.Migrate(ctx, c, log); err != nil {
		return false, err
	}
	conn, err := clickhouse.Open(c)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	reader, err := clickhouse.OpenToRead(c)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	l := &scale{report: report{out: out}, o: o, c: c, conn: conn, reader: reader, log: log}
	if err := errors.Join(l.load(ctx), l.ask(ctx), l.weigh(ctx), l.insert(ctx)); err != nil {
		return false, err
	}
	return l.missed == 0, nil
}

// scale is one run of [Scale].
type scale struct {
	report
	o      ScaleOptions
	c      clickhouse.Config
	conn   driver.Conn
	reader driver.Conn // asks the questions
	log    *slog.Logger
}

// load loads the events, unless they are there.
func (l *scale) load(ctx context.Context) error {
	var have uint64
	if err := l.conn.QueryRow(ctx, "SELECT count() FROM weir.events").Scan(&have); err != nil || have > 0 {
		l.note("%d events are there", have)
		return err
	}
	began, cpu := time.Now(), cpuTime()
	w, err := l.writer(ctx, l.c)
	if err != nil {
		return err
	}
	c := traffic.Defaults()
	c.Start = time.Now().Add(-25 * time.Hour).Truncate(time.Hour).UnixMilli()
	c.Rate = float64(l.o.Events) / c.Duration.Seconds()
	loaded := 0
	_, err = traffic.Run(c, func(e *event.Event, _ int) error {
		if loaded++; loaded%1_000_000 == 0 {
			fmt.Fprintf(l.out, "  %d million events are loaded after %v\n", loaded/1_000_000, time.Since(began).Round(time.Second))
		}
		return w.append(ctx, e)
	})
	if err := errors.Join(err, w.close(ctx)); err != nil {
		return err
	}
	l.note("%d events were made and loaded in %v, with %v of CPU time", loaded, time.Since(began).Round(time.Second), (cpuTime() - cpu).Round(time.Second))
	return l.settle(ctx)
}

// settle waits until merges are done: a day's events in half an hour leave more of them
// behind than a stream does.
func (l *scale) settle(ctx context.Context) error {
	const most, every = 5 * time.Minute, time.Second
	began := time.Now()
	for {
		var merges uint64
		if err := l.conn.QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&merges); err != nil {
			return err
		}
		if took := time.Since(began); merges == 0 || took > most {
			l.note("merges took another %v; %d are under way", took.Round(time.Second), merges)
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loader appends events as ingest does, spread over raw partitions.
type loader struct {
	w       *clickhouse.Events
	tracks  [scalePartitions]*clickhouse.EventTrack
	offsets [scalePartitions]int64
	from    *ingest.Enricher
	stop    context.CancelFunc
	done    chan error
}

func (l *scale) writer(ctx context.Context, c clickhouse.Config) (*loader, error) {
	w, err := clickhouse.NewEvents(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, l.log, nil)
	if err != nil {
		return nil, err
	}
	from, err := ingest.NewEnricher(ingest.Defaults(), traffic.NewPlaces())
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	n := &loader{w: w, from: from, stop: stop, done: make(chan error, 1)}
	for p := range n.tracks {
		n.tracks[p] = w.Open(int32(p))
	}
	go func() { n.done <- w.Run(running) }()
	return n, nil
}

func (n *loader) append(ctx context.Context, e *event.Event) error {
	h := fnv.New32a()
	_, _ = io.WriteString(h, e.Text(event.IP))
	p := h.Sum32() % scalePartitions
	n.from.Complete(e, int32(p), n.offsets[p], nil)
	err := n.tracks[p].Append(ctx, n.offsets[p], 1, e.Num(event.Time)+150, e)
	n.offsets[p]++
	return err
}

// close stores what was appended.
func (n *loader) close(ctx context.Context) error {
	var errs []error
	for _, t := range n.tracks {
		errs = append(errs, t.Drain(ctx))
	}
	n.stop()
	return errors.Join(append(errs, <-n.done)...)
}

// question is something that people ask, with the time within which it is to be
// answered.
type question struct {
	what, sql string
	bar       time.Duration
}

// ask asks each question several times. The median counts.
func (l *scale) ask(ctx context.Context) error {
	var account, address, busiest, id string
	var hour time.Time
	for _, q := range []struct {
		sql  string
		into []any
	}{
		// One with as many events as an account has at the 90th percentile.
		{"SELECT account FROM weir.v_entity_minutes WHERE entity_kind = 'account' GROUP BY entity AS account ORDER BY sum(events) DESC LIMIT 1 OFFSET 10000", []any{&account}},
		{"SELECT entity FROM weir.v_entity_minutes WHERE entity_kind = 'ip' GROUP BY entity ORDER BY sum(events) DESC LIMIT 1 OFFSET 1000", []any{&address}},
		{"SELECT entity FROM weir.v_entity_minutes WHERE entity_kind = 'ip' GROUP BY entity ORDER BY sum(events) DESC LIMIT 1", []any{&busiest}},
		{"SELECT request_id FROM weir.events WHERE src_partition = 2 AND src_offset = (SELECT intDiv(max(src_offset), 2) FROM weir.events WHERE src_partition = 2)", []any{&id}},
		{"SELECT toStartOfHour(minute) AS hour FROM weir.v_event_minutes GROUP BY hour ORDER BY sum(events) DESC LIMIT 1", []any{&hour}},
	} {
		if err := l.conn.QueryRow(ctx, q.sql).Scan(q.into...); err != nil {
			return fmt.Errorf("%w in %s", err, q.sql)
		}
	}
	line := "SELECT * FROM weir.v_entity_events WHERE entity_kind = '%s' AND entity = '%s' ORDER BY time DESC LIMIT 200"
	from := hour.Format(time.DateTime)
	fmt.Fprintf(l.out, "\nquestions, median of %d (as one asked before: by v_events alone)\n", scaleRounds)
	for _, q := range []question{
		{"time line of an account, 200 newest", fmt.Sprintf(line, "account", account), 50 * time.Millisecond},
		{"time line of an address", fmt.Sprintf(line, "ip", address), 50 * time.Millisecond},
		{"time line of the busiest address", fmt.Sprintf(line, "ip", busiest), 50 * time.Millisecond},
		{"… before", fmt.Sprintf("SELECT * FROM weir.v_events WHERE account = '%s' ORDER BY time DESC LIMIT 200", account), 0},
		{"everything about one request id", "SELECT * FROM " + strings.ReplaceAll(clickhouse.EventsByID(), "?", "'"+id+"'"), 50 * time.Millisecond},
		{"… through the view", fmt.Sprintf("SELECT * FROM weir.v_events_by_id(id = '%s')", id), 0},
		{"… before", fmt.Sprintf("SELECT * FROM weir.v_events WHERE request_id = '%s'", id), 0},
		{"a day by hour and route", "SELECT toStartOfHour(minute) AS hour, route, sum(events), sumIf(events, status >= 500) FROM weir.v_event_minutes GROUP BY hour, route ORDER BY hour, route", 200 * time.Millisecond},
		{"… before", "SELECT toStartOfHour(time) AS hour, route, count(), countIf(status >= 500) FROM weir.v_events GROUP BY hour, route ORDER BY hour, route", 0},
		{"top addresses of an hour", fmt.Sprintf("SELECT entity, sum(events) AS n, sum(failures) FROM weir.v_entity_minutes WHERE entity_kind = 'ip' AND minute >= '%s' AND minute < toDateTime('%[1]s', 'UTC') + INTERVAL 1 HOUR GROUP BY entity ORDER BY n DESC LIMIT 20", from), 100 * time.Millisecond},
		{"… before", fmt.Sprintf("SELECT client_ip, count() AS n, countIf(auth = 'failure') FROM weir.v_events WHERE time >= '%s' AND time < toDateTime('%[1]s', 'UTC') + INTERVAL 1 HOUR GROUP BY client_ip ORDER BY n DESC LIMIT 20", from), 0},
	} {
		took, rows, err := l.median(ctx, q.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
		value := fmt.Sprintf("%.1f ms, %d rows", float64(took.Microseconds())/1000, rows)
		if q.bar == 0 {
			l.note("%-44s %18s", q.what, value)
			continue
		}
		l.line(q.what, value, q.bar.String(), took < q.bar && rows > 0)
	}
	return nil
}

// median returns the median time of a query, and its rows.
func (l *scale) median(ctx context.Context, sql string) (took time.Duration, n int, err error) {
	var times []time.Duration
	for range scaleRounds {
		began := time.Now()
		rows, err := l.reader.Query(ctx, sql)
		if err != nil {
			return 0, 0, err
		}
		for n = 0; rows.Next(); n++ {
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2], n, nil
}

// weigh prints the bytes of an event in each table.
func (l *scale) weigh(ctx context.Context) error {
	fmt.Fprintln(l.out, "\nbytes on disk an event")
	rows, err := l.conn.Query(ctx, `SELECT table, sum(rows), sum(bytes_on_disk), sum(bytes_on_disk) / (SELECT count() FROM weir.events)
FROM system.parts WHERE active AND database = 'weir' GROUP BY table HAVING sum(rows) > 100 ORDER BY 3 DESC`)
	if err != nil {
		return err
	}
	defer rows.Close()
	all := 0.0
	for rows.Next() {
		var table string
		var n, size uint64
		var each float64
		if err := rows.Scan(&table, &n, &size, &each); err != nil {
			return err
		}
		all += each
		l.note("%-20s %12d rows %12d bytes %8.1f an event", table, n, size, each)
	}
	l.note("%-20s %47.1f an event", "all", all)
	return rows.Err()
}

// insert measures inserting, in turns, into the table of events alone and with what
// stands beside it.
func (l *scale) insert(ctx context.Context) error {
	sample, err := sampleOf(scaleSample)
	if err != nil {
		return err
	}
	fmt.Fprintf(l.out, "\nevents a CPU second of inserting (client and server, merges included), best of %d rounds of %d\n", scaleRounds, len(sample))
	var best [2]time.Duration
	for range scaleRounds {
		for i := range best {
			took, err := l.inserts(ctx, sample, i == 0)
			if err != nil {
				return err
			}
			if best[i] == 0 || took < best[i] {
				best[i] = took
			}
		}
	}
	rate := func(d time.Duration) float64 { return float64(len(sample)) / d.Seconds() }
	l.note("%-44s %18.0f", "events alone, as before", rate(best[0]))
	l.note("%-44s %18.0f   ratio %.2f", "with time lines, ids and counts", rate(best[1]), rate(best[1])/rate(best[0]))
	return nil
}

// inserts returns the CPU time of inserting a sample into new tables.
func (l *scale) inserts(ctx context.Context, sample []*event.Event, alone bool) (took time.Duration, err error) {
	c := l.c
	c.Database = "scale_inserts"
	drop := func() error { return l.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+c.Database+" SYNC") }
	if err := drop(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	if err := clickhouse.Migrate(ctx, c, l.log); err != nil {
		return 0, err
	}
	w, err := l.writer(ctx, c)
	if err != nil {
		return 0, err
	}
	if alone {
		w.w.Uncounted()
		for _, view := range []string{"feed_entity_events", "feed_event_ids"} {
			if err := l.conn.Exec(ctx, "DROP VIEW "+c.Database+"."+view); err != nil {
				return 0, errors.Join(err, w.close(ctx))
			}
		}
	}
	began := cpuTime()
	for _, e := range sample {
		if err := w.append(ctx, e); err != nil {
			return 0, errors.Join(err, w.close(ctx))
		}
	}
	err = w.close(ctx)
	return cpuTime() - began, err
}

// sampleOf returns the first n events of some traffic.
func sampleOf(n int) (all []*event.Event, err error) {
	enough := errors.New("enough")
	c := traffic.Defaults()
	c.Start = time.Now().Add(-25 * time.Hour).Truncate(time.Hour).UnixMilli()
	c.Rate = 200
	_, err = traffic.Run(c, func(e *event.Event, _ int) error {
		kept := new(event.Event)
		for _, f := range event.Fields() {
			switch {
			case !e.Has(f.Field) || f.Derived:
			case f.Kind.Numeric():
				kept.SetNum(f.Field, e.Num(f.Field))
			default:
				kept.SetText(f.Field, strings.Clone(e.Text(f.Field)))
			}
		}
		if all = append(all, kept); len(all) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return all, err
}

package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"syscall"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/cmd/internal/stack"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Summary is the last line with -json. Scripts rely on its names.
type Summary struct {
	EventsIn        int64            `json:"events_in"`
	EventsStored    uint64           `json:"events_stored"` // distinct, asked of ClickHouse with FINAL
	DeadLetters     map[string]int64 `json:"dead_letters"`  // by reason
	Repeats         int64            `json:"repeats"`       // sent before by their gateway
	Late            int64            `json:"late"`          // facets
	Skewed          int64            `json:"skewed"`
	Delayed         int64            `json:"delayed"`
	Signals         map[string]int64 `json:"signals"` // by rule
	Campaigns       Campaigns        `json:"campaigns"`
	Innocents       int              `json:"innocents"`
	InnocentsDenied int              `json:"innocents_denied"`
	LedgerBalanced  bool             `json:"ledger_balanced"`
	ElapsedSeconds  float64          `json:"elapsed_seconds"`
	CPUSeconds      float64          `json:"cpu_seconds"`    // of all processes
	PeakRSSBytes    int64            `json:"peak_rss_bytes"` // the sum over all processes
}

// Campaigns says what became of the attacks.
type Campaigns struct {
	Launched           int       `json:"launched"`
	Caught             int       `json:"caught"`
	SecondsToFirstDeny []float64 `json:"seconds_to_first_deny"`
}

// withParameter gives a query a server-side parameter.
func withParameter(ctx context.Context, name, value string) context.Context {
	return ch.Context(ctx, ch.WithParameters(ch.Parameters{name: value}))
}

const (
	storedQuery  = `SELECT count() FROM %s.events FINAL WHERE stream = {stream:String}`
	signalsQuery = `SELECT rule, count(), uniqExact(entity) FROM %s.signals FINAL WHERE stream = {stream:String} GROUP BY rule ORDER BY rule`
)

// summarise asks everybody for the figures, compares them, and prints them.
func (d *demo) summarise(ctx context.Context, people *population.Population, w *watch) (balanced bool, err error) {
	b, err := d.stack.Books(ctx)
	if err != nil {
		return false, err
	}
	s := Summary{EventsIn: b.Ingest.Fetched - b.Ingest.Control, Repeats: b.Ingest.Repeat, Late: b.Detect.Late, Skewed: b.Ingest.Skewed, Delayed: b.Ingest.Delayed, Signals: map[string]int64{}}
	if err := d.askTables(ctx, &s); err != nil {
		return false, err
	}
	var dead int64
	if s.DeadLetters, dead, err = d.stack.DeadLetters(ctx); err != nil {
		return false, err
	}
	d.judge(&s, people, w)
	complaints := b.Imbalances(s.EventsStored, dead)
	s.LedgerBalanced = len(complaints) == 0
	d.measure(&s)
	d.print(&s, b, dead, complaints, w != nil)
	return s.LedgerBalanced, nil
}

func (d *demo) askTables(ctx context.Context, s *Summary) error {
	conn, err := clickhouse.Open(d.stack.Config.ClickHouse)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx = withParameter(ctx, "stream", d.stack.Config.Stream.Name)
	if err := conn.QueryRow(ctx, fmt.Sprintf(storedQuery, d.stack.Config.ClickHouse.Database)).Scan(&s.EventsStored); err != nil {
		return fmt.Errorf("ask clickhouse: %w", err)
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(signalsQuery, d.stack.Config.ClickHouse.Database))
	if err != nil {
		return fmt.Errorf("ask clickhouse: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var rule string
		var n, entities uint64
		if err := rows.Scan(&rule, &n, &entities); err != nil {
			return err
		}
		s.Signals[rule] = int64(n)
	}
	return rows.Err()
}

func (d *demo) judge(s *Summary, people *population.Population, w *watch) {
	s.Campaigns.SecondsToFirstDeny = []float64{}
	if w == nil {
		return
	}
	for i, c := range people.Campaigns() {
		if c.Events == 0 {
			continue // the run ended before it began
		}
		s.Campaigns.Launched++
		if at, ok := w.firstDeny[i]; ok {
			s.Campaigns.Caught++
			s.Campaigns.SecondsToFirstDeny = append(s.Campaigns.SecondsToFirstDeny, at.Sub(time.UnixMilli(c.Start)).Seconds())
		}
	}
	s.Innocents, s.InnocentsDenied = w.innocents, w.denied
}

// measure adds up what all processes used. The children have ended.
func (d *demo) measure(s *Summary) {
	s.ElapsedSeconds = time.Since(d.started).Seconds()
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil {
		s.CPUSeconds = seconds(own.Utime) + seconds(own.Stime)
		s.PeakRSSBytes = own.Maxrss << 10
	}
	if d.stack.Worker != nil {
		cpu, rss := d.stack.Worker.Usage()
		s.CPUSeconds += cpu.Seconds()
		s.PeakRSSBytes += rss
	}
	if d.stack.Gate != nil {
		cpu, rss := d.stack.Gate.Usage()
		s.CPUSeconds += cpu.Seconds()
		s.PeakRSSBytes += rss
	}
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

func (d *demo) print(s *Summary, b stack.Books, dead int64, complaints []string, live bool) {
	d.say("\nSUMMARY after %.0f s", s.ElapsedSeconds)
	d.say("  events in          %d", s.EventsIn)
	d.say("  events stored      %d   (%s)", s.EventsStored, strings.ReplaceAll(fmt.Sprintf(storedQuery, d.stack.Config.ClickHouse.Database), "{stream:String}", "'"+d.stack.Config.Stream.Name+"'"))
	d.say("  dead letters       %d%s", dead, counts(s.DeadLetters))
	d.say("  repeats dropped    %d", s.Repeats)
	d.say("  facets             %d, of which late %d; events with a time too old %d, or from the future %d", b.Detect.Applied, s.Late, s.Delayed, s.Skewed)
	d.say("  signals           %s   (%s)", counts(s.Signals), strings.ReplaceAll(fmt.Sprintf(signalsQuery, d.stack.Config.ClickHouse.Database), "{stream:String}", "'"+d.stack.Config.Stream.Name+"'"))
	if live {
		d.say("  campaigns          %d launched, %d caught, %d missed", s.Campaigns.Launched, s.Campaigns.Caught, s.Campaigns.Launched-s.Campaigns.Caught)
		for _, t := range s.Campaigns.SecondsToFirstDeny {
			d.say("                     first deny %.1f s after the start", t)
		}
		d.say("  innocents          %d asked about, %d denied", s.Innocents, s.InnocentsDenied)
	}
	if s.LedgerBalanced {
		d.say("  ledger             balances: nothing lost, nothing counted twice")
	} else {
		d.say("  ledger             DOES NOT BALANCE")
		for _, c := range complaints {
			d.say("                     %s", c)
		}
	}
	worker, workerRSS := time.Duration(0), int64(0)
	if d.stack.Worker != nil {
		worker, workerRSS = d.stack.Worker.Usage()
	}
	d.say("  used               %.1f CPU seconds, of which the worker %.1f; the worker's peak memory %d MiB",
		s.CPUSeconds, worker.Seconds(), workerRSS>>20)
	if d.opts.Data != "" {
		d.say("  kept in            %s", d.opts.Data)
	}
	if d.opts.JSON {
		_ = json.NewEncoder(d.out).Encode(s)
	}
}

// counts lists numbers by name.
func counts(m map[string]int64) string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	if len(names) == 0 {
		return "  none"
	}
	out := ""
	for _, n := range names {
		out += fmt.Sprintf("  %s %d", n, m[n])
	}
	return out
}

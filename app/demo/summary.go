package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/app/explain"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Summary is the last line with -json. Scripts rely on its names.
type Summary struct {
	EventsIn        int64            `json:"events_in"`
	EventsStored    uint64           `json:"events_stored"` // without duplicates, read from ClickHouse with FINAL
	DeadLetters     map[string]int64 `json:"dead_letters"`  // by reason
	WithoutAddress  uint64           `json:"without_address"`
	WithoutPath     uint64           `json:"without_path"`
	WithoutAccount  uint64           `json:"without_account"`
	Repeats         int64            `json:"repeats"` // already sent by their gateway
	Late            int64            `json:"late"`    // facets
	Skewed          int64            `json:"skewed"`
	Delayed         int64            `json:"delayed"`
	Signals         map[string]int64 `json:"signals"` // by rule
	Campaigns       Campaigns        `json:"campaigns"`
	Innocents       int              `json:"innocents"`
	InnocentsDenied int              `json:"innocents_denied"`
	LedgerBalanced  bool             `json:"ledger_balanced"`
	Complaints      []string         `json:"complaints,omitempty"`  // reasons for an exit status other than 0
	Interrupted     bool             `json:"interrupted,omitempty"` // the run of a file ended early: nothing is judged
	ElapsedSeconds  float64          `json:"elapsed_seconds"`
	CPUSeconds      float64          `json:"cpu_seconds"`    // of all processes
	PeakRSSBytes    int64            `json:"peak_rss_bytes"` // the sum over all processes
}

// Campaigns summarises the attacks.
type Campaigns struct {
	Launched           int       `json:"launched"`
	Caught             int       `json:"caught"`
	SecondsToFirstDeny []float64 `json:"seconds_to_first_deny"` // one value per denied campaign
	Each               []Outcome `json:"each"`
}

// Outcome is the outcome of one campaign.
type Outcome struct {
	Campaign        string           `json:"campaign"`
	Detector        string           `json:"detector"`         // its rules should catch the campaign
	LaunchedSeconds float64          `json:"launched_seconds"` // after the start of live traffic; negative: in the history
	Caught          bool             `json:"caught"`           // the gate stopped an attacker because of a rule of the detector
	SecondsToCatch  float64          `json:"seconds_to_catch,omitempty"`
	Entity          string           `json:"entity,omitempty"` // the attacker
	Action          string           `json:"action,omitempty"`
	Score           int              `json:"score,omitempty"`
	Rule            string           `json:"rule,omitempty"`
	NginxStatus     int              `json:"nginx_status,omitempty"` // of the answer to a request of the attacker through nginx
	Tier            int              `json:"tier,omitempty"`
	Weight          int              `json:"weight,omitempty"`
	Numbers         []explain.Number `json:"numbers,omitempty"`  // with the thresholds of the tier
	Evidence        json.RawMessage  `json:"evidence,omitempty"` // of the stored signal
	Innocent        *Innocent        `json:"innocent,omitempty"`
}

// Innocent is an entity that resembles the attacker.
type Innocent struct {
	Entity string `json:"entity"`
	Like   string `json:"like"`
	Action string `json:"action"`
	Score  int    `json:"score"`

	NginxStatus int `json:"nginx_status,omitempty"`
}

// withParameter adds a server-side parameter to a query.
func withParameter(ctx context.Context, name, value string) context.Context {
	return ch.Context(ctx, ch.WithParameters(ch.Parameters{name: value}))
}

const (
	storedQuery  = `SELECT count() FROM %s.events FINAL WHERE stream = {stream:String}`
	lackQuery    = `SELECT countIf(client_ip = ''), countIf(path = ''), countIf(account = '') FROM %s.events FINAL WHERE stream = {stream:String}`
	signalsQuery = `SELECT rule, count(), uniqExact(entity) FROM %s.signals FINAL WHERE stream = {stream:String} GROUP BY rule ORDER BY rule`
)

// summarise collects the figures from all parts, compares and prints them.
func (d *demo) summarise(ctx context.Context, v Verdict, people *population.Population, w *watch) (Verdict, error) {
	b, err := d.stack.Books(ctx)
	if err != nil {
		return v, err
	}
	s := Summary{EventsIn: b.Ingest.Fetched - b.Ingest.Control, Repeats: b.Ingest.Repeat, Late: b.Detect.Late, Skewed: b.Ingest.Skewed, Delayed: b.Ingest.Delayed, Signals: map[string]int64{}}
	if err := d.askTables(ctx, &s); err != nil {
		return v, err
	}
	dead, err := d.stack.DeadLetters(ctx)
	if err != nil {
		return v, err
	}
	s.DeadLetters, s.Interrupted = dead.ByReason, v.Interrupted
	d.judge(&s, people, w)
	if !v.Interrupted {
		imbalances := b.Imbalances(s.EventsStored, dead.Total)
		s.LedgerBalanced = len(imbalances) == 0
		v.Complaints = append(v.Complaints, imbalances...)
		if dead.Total > 0 && s.EventsStored == 0 {
			v.Complaints = append(v.Complaints, fmt.Sprintf("nothing could be read: %d of %d lines are dead letters", dead.Total, s.EventsIn))
		}
	}
	s.Complaints = v.Complaints
	d.measure(&s)
	d.print(&s, b, dead, w != nil)
	return v, nil
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
	if err := conn.QueryRow(ctx, fmt.Sprintf(lackQuery, d.stack.Config.ClickHouse.Database)).Scan(&s.WithoutAddress, &s.WithoutPath, &s.WithoutAccount); err != nil {
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
	s.Campaigns.SecondsToFirstDeny, s.Campaigns.Each = []float64{}, []Outcome{}
	if w == nil {
		return
	}
	for i, c := range w.campaigns {
		if people.Campaigns()[i].Events == 0 {
			continue // the run ended before it began
		}
		s.Campaigns.Launched++
		if c.caught() {
			s.Campaigns.Caught++
		}
		if !c.deny.IsZero() {
			s.Campaigns.SecondsToFirstDeny = append(s.Campaigns.SecondsToFirstDeny, c.deny.Sub(c.start).Seconds())
		}
		s.Campaigns.Each = append(s.Campaigns.Each, c.outcome(w.begin))
	}
	s.Innocents, s.InnocentsDenied = w.innocents, w.denied
}

// measure adds up the resources of all processes. The child processes have ended.
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

func (d *demo) print(s *Summary, b stack.Books, dead stack.Dead, live bool) {
	d.say("\nSUMMARY after %.0f s", s.ElapsedSeconds)
	if s.Interrupted {
		d.say("  INTERRUPTED        this is of what came through so far%s", d.goesOn())
	}
	d.say("  events in          %d", s.EventsIn)
	d.say("  events stored      %d   (%s)", s.EventsStored, d.query(storedQuery))
	d.printLacks(s)
	d.say("  dead letters       %d%s", dead.Total, counts(s.DeadLetters))
	d.printDead(dead)
	d.say("  repeats dropped    %d", s.Repeats)
	d.say("  facets             %d, of which late %d; events with a time too old %d, or from the future %d", b.Detect.Applied, s.Late, s.Delayed, s.Skewed)
	d.say("  signals          %s   (%s)", counts(s.Signals), d.query(signalsQuery))
	if live {
		d.printCampaigns(s)
	}
	d.printVerdict(s)
	worker, workerRSS := time.Duration(0), int64(0)
	if d.stack.Worker != nil {
		worker, workerRSS = d.stack.Worker.Usage()
	}
	d.say("  used               %.1f CPU seconds, of which the worker %.1f; the worker's peak memory %d MiB",
		s.CPUSeconds, worker.Seconds(), workerRSS>>20)
	if d.opts.Data != "" {
		d.say("  kept in            %s, as stream %s", d.opts.Data, d.stack.Config.Stream.Name)
		d.say("                     weir query -data %s 'SELECT route, count() FROM v_events GROUP BY route ORDER BY 2 DESC LIMIT 10'", d.opts.Data)
		d.say("                     weir console -data %s", d.opts.Data)
	}
	if d.opts.JSON {
		_ = json.NewEncoder(d.out).Encode(s)
	}
}

func (d *demo) goesOn() string {
	if d.opts.Data == "" {
		return "; with -data DIR the same command could go on"
	}
	return "; the same command goes on"
}

// query formats a query as a user would type it.
func (d *demo) query(text string) string {
	return strings.ReplaceAll(fmt.Sprintf(text, d.stack.Config.ClickHouse.Database), "{stream:String}", "'"+d.stack.Config.Stream.Name+"'")
}

// printLacks reports how many events lack the fields that most rules need.
func (d *demo) printLacks(s *Summary) {
	var lacks []string
	for _, l := range []struct {
		what string
		n    uint64
	}{{"address", s.WithoutAddress}, {"path", s.WithoutPath}, {"account", s.WithoutAccount}} {
		switch {
		case l.n == 0:
		case l.n == s.EventsStored:
			lacks = append(lacks, "no event has an "+l.what)
		default:
			lacks = append(lacks, fmt.Sprintf("%d have no %s", l.n, l.what))
		}
	}
	if s.EventsStored > 0 && len(lacks) > 0 {
		d.say("                     %s", strings.ReplaceAll(strings.Join(lacks, "; "), "an path", "a path"))
	}
}

// mostExamples is the number of reasons that are shown with an example.
const mostExamples = 3

// printDead shows the lines that could not be read, by the most frequent reasons.
func (d *demo) printDead(dead stack.Dead) {
	reasons := slices.SortedFunc(maps.Keys(dead.ByReason), func(a, b string) int {
		return cmp.Or(cmp.Compare(dead.ByReason[b], dead.ByReason[a]), cmp.Compare(a, b))
	})
	for _, r := range reasons[:min(len(reasons), mostExamples)] {
		d.say("                     %s, such as\n                       %s", telemetry.Clean(dead.Examples[r].Detail), excerpt(dead.Examples[r].Line))
	}
	if dead.Total > 0 && len(d.opts.Inputs) > 0 {
		if fits, ok := fitting(lettersOf(dead)); ok {
			d.say("                     format %s reads such lines", fits)
		}
	}
}

func lettersOf(dead stack.Dead) (lines [][]byte) {
	for _, l := range dead.Examples {
		lines = append(lines, l.Line)
	}
	return lines
}

func (d *demo) printCampaigns(s *Summary) {
	d.say("  innocents          %d asked about, %d denied", s.Innocents, s.InnocentsDenied)
	d.say("  campaigns          %d launched, %d caught, %d missed\n", s.Campaigns.Launched, s.Campaigns.Caught, s.Campaigns.Launched-s.Campaigns.Caught)
	d.printTable(s.Campaigns.Each)
}

func (d *demo) printVerdict(s *Summary) {
	switch {
	case s.Interrupted:
		d.say("  ledger             not judged")
	case s.LedgerBalanced:
		d.say("  ledger             balances: nothing lost, nothing counted twice")
	default:
		d.say("  ledger             DOES NOT BALANCE")
	}
	for _, c := range s.Complaints {
		d.say("  WRONG              %s", c)
	}
}

// counts formats numbers with their names.
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

package emit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/kafka"
)

// broker is a Kafka with topics of two partitions, which may be away.
type broker struct {
	mu      sync.Mutex
	away    bool // no request returns before it is back
	refuses error
	back    chan struct{}
	records map[string][]kafka.Outgoing
	places  map[string]int32 // partition by key
}

func newBroker() *broker {
	return &broker{back: make(chan struct{}), records: map[string][]kafka.Outgoing{}, places: map[string]int32{}}
}

func (b *broker) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away, b.back = true, make(chan struct{})
}

func (b *broker) comeBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = false
	close(b.back)
}

func (b *broker) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuses = err
}

func (b *broker) answer(ctx context.Context) error {
	b.mu.Lock()
	away, back, err := b.away, b.back, b.refuses
	b.mu.Unlock()
	if away {
		select {
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (b *broker) Partitions(ctx context.Context, _ string) (int, error) { return 2, b.answer(ctx) }

func (b *broker) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	if err := b.answer(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range ps {
		for _, r := range p.Records {
			b.records[topic] = append(b.records[topic], r)
			b.places[string(r.Key)] = p.Partition
		}
	}
	return nil
}

// told decodes the events that were written, as ingest does.
func (b *broker) told(t *testing.T) (all []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records["events"] {
		var d format.Decoder
		var e event.Event
		if err := d.Decode(r.Value, &e); err != nil {
			t.Fatalf("%v: %s", err, r.Value)
		}
		all = append(all, fmt.Sprintf("%s %s %d %s", e.Text(event.ID), e.Text(event.DecisionAction), e.Num(event.Status), e.Text(event.Auth)))
	}
	return all
}

// count returns how many records a topic has.
func (b *broker) count(topic string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.records[topic])
}

// world is an emitter that runs.
type world struct {
	*Emitter
	*broker
	registry *prometheus.Registry
	stop     func()
}

func start(t *testing.T, change func(*Config)) *world {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	w := &world{broker: newBroker(), registry: prometheus.NewRegistry()}
	var err error
	w.Emitter, err = New(cfg, Topics{Decisions: "decisions", Events: "events", Controls: "controls"}, Dependencies{Log: w.broker, Logger: slog.New(slog.DiscardHandler), Registerer: w.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// value returns a metric's value.
func (w *world) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for i, l := range m.GetLabel() {
				if l.GetValue() != labels[i] {
					continue series
				}
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s%v", name, labels)
	return 0
}

func (w *world) ask(id, request string) {
	var e event.Event
	e.SetText(event.ID, id)
	e.SetNum(event.Time, 1763892000123)
	e.SetText(event.Decision, "d-"+id)
	e.SetText(event.DecisionAction, "deny")
	e.SetText(event.Path, "/login?\x01")
	if request != "" {
		e.SetText(event.RequestID, request)
	}
	w.Event(&e, Trace{})
}

func (w *world) decide(id string) {
	w.Decision(&decision.Record{ID: id, Action: "deny", Would: "deny"}, Trace{})
}

func want(t *testing.T, got []string, all ...string) {
	t.Helper()
	if strings.Join(got, ", ") != strings.Join(all, ", ") {
		t.Errorf("events %q, want %q", got, all)
	}
}

func TestAnEventWaitsForItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		defer w.stop()
		w.ask("a", "")
		w.ask("b", "r-b")
		w.ask("c", "")
		time.Sleep(time.Second)
		want(t, w.told(t))
		if !w.Outcome(Outcome{DecisionID: "d-a", Status: 403, Auth: "failure", ResponseBytes: 12, LatencyMicros: 7}) || !w.Outcome(Outcome{RequestID: "r-b", Status: 200, Action: "allow"}) {
			t.Error("no event waits")
		}
		synctest.Wait()
		want(t, w.told(t), "a deny 403 failure", "b allow 200 ")
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		want(t, w.told(t), "a deny 403 failure", "b allow 200 ", "c deny 0 ")
		for _, o := range []Outcome{{DecisionID: "d-c"}, {DecisionID: "d-a"}, {RequestID: "r-b"}, {RequestID: "r-x"}, {}} {
			if w.Outcome(o) {
				t.Errorf("%+v joins an event that is gone", o)
			}
		}
		for result, n := range map[string]float64{"joined": 2, "missing": 1, "unknown": 5, "early": 0} {
			if got := w.value(t, "weir_gate_outcomes_total", result); got != n {
				t.Errorf("%v outcomes are %s, want %v", got, result, n)
			}
		}
		if got := w.value(t, "weir_gate_buffered_bytes", "event"); got != 0 {
			t.Errorf("%v bytes are charged for nothing", got)
		}
	})
}

// TestOneRequestIDForTwoRequests: at many gateways a client chooses it.
func TestOneRequestIDForTwoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		defer w.stop()
		w.ask("a", "same")
		w.ask("b", "same")
		w.Outcome(Outcome{RequestID: "same", Status: 200})
		w.Outcome(Outcome{RequestID: "same", Status: 404})
		time.Sleep(3 * time.Second)
		want(t, w.told(t), "b deny 200 ", "a deny 0 ")
	})
}

// hear takes an entry of a log, and writes its event if it has none.
func (w *world) hear(o Outcome) {
	if !w.Heard(o) {
		return
	}
	var e event.Event
	e.SetText(event.ID, "log-"+o.RequestID)
	e.SetNum(event.Time, 1763892000123)
	e.SetText(event.RequestID, o.RequestID)
	w.Logged(&e, Trace{}, o)
}

// TestALogTellsOfRequestsThatNobodyAskedAbout: each request has one event, in whatever
// order decisions and entries come.
func TestALogTellsOfRequestsThatNobodyAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *Config) { c.Events = All })
		defer w.stop()
		w.ask("a", "r-a")
		w.ask("late", "r-late")
		w.hear(Outcome{DecisionID: "d-a", RequestID: "r-a", Status: 200})
		w.hear(Outcome{RequestID: "r-new", Status: 404})
		w.hear(Outcome{RequestID: "r-refused", Status: 503, Action: "deny"})
		synctest.Wait()
		want(t, w.told(t), "a deny 200 ", "log-r-new  404 ", "log-r-refused deny 503 ")
		time.Sleep(3 * time.Second)
		w.hear(Outcome{RequestID: "r-late", Status: 200})                           // it took longer than its event waited
		w.hear(Outcome{DecisionID: "of another gate", RequestID: "x", Status: 200}) // which has its event
		w.hear(Outcome{Status: 200})
		w.ask("slow", "r-new") // Envoy did not wait for this decision
		time.Sleep(3 * time.Second)
		want(t, w.told(t), "a deny 200 ", "log-r-new  404 ", "log-r-refused deny 503 ", "late deny 0 ")
		for result, n := range map[string]float64{"joined": 1, "logged": 2, "missing": 1, "unknown": 4, "early": 0} {
			if got := w.value(t, "weir_gate_outcomes_total", result); got != n {
				t.Errorf("%v outcomes are %s, want %v", got, result, n)
			}
		}
		if got := w.value(t, "weir_gate_buffered_bytes", "event"); got != 0 {
			t.Errorf("%v bytes are charged for nothing", got)
		}
	})
}

// TestEventsOfLogsAreChosen: where only requests that were asked about have events, an
// entry of another makes none.
func TestEventsOfLogsAreChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		defer w.stop()
		w.hear(Outcome{RequestID: "r-new", Status: 404})
		synctest.Wait()
		want(t, w.told(t))
	})
}

// TestEventsOfLogsAreBounded, like all others.
func TestEventsOfLogsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *Config) { c.Events, c.BufferBytes = All, 1<<20 })
		defer w.stop()
		w.leave()
		for i := range 5000 {
			w.hear(Outcome{RequestID: fmt.Sprint(i), Status: 200})
		}
		if bytes := w.value(t, "weir_gate_buffered_bytes", "event"); bytes > 1<<20 {
			t.Errorf("%v bytes wait", bytes)
		}
		if dropped := w.value(t, "weir_gate_dropped_total", "event", "full"); dropped == 0 {
			t.Error("drops are not counted")
		}
		w.comeBack()
	})
}

// TestAMemoryIsBounded: it holds the ids that came last.
func TestAMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range 5 * remembered {
		m.add(fmt.Sprint(i))
	}
	if n := len(m.young) + len(m.old); n > 2*remembered {
		t.Errorf("%d are held", n)
	}
	if last := fmt.Sprint(5*remembered - 1); !m.take(last) || m.take(last) || !m.take(fmt.Sprint(4*remembered)) || m.take("0") || m.take("") {
		t.Error("it holds others")
	}
}

func TestWithoutAWaitAnEventGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *Config) { c.OutcomeWait = 0 })
		defer w.stop()
		w.ask("a", "")
		synctest.Wait()
		want(t, w.told(t), "a deny 0 ")
	})
}

func TestTheOldestEventGoesEarlyForLackOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *Config) { c.BufferBytes, c.OutcomeWait = 1<<20, time.Minute })
		defer w.stop()
		for i := range 2000 {
			w.ask(fmt.Sprint(i), "")
			synctest.Wait()
		}
		got := w.told(t)
		if early := w.value(t, "weir_gate_outcomes_total", "early"); early == 0 || int(early) != len(got) || got[0] != "0 deny 0 " {
			t.Errorf("%v events went early, %d are written", early, len(got))
		}
		if bytes := w.value(t, "weir_gate_buffered_bytes", "event"); bytes > 1<<19 {
			t.Errorf("%v bytes wait", bytes)
		}
		if dropped := w.value(t, "weir_gate_dropped_total", "event", "full"); dropped != 0 {
			t.Errorf("%v events are dropped", dropped)
		}
	})
}

// TestAnOutageIsBounded: no call waits, memory is bounded, drops are counted, and it
// ends by itself.
func TestAnOutageIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *Config) { c.BufferBytes = 1 << 20 })
		defer w.stop()
		w.leave()
		began := time.Now()
		const all = 10_000
		for i := range all {
			w.decide(fmt.Sprint(i))
			w.ask(fmt.Sprint(i), "")
			w.Control(control.Record{ID: fmt.Sprint("c-", i)}, Trace{})
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the callers waited %v", took)
		}
		time.Sleep(time.Hour)
		for _, kind := range []string{"decision", "event", "control"} {
			dropped, bytes := w.value(t, "weir_gate_dropped_total", kind, "full"), w.value(t, "weir_gate_buffered_bytes", kind)
			if dropped == 0 || bytes > 1<<20 || bytes < 1<<19 {
				t.Errorf("%s: %v are dropped, %v bytes are buffered", kind, dropped, bytes)
			}
		}
		w.comeBack()
		synctest.Wait()
		for kind, topic := range map[string]string{"decision": "decisions", "event": "events", "control": "controls"} {
			written, dropped := w.value(t, "weir_gate_emitted_total", kind), w.value(t, "weir_gate_dropped_total", kind, "full")
			if written+dropped != all || int(written) != w.count(topic) || w.value(t, "weir_gate_buffered_bytes", kind) != 0 {
				t.Errorf("%s: %v are written and %v dropped of %d", kind, written, dropped, all)
			}
		}
		w.decide("later")
		synctest.Wait()
		if _, there := w.places["later"]; !there {
			t.Error("after the outage nothing is written")
		}
	})
}

func TestErrorsThatMayPassAreWaitedOut(t *testing.T) {
	for name, err := range map[string]error{"no such topic": kafka.ErrUnknownTopic, "not allowed": kafka.ErrDenied} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nil)
				defer w.stop()
				w.refuse(err)
				w.decide("a")
				time.Sleep(time.Minute)
				w.refuse(nil)
				time.Sleep(time.Minute)
				if w.count("decisions") != 1 {
					t.Errorf("%d decisions are written", w.count("decisions"))
				}
			})
		})
	}
}

func TestWhatTheTopicDoesNotTakeIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		defer w.stop()
		w.refuse(fmt.Errorf("produce: %w", kafka.ErrTooLarge))
		w.broker.mu.Lock()
		w.decisions.partitions = 2
		w.broker.mu.Unlock()
		w.decide("a")
		synctest.Wait()
		w.refuse(nil)
		w.decide("b")
		synctest.Wait()
		if n := w.value(t, "weir_gate_dropped_total", "decision", "too_large"); n != 1 || w.count("decisions") != 1 {
			t.Errorf("%v are dropped, %d written", n, w.count("decisions"))
		}
	})
}

func TestTheEnd(t *testing.T) {
	t.Run("what waits is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nil)
			w.ask("a", "")
			w.decide("a")
			if !w.Control(control.Record{ID: "c"}, Trace{}) {
				t.Error("there is no room for a control")
			}
			began := time.Now()
			w.stop()
			want(t, w.told(t), "a deny 0 ")
			if took := time.Since(began); took > 0 || w.count("decisions") != 1 || w.count("controls") != 1 {
				t.Errorf("%d decisions after %v", w.count("decisions"), took)
			}
			w.ask("late", "")
			w.decide("late")
			if n := w.value(t, "weir_gate_dropped_total", "event", "shutdown") + w.value(t, "weir_gate_dropped_total", "decision", "shutdown"); n != 2 {
				t.Errorf("%v are counted as dropped", n)
			}
		})
	})
	t.Run("without Kafka it takes a few seconds, and is counted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nil)
			w.leave()
			for i := range 100 {
				w.ask(fmt.Sprint(i), "")
				w.decide(fmt.Sprint(i))
			}
			synctest.Wait()
			began := time.Now()
			w.stop()
			if took := time.Since(began); took != drainTime {
				t.Errorf("it took %v", took)
			}
			if n := w.value(t, "weir_gate_dropped_total", "event", "shutdown") + w.value(t, "weir_gate_dropped_total", "decision", "shutdown"); n != 200 {
				t.Errorf("%v are counted as dropped", n)
			}
		})
	})
}

func TestRecordsCarryTheTraceContext(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		defer w.stop()
		w.Decision(&decision.Record{ID: "a", Action: "deny", Would: "deny"}, Trace{Parent: "00-" + id + "-00f067aa0ba902b7-01", State: "vendor=1"})
		w.Decision(&decision.Record{ID: "b", Action: "deny", Would: "deny"}, Trace{Parent: "garbage", State: "vendor=1"})
		synctest.Wait()
		all := w.records["decisions"]
		if got := fmt.Sprintf("%s", all[0].Headers); got != "[{traceparent 00-"+id+"-00f067aa0ba902b7-01} {tracestate vendor=1}]" || all[1].Headers != nil {
			t.Errorf("headers %s, %s", got, all[1].Headers)
		}
	})
	for parent, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                      id,
		"cc-" + id + "-00f067aa0ba902b7-01-later":                id,
		"00-" + id + "-00f067aa0ba902b7-01-more":                 "",
		"cc-" + id + "-00f067aa0ba902b7-01.more":                 "",
		"ff-" + id + "-00f067aa0ba902b7-01":                      "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + id + "-0000000000000000-01":                      "",
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":     "",
		"00-" + id[:31] + "--00f067aa0ba902b7-01":                "",
		"": "",
	} {
		if got := (Trace{Parent: parent}).ID(); got != want {
			t.Errorf("%q has the id %q, want %q", parent, got, want)
		}
	}
}

// TestAPartitionHasTheEventsOfOneAccount keeps their order.
func TestAPartitionHasTheEventsOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		used := map[int32]bool{}
		for i := range 40 {
			account := fmt.Sprint("account-", i%8)
			var e event.Event
			e.SetText(event.ID, fmt.Sprint(account, " ", i))
			e.SetText(event.Account, account)
			w.Event(&e, Trace{})
		}
		w.stop()
		of := map[string]int32{}
		for key, p := range w.places {
			account, _, _ := strings.Cut(key, " ")
			if was, seen := of[account]; seen && was != p {
				t.Errorf("%s is in two partitions", account)
			}
			of[account], used[p] = p, true
		}
		if len(used) != 2 || len(w.places) != 40 {
			t.Errorf("%d events in %d partitions", len(w.places), len(used))
		}
	})
}

func TestWhatIsWrongWithTheSettings(t *testing.T) {
	c := Config{Decisions: "yes", Events: "some", Controls: "auto", OutcomeWait: time.Hour, BufferBytes: 1}
	err := c.Validate()
	for _, name := range []string{"gate.decisions", "gate.events", "gate.controls", "gate.outcome_wait", "gate.buffer_bytes"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if _, err := New(Defaults(), Topics{}, Dependencies{}); err == nil {
		t.Error("an emitter without Kafka")
	}
}

func TestANilEmitterIsSilent(t *testing.T) {
	var e *Emitter
	if e.Decides() || e.Tells() || e.Controls() || e.Outcome(Outcome{DecisionID: "a"}) {
		t.Error("it writes")
	}
}

func BenchmarkEvent(b *testing.B) {
	w := &broker{records: map[string][]kafka.Outgoing{}, places: map[string]int32{}}
	e, err := New(Defaults(), Topics{Events: "events"}, Dependencies{Log: w, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var ev event.Event
		ev.SetText(event.ID, "a")
		ev.SetNum(event.Time, 1763892000123)
		ev.SetText(event.Decision, "a")
		ev.SetText(event.Path, "/login")
		e.Event(&ev, Trace{})
	}
}

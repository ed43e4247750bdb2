package app

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/sink/redis"
)

// TestAGateWithoutKafka: while Kafka is away, decisions are as before, and what
// cannot be written waits in a bounded memory, or is dropped and counted. When Kafka
// is back, the gate writes again by itself.
func TestAGateWithoutKafka(t *testing.T) {
	redis.Quiet()
	dir := t.TempDir()
	broker := func(addr string) *sandbox.Sandbox {
		t.Helper()
		s, err := sandbox.New(sandbox.Config{Dir: dir, KafkaAddr: addr}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := broker("127.0.0.1:0")
	d := startDrill(t)
	d.stop()
	addr := s.Addresses().Kafka
	d.cfg.Kafka.Brokers = []string{addr}
	d.cfg.Gate.Emit.Decisions, d.cfg.Gate.Emit.Events, d.cfg.Gate.Emit.BufferBytes = emit.On, emit.On, 1<<20
	c := kafkaOf(t, d.cfg)
	if err := migrateTopics(t.Context(), c, d.cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	d.start(t)
	d.accuse(t, "attacker")
	within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/feed", "attacker").Action == policy.Deny })
	before := gateGoroutines(t, "emit.(*outbox).run", "kafka-go.(*connPool).discover")
	for range 3 {
		d.crowd(t, func(route, name string, got gate.Decision) {
			if got.Action == policy.Deny && name != "attacker" {
				t.Errorf("%s %s: %+v", route, name, got)
			}
		})
	}
	fewGoroutines(t, before+drillMore)
	registry := d.gate.admin.Registry()
	if n := sum(t, registry, "weir_gate_dropped_total"); n == 0 {
		t.Error("nothing is dropped, or it is not counted")
	}
	if n := sum(t, registry, "weir_gate_buffered_bytes"); n > 2<<20 {
		t.Errorf("%v bytes wait", n)
	}

	s = broker(addr)
	defer func() {
		d.stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	within(t, 10*time.Second, "the gate writes again", func() bool {
		return sum(t, registry, "weir_gate_emitted_total") > 0 && sum(t, registry, "weir_gate_buffered_bytes") == 0
	})
}

// sum adds up the values of a metric.
func sum(t *testing.T, r prometheus.Gatherer, name string) (n float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if f.GetType() == dto.MetricType_GAUGE {
				n += m.GetGauge().GetValue()
			} else {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/weirdev/weir/proof/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The same suite runs against the embedded broker and against Apache Kafka:
// what holds on one of them only is not a promise.
func TestOnTheEmbeddedBroker(t *testing.T) {
	runSuite(t, embedded(t).ListenAddrs()[0])
}

func TestOnApacheKafka(t *testing.T) {
	runSuite(t, testkit.Kafka(t))
}

func runSuite(t *testing.T, addr string) {
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) { c.test(t, addr) })
	}
}

var suite = []struct {
	name string
	test func(t *testing.T, addr string)
}{
	{"what is produced is fetched, in order", producedIsFetched},
	{"keys, values and headers come back as they were", recordsComeBack},
	{"many records are split into batches that fit", largeProduce},
	{"a fetch goes on where the last one ended", fetchContinues},
	{"errors that stay are named", namedErrors},
	{"what retention took is out of range", retention},
	{"so is what a topic held before it was made anew", recreation},
	{"an empty log is waited for, then answered", emptyLog},
	{"a record wakes a fetch that waits", wokenFetch},
	{"an ended context ends a fetch", endedFetch},
	{"the append time is given where the topic keeps it", appendTime},
	{"a clock that is off is noticed where the broker tells its time", clockOfTheBroker},
	{"transactions are read when they are committed, and never when aborted", transactions},
	{"a transaction that its producer abandoned holds back what is behind it", abandonedTransaction},
	{"the broker speaks all that is needed", preflight},
	{"topics are made once, with their settings", topics},
	{"commits carry metadata", commits},
	{"two members share the partitions, and hand over in order", sharing},
	{"members keep their partitions when others come and go", staying},
	{"who stays commits through all rebalances", committingThrough},
	{"a process that comes back does not wait for its own session", comingBack},
	{"a member that leaves drains and commits first", leaving},
	{"an own that fails is called again, alone", failingOwn},
	{"an own that returns keeps the partition", idleOwn},
	{"a group that nobody has joined has committed nothing", unknownGroup},
	{"a group of a topic that does not exist is refused", unknownGroupTopic},
}

// embedded is a broker in this process.
func embedded(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// client is one with short times, so that tests are.
func client(t testing.TB, addr string, set ...func(*Config)) *Client {
	t.Helper()
	cfg := Defaults()
	cfg.Brokers, cfg.RequestTimeout, cfg.Compression = []string{addr}, 5*time.Second, "none"
	cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, 50*time.Millisecond
	for _, s := range set {
		s(&cfg)
	}
	c, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.patience = 1200 * time.Millisecond // a new topic is known to all within metadataTTL
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var topicNumber atomic.Int64

// newTopic makes a topic with a name that nobody has used.
func newTopic(t testing.TB, c *Client, partitions int, settings ...string) string {
	t.Helper()
	name := fmt.Sprintf("t-%d-%d", time.Now().UnixNano(), topicNumber.Add(1))
	spec := TopicSpec{Name: name, Partitions: partitions, Replication: 1, Config: map[string]string{}}
	for i := 0; i+1 < len(settings); i += 2 {
		spec.Config[settings[i]] = settings[i+1]
	}
	if err := c.CreateTopic(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	return name
}

// within ends a test's wait before the test's own time is up.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func values(vs ...string) []Outgoing {
	out := make([]Outgoing, len(vs))
	for i, v := range vs {
		out[i] = Outgoing{Value: []byte(v)}
	}
	return out
}

// readAll reads a partition from an offset to its end.
func readAll(t testing.TB, c *Client, topic string, partition int32, from int64) (vs []string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	b := Batch{Next: from}
	for {
		if err := c.Fetch(ctx, topic, partition, b.Next, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			vs = append(vs, string(r.Value))
		}
		if b.Next >= b.HighWatermark {
			return vs
		}
	}
}

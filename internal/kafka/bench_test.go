package kafka

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// cpu is the CPU time that this process has used: the broker's too, since it
// runs in it, so figures compare with one another and with nothing else.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filled is a topic of one partition with 500-byte records.
func filled(b *testing.B, compression string, records int) (*Client, *kfake.Cluster, string) {
	b.Helper()
	cluster := embedded(b)
	c := client(b, cluster.ListenAddrs()[0], func(c *Config) { c.Compression = compression })
	topic := newTopic(b, c, 1)
	var batch []Outgoing
	for i := range 1000 {
		batch = append(batch, values(fmt.Sprintf("%04d%s", i, strings.Repeat("0123456789abcdef", 31)))...)
	}
	for range records / len(batch) {
		if err := c.Produce(b.Context(), topic, []Produce{{0, batch}}); err != nil {
			b.Fatal(err)
		}
	}
	return c, cluster, topic
}

func BenchmarkFetch(b *testing.B) {
	const records = 50_000
	for _, compression := range []string{"none", "lz4"} {
		c, cluster, topic := filled(b, compression, records)
		b.Run("ours/"+compression, func(b *testing.B) {
			started := cpu(b)
			var batch Batch
			for b.Loop() {
				for batch.Next = 0; batch.Next < records; {
					if err := c.Fetch(b.Context(), topic, 0, batch.Next, &batch); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*records/(cpu(b)-started).Seconds(), "records/cpu-s")
		})
		b.Run("reader/"+compression, func(b *testing.B) {
			started := cpu(b)
			for b.Loop() {
				r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: cluster.ListenAddrs(), Topic: topic, MaxBytes: 1 << 20})
				for range records {
					if _, err := r.ReadMessage(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*records/(cpu(b)-started).Seconds(), "records/cpu-s")
		})
	}
}

// BenchmarkProduce writes frames of 4 KB to eight partitions, as ingest does.
func BenchmarkProduce(b *testing.B) {
	for _, compression := range []string{"none", "lz4"} {
		b.Run(compression, func(b *testing.B) {
			c := client(b, embedded(b, kfake.BlackholeProduce()).ListenAddrs()[0], func(c *Config) { c.Compression = compression })
			topic := newTopic(b, c, 8)
			ps := make([]Produce, 8)
			for p := range ps {
				ps[p] = Produce{int32(p), values(strings.Repeat("0123456789abcdef", 256))}
			}
			started := cpu(b)
			for b.Loop() {
				if err := c.Produce(b.Context(), topic, ps); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*8/(cpu(b)-started).Seconds(), "frames/cpu-s")
		})
	}
}

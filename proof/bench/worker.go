package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// worker measures a whole worker as a separate process, with Kafka, Redis and
// ClickHouse in this one. The worker gets a backlog. Its CPU time and peak memory
// are the kernel's figures after its end.
func worker(ctx context.Context, r *report, o Options, log *slog.Logger) (err error) {
	topics := app.TopicDefaults()
	s, err := stack.Start(ctx, stack.Options{Stream: app.StreamConfig{Name: "weir", Incarnation: 1}, Topics: topics, Format: "weir"}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	fmt.Fprintf(r.out, "\nthe whole worker: %d events, %d entities; Kafka, ClickHouse and Redis are other processes\n", o.Events, o.Entities)
	if err := backlog(ctx, s, topics.EventPartitions, o); err != nil {
		return err
	}
	began := time.Now()
	if err := s.StartWorker(); err != nil {
		return err
	}
	if err := s.Settle(ctx, 30*time.Minute); err != nil {
		return err
	}
	took := time.Since(began)
	books, err := s.Books(ctx)
	if err != nil {
		return err
	}
	s.Stop()
	cpu, rss := s.Worker.Usage()
	rate := float64(books.Ingest.Accepted) / cpu.Seconds()
	r.note("%d events accepted, %d facets applied, in %.1f s with %.1f s of CPU time", books.Ingest.Accepted, books.Detect.Applied, took.Seconds(), cpu.Seconds())
	if books.Ingest.Accepted != int64(o.Events) || books.Detect.Applied != books.Ingest.Facets {
		return fmt.Errorf("%d events were sent, %d accepted; %d facets were emitted, %d applied",
			o.Events, books.Ingest.Accepted, books.Ingest.Facets, books.Detect.Applied)
	}
	r.line("events a CPU second of the worker", fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.0f", workerRate), rate >= workerRate)
	r.line("peak memory of the worker, MiB", strconv.FormatInt(rss>>20, 10), fmt.Sprint(workerRSS>>20), rss < workerRSS)
	return nil
}

// backlog produces the events. Each of the first o.Entities/3 has a new account, a
// new device, and a new address or token: three entities with state. The others
// belong to the same entities. One in a hundred of them is part of an attack, so
// that there are signals and scores to write.
func backlog(ctx context.Context, s *stack.Stack, partitions int, o Options) error {
	const batch = 500
	parts := make([][]kafka.Outgoing, partitions)
	flush := func(p int) error {
		err := s.Kafka.Produce(ctx, s.Config.Stream.Topic("events"), []kafka.Produce{{Partition: int32(p), Records: parts[p]}})
		parts[p] = parts[p][:0]
		return err
	}
	for i := range o.Events {
		p := i % partitions
		parts[p] = append(parts[p], kafka.Outgoing{Value: loadEvent(i, max(o.Entities/3, 1))})
		if len(parts[p]) == batch {
			if err := flush(p); err != nil {
				return err
			}
		}
	}
	for p := range parts {
		if len(parts[p]) == 0 {
			continue
		}
		if err := flush(p); err != nil {
			return err
		}
	}
	return nil
}

// loadEvent returns the i-th event of the load as JSON.
func loadEvent(i, identities int) []byte {
	var e event.Event
	n := i % identities
	who := strconv.Itoa(n)
	text := func(f event.Field, v string) { e.SetText(f, v) }
	text(event.ID, "load-"+strconv.Itoa(i))
	e.SetNum(event.Time, time.Now().UnixMilli())
	text(event.RequestID, "req-"+strconv.Itoa(i))
	text(event.Account, "account-"+who)
	text(event.Session, "session-"+who)
	text(event.Device, "device-"+who)
	text(event.DeviceModel, "Pixel 9")
	text(event.OS, "android")
	text(event.App, "com.example.shop")
	text(event.AppVersion, "4.2.0")
	text(event.Host, "api.example.com")
	text(event.UserAgent, "Shop/4.2.0 (Android 16; Pixel 9)")
	text(event.JA4, "t13d1516h2_8daaf6152771_b186095e22b6")
	e.SetNum(event.LatencyMicros, int64(1000+n%5000))
	e.SetNum(event.ResponseBytes, int64(200+n%3000))
	if n%2 == 0 {
		text(event.Method, "POST")
		text(event.Path, "/v1/login")
		text(event.Route, "/v1/login")
		text(event.IP, fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		text(event.Auth, "failure")
		e.SetNum(event.Status, 401)
		if i%100 == 0 {
			text(event.IP, "203.0.113."+strconv.Itoa(i/100%64))
		}
	} else {
		text(event.Method, "GET")
		text(event.Path, "/v1/items/"+strconv.Itoa(i%100_000))
		text(event.Route, "/v1/items/{id}")
		text(event.Token, "token-"+who)
		text(event.ObjectType, "item")
		text(event.Object, "item-"+strconv.Itoa(i%100_000))
		text(event.IP, "192.0.2.1")
		e.SetNum(event.Status, 200)
	}
	text(event.Signature, "valid")
	return e.AppendJSON(nil)
}

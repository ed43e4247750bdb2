package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
)

// TestTrafficIsThatOfAGateway: events of now, each under its id.
func TestTrafficIsThatOfAGateway(t *testing.T) {
	s, err := sandbox.New(sandbox.Config{KafkaAddr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	addr := s.Addresses().Kafka
	var out bytes.Buffer
	args := []string{"traffic", "-kafka.brokers", addr, "-rate", "60", "-each", "0", "-round", "1m", "-n", "20"}
	if code := cli.Main(command(), append(args, "-each", "-1"), &out); code != 2 || !strings.Contains(out.String(), "-1 campaigns") {
		t.Errorf("a negative number of campaigns: exit status %d, %s", code, out.String())
	}
	cfg := app.Defaults().Kafka
	cfg.Brokers = []string{addr}
	client, err := kafka.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.CreateTopic(t.Context(), kafka.TopicSpec{Name: "weir.events", Partitions: 3, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out.Reset()
	if code := cli.Main(command(), args, &out); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out.String())
	}
	ids, used := map[string]bool{}, 0
	var d format.Decoder
	for p := range int32(3) {
		var b kafka.Batch
		if err := client.Fetch(t.Context(), "weir.events", p, 0, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			var e event.Event
			if err := d.Decode(r.Value, &e); err != nil {
				t.Fatal(err)
			}
			if id := e.Text(event.ID); id != string(r.Key) || ids[id] {
				t.Errorf("event %s has the key %s, or is there twice", id, r.Key)
			}
			ids[e.Text(event.ID)] = true
			if at := time.UnixMilli(e.Num(event.Time)); at.Before(begin.Add(-time.Second)) || at.After(time.Now()) {
				t.Errorf("an event of %v was written by %v", at, time.Now())
			}
		}
		if len(b.Records) > 0 {
			used++
		}
	}
	if len(ids) != 20 || used != 3 {
		t.Errorf("%d events in %d partitions", len(ids), used)
	}
	if !strings.Contains(out.String(), "20 events were written to weir.events") {
		t.Errorf("it says %q", out.String())
	}
}

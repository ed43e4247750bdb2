package dead

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
)

var topics = Topics{Events: "s.events", Dead: "s.dead", Replays: "s.replays"}

// world starts an embedded Kafka with a raw topic of two partitions and a topic of
// dead letters.
func world(t *testing.T) *kafka.Client {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := sandbox.New(sandbox.Config{KafkaAddr: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	cfg := kafka.Defaults()
	cfg.Brokers = []string{s.Addresses().Kafka}
	k, err := kafka.New(cfg, log, kafka.WithPatience(1200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(k.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	for name, partitions := range map[string]int{topics.Events: 2, topics.Dead: 1} {
		if err := k.CreateTopic(t.Context(), kafka.TopicSpec{Name: name, Partitions: partitions, Replication: 1, Config: map[string]string{"retention.ms": "3600000"}}); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

var received = time.UnixMilli(1763892000123).UTC()

// dead returns a dead letter as ingest writes it; more holds names and values of
// headers.
func dead(partition int32, offset int64, reason, value string, more ...string) kafka.Outgoing {
	l := kafka.Outgoing{Key: fmt.Appendf(nil, "%d-%d", partition, offset), Value: []byte(value)}
	for _, h := range append([]string{ingest.HeaderReason, reason, ingest.HeaderDetail, reason + " at byte 3", ingest.HeaderTopic, topics.Events,
		ingest.HeaderPartition, strconv.Itoa(int(partition)), ingest.HeaderOffset, strconv.FormatInt(offset, 10),
		ingest.HeaderReceived, strconv.FormatInt(received.UnixMilli()+offset, 10)}, more...) {
		if len(l.Headers) > 0 && l.Headers[len(l.Headers)-1].Value == nil {
			l.Headers[len(l.Headers)-1].Value = []byte(h)
			continue
		}
		l.Headers = append(l.Headers, kafka.Header{Key: h})
	}
	return l
}

func send(t *testing.T, k *kafka.Client, topic string, partition int32, records ...kafka.Outgoing) {
	t.Helper()
	if err := k.Produce(t.Context(), topic, []kafka.Produce{{Partition: partition, Records: records}}); err != nil {
		t.Fatal(err)
	}
}

// raw lists the records of the raw topic: partition, key, value, and the position
// of the letter.
func raw(t *testing.T, k *kafka.Client) (all []string) {
	t.Helper()
	err := scan(t.Context(), k, topics.Events, nil, func(p int32, r *kafka.Record) error {
		id := ""
		for _, h := range r.Headers {
			if h.Key == ingest.HeaderReplay {
				id = string(h.Value)
			}
		}
		all = append(all, fmt.Sprintf("%d %s=%s (%s)", p, r.Key, r.Value, id))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestListAndShow(t *testing.T) {
	k := world(t)
	send(t, k, topics.Dead, 0,
		dead(1, 7, "syntax", "line\x1b[31m\xff one", ingest.HeaderKey, "k"),
		dead(1, 7, "syntax", "line\x1b[31m\xff one", ingest.HeaderKey, "k"), // read twice because of a crash
		dead(0, 9, "bad_time", strings.Repeat("é", 100), ingest.HeaderKey, "x"),
		dead(0, 10, "unreadable", "", ingest.HeaderUntil, "15"))
	list := func(f Filter, n int, asJSON bool) string {
		var out bytes.Buffer
		if err := List(t.Context(), k, topics.Dead, f, n, asJSON, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, c := range []struct {
		name   string
		filter Filter
		n      int
		want   []string
		not    []string
	}{
		{"all", Filter{}, 0, []string{`0/0 `, `2025-11-23T10:00:00.130Z`, `line\x1b[31m\xff one`, "0/10 to 14", "3 dead letters: bad_time 1, syntax 1, unreadable 1"}, []string{"0/1 ", "\x1b", "listed"}},
		{"the last", Filter{}, 1, []string{"0/3 ", "the last 1 are listed, -n 0 lists all"}, []string{"0/0 "}},
		{"by reason", Filter{Reasons: []string{"bad_time"}}, 0, []string{"0/2 ", "…", "1 dead letter: bad_time 1"}, []string{"syntax"}},
		{"by time", Filter{Since: received.Add(9 * time.Millisecond)}, 0, []string{"0/2 ", "0/3 "}, []string{"0/0 "}},
		{"none", Filter{Reasons: []string{"other"}}, 0, []string{"there are no dead letters of this kind"}, []string{"POSITION"}},
	} {
		got := list(c.filter, c.n, false)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing in\n%s", c.name, w, got)
			}
		}
		for _, w := range c.not {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q is in\n%s", c.name, w, got)
			}
		}
	}
	if got := list(Filter{Reasons: []string{"syntax"}}, 0, true); !strings.Contains(got, `"value_base64":"bGluZRtbMzFt/yBvbmU="`) || !strings.Contains(got, `"key":"k"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("JSON %s", got)
	}
	var out bytes.Buffer
	if err := Show(t.Context(), k, topics.Dead, Position{0, 0}, false, false, &out); err != nil || !strings.Contains(out.String(), "detail    syntax at byte 3") ||
		!strings.Contains(out.String(), "key       k\n") || !strings.Contains(out.String(), `  line\x1b[31m\xff one`) {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	if err := Show(t.Context(), k, topics.Dead, Position{0, 0}, true, false, &out); err != nil || out.String() != "line\x1b[31m\xff one" {
		t.Errorf("raw: %v %q", err, out.String())
	}
	if err := Show(t.Context(), k, topics.Dead, Position{0, 99}, false, false, &out); !errors.Is(err, ErrNone) {
		t.Errorf("a position without a letter: %v", err)
	}
}

// TestLastKeepsLittleOfEachLetter: a page of letters must not fill the memory.
func TestLastKeepsLittleOfEachLetter(t *testing.T) {
	k := world(t)
	send(t, k, topics.Dead, 0, dead(0, 1, "syntax", "short"), dead(0, 2, "syntax", strings.Repeat("x", 100_000)))
	all, err := Last(t.Context(), k, topics.Dead, 10)
	if err != nil || len(all) != 2 || len(all[0].Value) != mostKept || all[0].Bytes != 100_000 || string(all[1].Value) != "short" {
		t.Fatalf("%d letters, the first of %d bytes: %v", len(all), len(all[0].Value), err)
	}
}

func TestWhatIsPutBackAndWhatIsLeft(t *testing.T) {
	k := world(t)
	send(t, k, topics.Events, 1, kafka.Outgoing{Key: []byte("old"), Value: []byte("from before")}, kafka.Outgoing{Value: []byte("other")})
	send(t, k, topics.Dead, 0,
		dead(0, 3, "syntax", "a", ingest.HeaderKey, "ka"), dead(1, 4, "bad_time", "b", ingest.HeaderKey, "kb"), dead(1, 4, "bad_time", "b", ingest.HeaderKey, "kb"),
		dead(1, 0, "syntax", "from before"), dead(1, 1, "syntax", "not it"), dead(1, 77, "syntax", "gone"),
		dead(0, 5, "too_large", "cut", ingest.HeaderKey, "kc", ingest.HeaderBytes, "9"), dead(0, 6, "unreadable", "", ingest.HeaderUntil, "8"),
		dead(5, 1, "syntax", "x", ingest.HeaderKey, "kx"), dead(0, 8, "syntax", "y", ingest.HeaderKey, "ky", ingest.HeaderTopic, "else"))
	before := len(raw(t, k))
	run := func(p Replay) Report {
		p.Topics, p.Now = topics, func() time.Time { return received }
		r, err := p.Run(t.Context(), k, new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	left := map[string]int{leftKeyless: 2, leftCut: 1, leftRange: 1, leftMoved: 1, leftElse: 1}
	if r := run(Replay{}); r.Done || r.PutBack != 3 || fmt.Sprint(r.Left) != fmt.Sprint(left) || len(raw(t, k)) != before {
		t.Errorf("without -yes: %+v, and %v", r, raw(t, k))
	}
	if r := run(Replay{Do: true, Filter: Filter{Reasons: []string{"bad_time"}}}); !r.Done || r.PutBack != 1 {
		t.Errorf("by reason: %+v", r)
	}
	left[leftAlready] = 1
	if r := run(Replay{Do: true}); r.PutBack != 2 || fmt.Sprint(r.Left) != fmt.Sprint(left) {
		t.Errorf("the others: %+v", r)
	}
	left[leftAlready] = 3
	if r := run(Replay{Do: true}); r.PutBack != 0 || fmt.Sprint(r.Left) != fmt.Sprint(left) {
		t.Errorf("a second time: %+v", r)
	}
	want := []string{"0 ka=a (0-3)", "1 old=from before ()", "1 =other ()", "1 kb=b (1-4)", "1 old=from before (1-0)"}
	if got := raw(t, k); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("the raw topic holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// dying is a log whose process ends before or after one of its writes.
type dying struct {
	*kafka.Client
	left  int // writes until then
	after bool
}

var errDied = errors.New("died")

func (d *dying) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	d.left--
	if d.left < 0 || d.left == 0 && !d.after {
		return errDied
	}
	err := d.Client.Produce(ctx, topic, ps)
	if d.left == 0 {
		return errDied
	}
	return err
}

// TestAReplayThatIsInterruptedPutsNothingBackTwice interrupts it at each of its
// writes.
func TestAReplayThatIsInterruptedPutsNothingBackTwice(t *testing.T) {
	for write := 1; write <= 3; write++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, after %v", write, after), func(t *testing.T) {
				k := world(t)
				send(t, k, topics.Dead, 0, dead(0, 3, "syntax", "a", ingest.HeaderKey, "ka"), dead(1, 4, "syntax", "b", ingest.HeaderKey, "kb"))
				p := Replay{Topics: topics, Do: true, Now: func() time.Time { return received }}
				if _, err := p.Run(t.Context(), &dying{Client: k, left: write, after: after}, new(bytes.Buffer)); !errors.Is(err, errDied) {
					t.Fatalf("it did not die: %v", err)
				}
				_, err := p.Run(t.Context(), k, new(bytes.Buffer))
				var open *ErrOpen
				if begun := write > 1 || after; begun && write < 3 && !errors.As(err, &open) {
					t.Errorf("a replay that has not ended goes unseen: %v", err)
				}
				p.Resume = true
				if _, err := p.Run(t.Context(), k, new(bytes.Buffer)); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(raw(t, k), "|"); got != "0 ka=a (0-3)|1 kb=b (1-4)" {
					t.Errorf("the raw topic holds %s", got)
				}
			})
		}
	}
}

func TestPositions(t *testing.T) {
	for in, want := range map[string]string{"0/17": "0/17", "17": "0/17", "3/0": "3/0", "": "", "x": "", "1/": "", "-1": "", "1/2/3": ""} {
		p, err := ParsePosition(in)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%q: %v, %v", in, p, err)
		}
	}
}

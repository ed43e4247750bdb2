package ingest_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// TestADeadLetterThatIsPutBackIsNoRepeat: its bytes are those of the record that
// was dead; but what is put back twice counts once.
func TestADeadLetterThatIsPutBackIsNoRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.format = "traefik" // the mistake
		record := kafka.Record{Key: []byte("a"), Value: []byte(request("a", "ann"))}
		w.add(record)
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if len(w.dead) != 1 || string(header(w.dead[0], ingest.HeaderKey)) != "a" || !bytes.Equal(w.dead[0].Value, record.Value) {
			t.Fatalf("dead letters %v", w.dead)
		}
		w.format = "weir" // the fix
		record.Headers = []kafka.Header{{Key: ingest.HeaderReplay, Value: w.dead[0].Key}}
		for range 2 {
			record.Offset = w.end()
			w.add(record)
		}
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if l.Accepted != 1 || l.Repeat != 1 || l.Dead != 1 {
			t.Errorf("the ledger is %+v", l)
		}
	})
}

func TestALetterWithALongKeyStillFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add(kafka.Record{Key: []byte(strings.Repeat("k", 1<<20)), Value: []byte("garbage")})
		w.add(kafka.Record{Offset: 1, Value: []byte("garbage")})
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if len(w.dead) != 2 || header(w.dead[0], ingest.HeaderKey) != nil || header(w.dead[1], ingest.HeaderKey) == nil {
			t.Errorf("keys %q, %q", header(w.dead[0], ingest.HeaderKey), header(w.dead[1], ingest.HeaderKey))
		}
	})
}

// header is nil where a letter has none of that name.
func header(l kafka.Outgoing, name string) []byte {
	for _, h := range l.Headers {
		if h.Key == name {
			return append([]byte{}, h.Value...)
		}
	}
	return nil
}

package clickhouse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/sink/clickhouse"
)

func TestADeadLetterIsOneRowHoweverOftenItIsRead(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	w, err := clickhouse.NewDeadLetters(c, clickhouse.Stream{Name: "weir", Incarnation: 1}, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	now := time.Now().UnixMilli()
	track := w.Open(3)
	letters := []event.DeadLetter{
		{Offset: 7, Reason: "json", Detail: "not JSON", Time: now - 150, Bytes: 5, Key: []byte("k"), Value: []byte("a\x1b[0\xff")},
		{Offset: 7, Reason: "control", Detail: "no id", Controls: true, Time: now - 150, Bytes: 2, Value: []byte("{}")},
		{Offset: 9, Until: 12, Reason: "unreadable"},
		{Offset: 20, Reason: "size", Bytes: 4000, Value: []byte(`{"path":"/` + strings.Repeat("a", 480) + `","account":"alexandra-of-the-long-name"`)},
	}
	for _, owner := range []uint64{1, 2, 1} { // a former owner is late
		for i := range letters {
			if err := track.Append(t.Context(), owner, now+int64(owner), &letters[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ where, want string }{
		{"source = 'events' AND src_offset = 7", `3 k a\x1b[0\xff json not JSON 5 0`},
		{"source = 'controls'", `3  {} control no id 2 0`},
		{"until > 0", `3   unreadable  0 12`},
		{"src_offset = 20", `3  {"path":"/` + strings.Repeat("a", 480) + `","account":" size  4000 0`}, // no half of a name
	} {
		var n, newest uint64
		var got string
		query(t, c, "SELECT count(), sum(owner), any(concat(toString(src_partition), ' ', record_key, ' ', sample, ' ', reason, ' ', detail, ' ', toString(bytes), ' ', toString(until))) FROM %s.v_dead_letters WHERE "+tc.where, &n, &newest, &got)
		if n != 1 || newest != 2 || got != tc.want {
			t.Errorf("%s: %d rows, owner %d, %q; want %q", tc.where, n, newest, got, tc.want)
		}
	}
}

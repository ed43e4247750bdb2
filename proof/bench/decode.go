package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/eventtest"
	"github.com/weirdev/weir/event/format"
)

// samples returns n events of about 500 bytes and 22 fields.
func samples(n int) (records [][]byte, bytes int) {
	for i := range n {
		records = append(records, eventtest.Sample(i))
		bytes += len(records[i])
	}
	return records, bytes
}

// decoding compares Weir's decoder with encoding/json on the same records, and
// returns the time of encoding/json per record.
func decoding(ctx context.Context, r *report) (plain time.Duration, err error) {
	records, size := samples(1000)
	var d format.Decoder
	e := new(event.Event)
	ours := func() error {
		for _, rec := range records {
			if err := d.Decode(rec, e); err != nil {
				return err
			}
		}
		return nil
	}
	theirs := func() error {
		for _, rec := range records {
			var p eventtest.Plain
			if err := json.Unmarshal(rec, &p); err != nil {
				return err
			}
		}
		return nil
	}
	a, err := measure(ctx, len(records), ours)
	if err != nil {
		return 0, err
	}
	b, err := measure(ctx, len(records), theirs)
	if err != nil {
		return 0, err
	}
	n, err := allocations(ours)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(r.out, "decoding events of %d bytes\n", size/len(records))
	r.note("weir %v, encoding/json %v an event", a, b)
	ratio := float64(b) / float64(a)
	r.line("times faster than encoding/json", fmt.Sprintf("%.1f", ratio), fmt.Sprintf("%.0f", decodeRatio), ratio >= decodeRatio)
	r.line("allocations, of 1000 events", fmt.Sprint(n), "0", n == 0)
	return b, nil
}

package controls

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/kafka"
)

// topic takes records until it has had most requests.
type topic struct {
	keys []string
	most int
}

func (p *topic) Produce(_ context.Context, _ string, ps []kafka.Produce) error {
	if p.most--; p.most < 0 {
		return errors.New("no leader")
	}
	for _, r := range ps[0].Records {
		p.keys = append(p.keys, string(r.Key))
	}
	return nil
}

func TestOfManyRecordsThoseThatAreWrittenAreReturned(t *testing.T) {
	cs := slices.Repeat([]Control{{Action: "true_positive", Kind: "account", Key: "alice", Who: "ann", Reason: "why", Origin: control.FromCommand}}, 2*mostTogether+1)
	for most, want := range map[int]int{0: 0, 2: 2 * mostTogether, 3: len(cs)} {
		p := &topic{most: most}
		all, err := New(p, "weir.controls").WriteAll(t.Context(), cs)
		if len(all) != want || (err == nil) != (want == len(cs)) {
			t.Errorf("%d requests: %d are written, %v", most, len(all), err)
		}
		for i := range all {
			if all[i].ID != p.keys[i] || all[i].Time == 0 {
				t.Fatalf("%d is returned as %+v, and written as %s", i, all[i], p.keys[i])
			}
		}
		if len(slices.Compact(slices.Sorted(slices.Values(p.keys)))) != want {
			t.Errorf("%d requests: two records have one id", most)
		}
	}
}

func TestOneRecordThatIsNoneKeepsTheOthersUnwritten(t *testing.T) {
	p := &topic{most: 9}
	good := Control{Action: "true_positive", Kind: "account", Key: "alice", Who: "ann", Reason: "why", Origin: control.FromCommand}
	bad := good
	bad.Kind = "planet"
	all, err := New(p, "weir.controls").WriteAll(t.Context(), []Control{good, bad})
	if invalid := new(Invalid); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "planet") || len(all) != 0 || len(p.keys) != 0 {
		t.Errorf("%+v, %v, %v", all, err, p.keys)
	}
}

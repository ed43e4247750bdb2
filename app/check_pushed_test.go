package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/kafka"
)

// TestWhatIsWrongWithPushedRules: a push that died half way is a warning; rules in force
// that the topic has lost keep a worker from running, until they are pushed again.
func TestWhatIsWrongWithPushedRules(t *testing.T) {
	addr := broker(t)
	_, set := rulesIn(t, oldApps)
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	proposed := func(id, lane, version, who string, bundle []byte) string {
		return fmt.Sprintf(`{"v":1,"incarnation":1,"step":"proposed","id":%q,"lane":%q,"rules":%q,"who":%q,"bundle":%q}`, id, lane, version, who, base64.StdEncoding.EncodeToString(bundle))
	}
	live, shadow := proposed("a", "live", set.Version, "ann", bundle), proposed("b", "shadow", set.Version, "bob", bundle)
	const (
		none    = `{"v":1,"incarnation":1,"step":"proposed","id":"c","lane":"shadow","who":"carl"}`
		decided = `{"v":1,"incarnation":1,"step":"decided","number":`
		done    = `{"v":1,"incarnation":1,"step":"done","number":`
	)
	for _, tc := range []struct {
		name    string
		records []string
		commit  engine.Progress
		want    []string
	}{
		{"a push that is done", []string{live, decided + "1}", done + "1}"}, engine.Progress{Rules: 1}, nil},
		{"one that was only proposed", []string{live}, engine.Progress{}, nil},
		{"live rules, half way", []string{live, decided + "1}"}, engine.Progress{}, []string{"warning: topic S.rules: push 1 of ann to the live lane is unfinished: some facet partitions may have its rules, and others not; if nobody is pushing now, finish it: weir rules push -number 1"}},
		{"shadow rules, half way", []string{shadow, decided + "1}"}, engine.Progress{}, []string{"push 1 of bob to the shadow lane is unfinished: some facet partitions may have its rules, and others not; if nobody is pushing now, finish it: weir rules push -shadow -number 1"}},
		{"their end, half way", []string{shadow, decided + "1}", done + "1}", none, decided + "4}"}, engine.Progress{Shadow: 1}, []string{"push 4 of carl to the shadow lane is unfinished: some facet partitions may have its rules, and others not; if nobody is pushing now, finish it: weir rules push -shadow -none"}},
		{"rules that the topic does not hold", []string{shadow, decided + "1}", done + "1}"}, engine.Progress{Rules: 9, Shadow: 1}, []string{"warning: topic S.rules: facet partition 0 has live rules of push 9, which the topic does not hold: facets lack the fields that only they read; push the rules again, if the topic has lost its beginning"}},
		{"and are proposed again", []string{"{}", shadow, live}, engine.Progress{Rules: 1}, nil},
		{"rules that mean something else now", []string{proposed("a", "live", "x", "ann", bundle), decided + "1}", done + "1}"}, engine.Progress{Rules: 1},
			[]string{"warning: topic S.rules: push 1 of ann to the live lane has rules of version x, which have version " + set.Version + " in this program: a partition that reads their switch record again"}},
		{"rules that cannot be loaded", []string{proposed("a", "shadow", "x", "ann", []byte("no bundle")), decided + "1}", done + "1}"}, engine.Progress{Shadow: 1},
			[]string{"push 1 of ann to the shadow lane has rules of version x, which this program cannot load: "}},
		{"a later version of weir", []string{`{"v":9}`}, engine.Progress{}, []string{"error: topic S.rules: topic S.rules: offset 0: a later version of weir has pushed rules"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, c := newStream(t, addr)
			topics := TopicDefaults()
			makeTopics(t, c, cfg, topics)
			begin(t, c, cfg, topics)
			for _, r := range tc.records {
				if err := c.Produce(t.Context(), cfg.Stream.Topic("rules"), []kafka.Produce{{Records: []kafka.Outgoing{{Value: []byte(r)}}}}); err != nil {
					t.Fatal(err)
				}
			}
			if tc.commit.Rules+tc.commit.Shadow > 0 {
				tc.commit.Version = 1
				commitDetect(t, c, cfg, tc.commit.String())
			}
			check(t, c, cfg, 0, tc.want...)
		})
	}
}

// commitDetect commits for facet partition 0, as detect does.
func commitDetect(t *testing.T, c *kafka.Client, cfg Config, metadata string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.Join(ctx, cfg.Stream.Group("detect"), cfg.Stream.Topic("facets"), func(ctx context.Context, l *kafka.Lease) error {
		if l.Partition != 0 {
			<-ctx.Done()
			return nil
		}
		defer cancel()
		return l.Commit(ctx, 0, metadata)
	})
	if err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
}

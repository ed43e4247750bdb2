package chaos

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// rulesets holds the workers' initial rules, and others that are pushed during the run.
type rulesets struct {
	all []*rules.Set // the first is that of the workers
}

// hasty shortens timers of minutes so that they become due during a run.
var hasty = edits{
	"signature_mismatch.yaml": {{"window: 3h\n      cohorts: [build, app_version, os]", "window: 1m\n      cohorts: [build, app_version, os]\n      wait: 10s\n      usual: 1m"}},
}

// others changes how scores decay and act, what a rule waits for, and what facets hold:
// no rule reads the id of an event otherwise.
var others = edits{
	"credential_stuffing.yaml": {{"half_life: 30m", "half_life: 20m"}},
	"login_brute_force.yaml": {
		{"cooldown: 5m", "cooldown: 3m"},
		{`when: auth in ["success", "failure"] && status < 500`, `when: id != "" && auth in ["success", "failure"] && status < 500`},
	},
	"object_enumeration.yaml": {{"phase: soft", "phase: observe"}},
}

// without names a file whose rules are removed by a switch.
const without = "scraping_breadth.yaml"

// edits are changes of files, by file name: old texts and their replacements.
type edits map[string][][2]string

// of returns the changed files of a set of rules.
func (e edits) of(set *rules.Set) (fstest.MapFS, error) {
	bundle, err := set.Bundle()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, f := range z.File {
		data, err := fs.ReadFile(z, f.Name)
		if err != nil {
			return nil, err
		}
		files[f.Name] = &fstest.MapFile{Data: data}
	}
	for name, changes := range e {
		for _, c := range changes {
			f := files[name]
			if f == nil || !bytes.Contains(f.Data, []byte(c[0])) {
				return nil, fmt.Errorf("%s has no %q to change", name, c[0])
			}
			f.Data = bytes.ReplaceAll(f.Data, []byte(c[0]), []byte(c[1]))
		}
	}
	return files, nil
}

// writeRules writes the built-in rules, as used in a run, into a directory.
func writeRules(dir string) error {
	set, err := rules.Default(detectors.All())
	if err != nil {
		return err
	}
	files, err := hasty.of(set)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}

func newRulesets(base *rules.Set) (*rulesets, error) {
	files, err := others.of(base)
	if err != nil {
		return nil, err
	}
	delete(files, without)
	other, err := rules.Load(files, detectors.All())
	if err != nil {
		return nil, fmt.Errorf("the rules that are switched to: %w", err)
	}
	return &rulesets{all: []*rules.Set{base, other}}, nil
}

// always returns the fields that all rules read. Facets have others only while there
// are rules that read them.
func (s *rulesets) always() (common facet.Projection) {
	common = s.all[0].Projection()
	for _, set := range s.all[1:] {
		p := set.Projection()
		for k := range common {
			common[k] = slices.DeleteFunc(slices.Clone(common[k]), func(f event.Field) bool { return !slices.Contains(p[k], f) })
		}
	}
	return common
}

// followsLog reports whether a rule's firings may differ from those in an
// undisturbed run: if a switch changes it, or if it sets timers or reads verdicts.
// The results of those depend on how sources are interleaved in the facet log.
func (s *rulesets) followsLog(id string) bool {
	r, other := s.all[0].Rule(id), s.all[1].Rule(id)
	if r == nil || other == nil || r.Spec.Canonical() != other.Spec.Canonical() {
		return true
	}
	keeps := r.Spec.Keeps()
	return keeps.Ahead > 0 || keeps.Cohort.Verdicts > 0
}

// Pushes follow one another with a pause of 3 to 8 s. One in two, though not the first,
// is interrupted, like `weir rules push` that dies, up to lastStep after it began.
const (
	pushRest, pushSpread = 3 * time.Second, 5 * time.Second
	lastStep             = 2 * time.Second
	pushTime             = 2 * time.Minute // maximum time of a push that nobody interrupts
)

// runPushes pushes rules until ctx ends, and leaves no push unfinished.
func (f *faults) runPushes(ctx context.Context) {
	var turns [2]int // by lane
	for ok := true; ok; ok = pause(ctx, pushRest+rand64(f.pushes, pushSpread)) {
		lane := facet.Shadow // first, so that short runs have shadow rules, too
		if turns[facet.Shadow] > 0 {
			lane = facet.Lane(f.pushes.IntN(2))
		}
		turns[lane]++
		set := f.r.rulesets.all[turns[lane]%len(f.r.rulesets.all)] // first the other rules, then the initial ones again
		if lane == facet.Shadow && f.pushes.IntN(3) == 0 && turns[lane] > 1 {
			set = nil // the lane ends
		}
		dies := turns != [2]int{facet.Shadow: 1} && f.pushes.IntN(2) == 0
		f.push(ctx, push.Request{Lane: lane, Rules: set, Who: "chaos", Source: "weir chaos"}, dies)
	}
}

// push puts rules in force. What was interrupted is begun again, until it is through; a
// push that is not through in time is a finding.
func (f *faults) push(ctx context.Context, r push.Request, dies bool) {
	name := "rules_push"
	if r.Lane == facet.Shadow {
		name = "rules_push_shadow"
	}
	f.note(name)
	stack := f.r.cluster.stack
	pusher := app.NewPusher(stack.Config.Stream, stack.Kafka, func(string) {})
	if dies {
		dying, cancel := context.WithTimeout(ctx, rand64(f.pushes, lastStep))
		_, err := pusher.Push(dying, r)
		cancel()
		if err == nil {
			return
		}
		f.note("push_interrupted")
		f.r.event("a push is interrupted: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pushTime)
	defer cancel()
	for {
		is, err := pusher.Push(ctx, r)
		if err == nil {
			f.r.event("push %d is in force (%s)", is.Number, r.Lane)
			return
		}
		f.r.event("a push has to be repeated: %v", err)
		if !pause(ctx, pushRest) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.unpushed = append(f.unpushed, err)
			return
		}
	}
}

package ingest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/ingest"
)

// promises returns what each commit says of pushed rules and of its epoch.
func (w *world) promises(t *testing.T) (all []ingest.Progress) {
	t.Helper()
	for _, c := range w.commits {
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// TestCommitsSayWhichPushedRulesTheFacetsServe: at once where the epoch stays as it is,
// and with the change where rules need more fields.
func TestCommitsSayWhichPushedRulesTheFacetsServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := distinct(t, "0", "1")
		w := newWorld()
		w.epochs = newEpochs(all[0])
		w.send(from("a"), from("b"))
		time.AfterFunc(1500*time.Millisecond, func() { w.epochs.use(all[0].With(3)) })
		time.AfterFunc(3500*time.Millisecond, func() { w.epochs.use(all[1].With(4)) })
		if _, err := w.run(t, 6*time.Second); err != nil {
			t.Fatal(err)
		}
		seen, last := map[int64]bool{}, int64(0)
		for _, p := range w.promises(t) {
			if seen[p.Pushed] = true; p.Pushed < last {
				t.Errorf("a commit takes %d back to %d", last, p.Pushed)
			}
			last = p.Pushed
			if p.Epoch == all[0].Name && p.Pushed > 3 || p.Epoch == all[1].Name && p.Pushed < 4 {
				t.Errorf("a commit says %d under epoch %s", p.Pushed, p.Epoch)
			}
		}
		if !seen[0] || !seen[3] || !seen[4] {
			t.Errorf("commits say %v, not 0, 3 and 4", seen)
		}
	})
}

// TestNobodyGoesBackBehindPushedRules: a worker that has not read the topic of rules as
// far as a commit promises waits, and reads no record under its own epoch.
func TestNobodyGoesBackBehindPushedRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := distinct(t, "0", "1")
		w := newWorld()
		w.epochs = newEpochs(all[1].With(7))
		w.send(from("a"), from("b"))
		if _, err := w.run(t, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		w.epochs.use(all[0]) // as of a worker that knows of no push
		time.AfterFunc(3*time.Second, func() { w.epochs.use(all[1].With(8)) })
		w.send(from("c"))
		if _, err := w.run(t, 6*time.Second); err != nil {
			t.Fatal(err)
		}
		for offset, name := range w.made(t, all...) {
			if name != "1" {
				t.Errorf("record %d was read under %s", offset, name)
			}
		}
		for _, p := range w.promises(t)[1:] {
			if p.Pushed != 0 && p.Epoch != all[1].Name {
				t.Errorf("a commit says %d under epoch %s", p.Pushed, p.Epoch)
			}
		}
		if p := w.promises(t); p[len(p)-1].Pushed != 8 || p[len(p)-1].Ledger.Accepted != 3 {
			t.Errorf("the last commit is %+v", p[len(p)-1])
		}
	})
}

// TestAWorkerThatCannotFollowReadsNothing: the partition stops and says why.
func TestAWorkerThatCannotFollowReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := distinct(t, "0")
		w := newWorld()
		w.epochs = newEpochs(all[0].With(7))
		w.send(from("a"))
		if _, err := w.run(t, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		w.epochs.use(all[0])
		w.epochs.behind = errors.New("rules of a later version")
		w.send(from("b"))
		if _, err := w.run(t, 2*time.Second); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
		p := w.promises(t)
		if last := p[len(p)-1]; last.Ledger.Accepted != 1 || last.Pushed != 7 {
			t.Errorf("the last commit is %+v", last)
		}
	})
}

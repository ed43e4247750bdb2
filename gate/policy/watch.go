package policy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/internal/edited"
	"github.com/weirdev/weir/rules"
)

// lookEvery is the interval between two looks at the file. A change takes effect
// within half a second.
const lookEvery = 250 * time.Millisecond

// Watched holds the policies of a file that may change. It is safe for concurrent
// use.
type Watched struct {
	path    string
	words   *rules.Set
	log     *slog.Logger
	reloads *prometheus.CounterVec

	taken   func(*Set, []byte) // nil: nobody wants to know
	current atomic.Pointer[Set]
	refused atomic.Bool
	file    *edited.File // used only by the watching goroutine
	text    []byte       // at the start
}

// Watch loads the policies of a file; if path is "", the built-in ones. It starts
// nothing; [Watched.Run] watches for changes.
func Watch(path string, words *rules.Set, log *slog.Logger, r prometheus.Registerer) (*Watched, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	w := &Watched{path: path, words: words, log: log}
	w.file = edited.New(data, func() ([]byte, error) { return Read(path) })
	name := path
	if name == "" {
		name = "built-in policies"
	}
	set, err := Parse(name, data, words)
	if err != nil {
		return nil, err
	}
	w.current.Store(set)
	w.text = data
	f := promauto.With(r)
	w.reloads = f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_policy_reloads_total", Help: "Changes of the file of policies that were found, by result: taken, or refused because the file is wrong."}, []string{"result"})
	for _, result := range []string{"taken", "refused"} {
		w.reloads.WithLabelValues(result)
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_gate_policy_refused", Help: "1 while the file of policies is wrong or cannot be read, and older ones are in force."}, func() float64 {
		if w.refused.Load() {
			return 1
		}
		return 0
	})
	return w, nil
}

// Current returns the policies in force.
func (w *Watched) Current() *Set { return w.current.Load() }

// Taken has taken called with the policies in force and the text of their file, now and
// whenever others replace them. It is called before Run.
func (w *Watched) Taken(taken func(*Set, []byte)) {
	w.taken = taken
	taken(w.Current(), w.text)
}

// Run watches the file until ctx ends.
func (w *Watched) Run(ctx context.Context) error {
	if w.path == "" {
		<-ctx.Done()
		return nil
	}
	edited.Every(ctx, lookEvery, w.look)
	return nil
}

// look reads the file once. It reports the mistakes of the same content only once.
func (w *Watched) look() {
	data, changed, err := w.file.Look()
	if err != nil && !w.refused.Swap(true) {
		w.log.Error("the file of policies cannot be read; those that are in force stay", "version", w.Current().Version, "error", err)
	}
	if !changed {
		return
	}
	set, err := Parse(w.path, data, w.words)
	if err != nil {
		w.refused.Store(true)
		w.reloads.WithLabelValues("refused").Inc()
		w.log.Error("the file of policies is wrong and is not used; those that are in force stay", "version", w.Current().Version, "error", err)
		return
	}
	w.refused.Store(false)
	old := w.Current()
	w.current.Store(set)
	if set.Version == old.Version {
		w.log.Info("the file of policies is again the one in force", "version", set.Version)
		return
	}
	w.reloads.WithLabelValues("taken").Inc()
	if w.taken != nil {
		w.taken(set, data)
	}
	w.log.Info("policies changed", "version", set.Version, "before", old.Version, "policies", len(set.Policies))
}

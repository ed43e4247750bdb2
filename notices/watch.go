package notices

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/internal/edited"
	"github.com/weirdev/weir/rules"
)

// lookEvery is the interval between two looks at the file.
const lookEvery = time.Second

// watched holds what a file says, which may change.
type watched struct {
	path    string
	words   *rules.Set
	log     *slog.Logger
	refused atomic.Bool
	current atomic.Pointer[File]
	taken   func(*File) // is called with each new content
	file    *edited.File
}

// watchFile loads a file and starts nothing.
func watchFile(path string, words *rules.Set, log *slog.Logger) (*watched, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	file, err := Parse(path, data, words)
	if err != nil {
		return nil, err
	}
	w := &watched{path: path, words: words, log: log}
	w.file = edited.New(data, func() ([]byte, error) { return Read(path) })
	w.current.Store(file)
	return w, nil
}

// run looks at the file until ctx ends.
func (w *watched) run(ctx context.Context) {
	edited.Every(ctx, lookEvery, w.look)
}

// look reads the file once. It reports the mistakes of the same content only once.
func (w *watched) look() {
	data, changed, err := w.file.Look()
	if err != nil && !w.refused.Swap(true) {
		w.log.Error("the file of notices cannot be read; what was in force stays", "error", err)
	}
	if !changed {
		return
	}
	file, err := Parse(w.path, data, w.words)
	if err != nil {
		w.refused.Store(true)
		w.log.Error("the file of notices is wrong and is not used; what was in force stays", "version", w.current.Load().Version, "error", err)
		return
	}
	w.refused.Store(false)
	before := w.current.Swap(file)
	w.taken(file)
	w.log.Info("notices changed", "version", file.Version, "before", before.Version, "channels", len(file.Channels), "silences", len(file.Silences))
}

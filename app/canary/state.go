package canary

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/weirdev/weir/internal/atomicfile"
	"github.com/weirdev/weir/notices"
)

// kept is the content of an alarm's file.
type kept struct {
	Version int                 `json:"v"` // 1
	Stream  string              `json:"stream"`
	Missed  map[string]*missing `json:"missed"` // by detector
}

const keptVersion = 1

// Keep reads which detectors missed attacks when the file was written, and writes it
// from then on whenever that changes, so that a restart neither tells people again nor
// forgets to tell them when it is over. It closes the groups of detectors that attacks
// has no attack on. A file that is not there is made; its directory must be there. A
// file that cannot be written later is an error in the log.
func (a *Alarm) Keep(file string, attacks []Attack, log *slog.Logger) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file, a.log = file, log
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return a.write()
	}
	if err != nil {
		return err
	}
	var k kept
	switch err := json.Unmarshal(b, &k); {
	case err != nil:
		return fmt.Errorf("%s is not the state of a canary: %w; remove it, and the canary begins with nothing", file, err)
	case k.Version != keptVersion:
		return fmt.Errorf("%s has version %d, this program reads %d; remove it, and the canary begins with nothing", file, k.Version, keptVersion)
	case k.Stream != a.stream:
		return fmt.Errorf("%s is of the stream %s, not of %s; name another file", file, k.Stream, a.stream)
	}
	for _, d := range slices.Sorted(maps.Keys(k.Missed)) {
		m := k.Missed[d]
		switch {
		case m == nil:
		case slices.ContainsFunc(attacks, func(t Attack) bool { return t.Detector == d && t.Why == "" }):
			a.missed[d] = m
		case m.Group != "":
			n := a.notice(m.Group+"-2", m.Group, notices.Resolved, m.Rule)
			n.Title = fmt.Sprintf("The canary no longer attacks detector %s.", d)
			a.say(n)
		}
	}
	return a.write()
}

// save writes the file if there is one. The caller holds a.mu.
func (a *Alarm) save() {
	if a.file == "" {
		return
	}
	if err := a.write(); err != nil {
		a.log.Error("the state of the canary cannot be written; a restart would forget which alarms are open", "file", a.file, "error", err)
	}
}

func (a *Alarm) write() error {
	b, err := json.Marshal(kept{Version: keptVersion, Stream: a.stream, Missed: a.missed})
	if err != nil {
		return err
	}
	return atomicfile.Write(a.file, func(w *bufio.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

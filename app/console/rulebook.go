package console

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/internal/edited"
	"github.com/weirdev/weir/rules"
)

// lookAtRules is the interval between two looks at the directory of rules. Compiling
// them takes longer than reading a file of users.
const lookAtRules = 2 * time.Second

// RuleBook is the set of rules that pages show now. It is safe for concurrent use.
type RuleBook struct {
	// Pushed returns the rules that were pushed into the stream, which come before those
	// of the directory; nil if none were. Nil: nobody asks.
	Pushed func() *rules.Set

	dir     string // "": the set stays as it is
	kinds   []rules.Kind
	log     *slog.Logger
	current atomic.Pointer[rules.Set]

	files *edited.File // used by Run only, as is wrong
	wrong string       // with the directory as it is now; "" if it is in force
}

// NewRuleBook returns a set that stays as it is.
func NewRuleBook(set *rules.Set) *RuleBook {
	b := &RuleBook{}
	b.current.Store(set)
	return b
}

// WatchRules returns the set that was loaded from a directory, for detectors of kinds. It
// starts nothing: [RuleBook.Run] looks for changes.
func WatchRules(dir string, set *rules.Set, kinds []rules.Kind, log *slog.Logger) (*RuleBook, error) {
	b := NewRuleBook(set)
	b.dir, b.kinds, b.log = dir, kinds, log
	read := func() ([]byte, error) { return rules.Content(os.DirFS(dir)) }
	content, err := read()
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	b.files = edited.New(content, read)
	return b, nil
}

// Current returns the rules.
func (b *RuleBook) Current() *rules.Set {
	if b.Pushed != nil {
		if set := b.Pushed(); set != nil {
			return set
		}
	}
	return b.current.Load()
}

// Run looks at the directory until ctx ends. While its rules cannot be used, pages show
// those before.
func (b *RuleBook) Run(ctx context.Context) error {
	if b.dir == "" {
		<-ctx.Done()
		return nil
	}
	edited.Every(ctx, lookAtRules, b.look)
	return nil
}

// look reads the directory once. It reports what is wrong only once.
func (b *RuleBook) look() {
	_, changed, err := b.files.Look()
	if err == nil && !changed {
		return
	}
	var set *rules.Set
	if err == nil {
		set, err = rules.Load(os.DirFS(b.dir), b.kinds)
	}
	if err != nil {
		if b.wrong != err.Error() {
			b.log.Error("console: the rules are not used; pages show those before", "rules", b.current.Load().Version, "error", err)
		}
		b.wrong = err.Error()
		return
	}
	b.wrong = ""
	before := b.current.Swap(set)
	b.log.Info("console: rules changed", "rules", set.Version, "before", before.Version, "rule_count", len(set.Rules))
}

// Package bench measures Weir against its targets. It measures both sides of every
// ratio in one run, in CPU time, because machines differ and are shared.
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"syscall"
	"time"
)

// Options holds the user's settings.
type Options struct {
	SkipWorker bool
	Entities   int // number that the worker must track
	Events     int // number for measuring the worker
}

// Defaults returns the settings for which the targets were set.
func Defaults() Options { return Options{Entities: 1_000_000, Events: 1_000_000} }

// Targets.
const (
	decodeRatio     = 5.0       // times faster than encoding/json
	pathRate        = 400_000.0 // events per CPU second
	decodeShare     = 0.33      // fraction of the rate of decoding alone
	builtInShare    = 0.45      // fraction of the rate with five rules, with all built-in ones
	manyShare       = 0.5       // fraction of the rate with one rule of each detector, with manyRules of them
	manyRules       = 100
	workerRate      = 60_000.0  // events per CPU second of the worker
	workerRSS       = 600 << 20 // bytes
	pathKeys        = 5000
	pathDestination = 8
)

// report prints measurements with their targets.
type report struct {
	out    io.Writer
	missed int
}

func (r *report) line(what, value, bar string, reached bool) {
	verdict := "reached"
	if !reached {
		verdict = "MISSED"
		r.missed++
	}
	fmt.Fprintf(r.out, "  %-46s %16s   bar %-16s %s\n", what, value, bar, verdict)
}

func (r *report) note(format string, args ...any) { fmt.Fprintf(r.out, "  "+format+"\n", args...) }

// Run measures and prints. reached says whether every target is reached.
func Run(ctx context.Context, o Options, out io.Writer, log *slog.Logger) (reached bool, err error) {
	r := &report{out: out}
	fmt.Fprintf(out, "%s, %d CPUs, %s/%s; figures are CPU time of the measured side\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	plain, err := decoding(ctx, r)
	if err != nil {
		return false, err
	}
	if err := wholePath(ctx, r, plain); err != nil {
		return false, err
	}
	if !o.SkipWorker {
		if err := worker(ctx, r, o, log); err != nil {
			return false, err
		}
	}
	return r.missed == 0, nil
}

// cpuTime returns the CPU time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	rounds    = 7
	roundTime = 300 * time.Millisecond
)

// measure calls work, which processes n items, in several rounds. It returns the
// time per item in the best round: other programs on a shared machine only ever add
// time.
func measure(ctx context.Context, n int, work func() error) (best time.Duration, err error) {
	for range rounds {
		runtime.GC()
		done, start := 0, cpuTime()
		for cpuTime()-start < roundTime {
			if err := work(); err != nil {
				return 0, err
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			done += n
		}
		if each := (cpuTime() - start) / time.Duration(done); best == 0 || each < best {
			best = each
		}
	}
	return best, nil
}

// allocations returns how many objects work allocates.
func allocations(work func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := work(); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, nil
}

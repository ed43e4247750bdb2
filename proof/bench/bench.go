// Package bench measures Weir against its bars: both sides of every ratio in one
// run, in CPU time, because machines differ and are shared.
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

// Options is what the user asked for.
type Options struct {
	SkipWorker bool
	Entities   int // that the worker is made to track
	Events     int // that the worker is measured with
}

// Defaults are what the bars were set for.
func Defaults() Options { return Options{Entities: 1_000_000, Events: 1_000_000} }

// Bars.
const (
	decodeRatio     = 5.0       // times faster than encoding/json
	pathRate        = 400_000.0 // events a CPU second
	decodeShare     = 0.33      // of the events a CPU second that decoding alone does
	builtInShare    = 0.45      // of the events a CPU second with five rules, with all built-in ones
	workerRate      = 60_000.0  // events a CPU second of the worker
	workerRSS       = 600 << 20 // bytes
	pathKeys        = 5000
	pathDestination = 8
)

// report prints measurements with their bars.
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

// Run measures and prints. reached is whether every bar is.
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

// cpuTime is what this process has used so far.
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

// measure calls work, which does n things, in rounds, and returns the time that
// each thing took in the best of them: neighbours on a shared machine only ever
// add to it.
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

// allocations is how many objects work allocates.
func allocations(work func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := work(); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, nil
}

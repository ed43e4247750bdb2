// Package cli is shared by Weir's command lines: the syntax of flags, reading a
// configuration from them, and the meaning of exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/internal/telemetry"
)

// Exit codes.
const (
	OK      = 0
	Failed  = 1 // findings, failed tests, a ledger that does not balance
	Usage   = 2 // the command line or the configuration is wrong
	Runtime = 3 // what was asked for could not be done
	Stuck   = 4 // a partition hung; the process ended so that others take it over
)

// Error carries an exit code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// UsageError marks an error that the user fixes with another command line.
func UsageError(err error) error { return &Error{Code: Usage, Err: err} }

// Main runs a command until it ends or the process is told to stop, and
// returns the exit code.
func Main(root *cobra.Command, args []string, stderr io.Writer) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()

	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(doubleDashes(args))
	root.SetErr(stderr)
	strict(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return OK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(stderr, "%s: %s\n", root.Name(), telemetry.HideSecrets(text))
	}
	return code(err)
}

func code(err error) int {
	var coded *Error
	var misconfigured *app.Misconfigured
	switch {
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, &misconfigured):
		return Usage
	}
	return Runtime
}

// oneStroke is how long repeated signals count as one: timeout(1) and others signal
// the process and then its group.
const oneStroke = 200 * time.Millisecond

// untilSignal returns a context that ends when the process is told to stop. At the
// second signal the process ends at once, with the exit status that shells use for
// the signal. After the first signal the handler stays until the process has ended,
// because a repeat of the same signal may arrive at the very end.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, over := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		var first time.Time
		for {
			select {
			case s := <-signals:
				switch {
				case first.IsZero():
					first = time.Now()
					cancel()
				case time.Since(first) > oneStroke:
					os.Exit(128 + int(s.(syscall.Signal)))
				}
			case <-over:
				return
			}
		}
	}()
	return ctx, func() {
		if ctx.Err() == nil {
			signal.Stop(signals)
		}
		close(over)
		cancel()
	}
}

// Package cli holds what Weir's command lines have in common: how flags are
// written, how a configuration is read from them, and what exit codes mean.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/settings"
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

// UsageError is an error that the user mends by calling differently.
func UsageError(err error) error { return &Error{Code: Usage, Err: err} }

// Main runs a command until it ends or the process is told to stop, and
// returns the exit code.
func Main(root *cobra.Command, args []string, stderr io.Writer) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()

	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(doubleDashes(args))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return UsageError(fmt.Errorf("%w\nRun '%s --help' for its flags", err, c.CommandPath()))
	})
	err := root.ExecuteContext(ctx)
	if err == nil {
		return OK
	}
	code := Runtime
	var coded *Error
	if errors.As(err, &coded) {
		code = coded.Code
	} else if strings.HasPrefix(err.Error(), "unknown command") {
		code = Usage
	}
	if err.Error() != "" {
		fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
	}
	return code
}

// oneStroke is how long signals count as one: some that stop processes, timeout(1)
// among them, tell the process and then the group that it is in.
const oneStroke = 200 * time.Millisecond

// untilSignal is ctx until the process is told to stop. Told again, the process
// ends at once, with the exit status that shells give for the signal. Once it is
// told, the handler stays until the process has ended: a second signal of the same
// stroke may come when everything is done but that.
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

// doubleDashes lets every flag be written with one dash or two. There are no
// one-letter flags but -h.
func doubleDashes(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" {
			copy(out[i:], args[i:])
			break
		}
		if len(a) > 2 && a[0] == '-' && a[1] != '-' && (a[1] < '0' || a[1] > '9') {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}

// Configured holds a command's configuration and the flags that are about it.
type Configured struct {
	Config app.Config
	file   string
	check  bool
	dump   bool
}

// Configure adds to cmd a flag for every setting, and -config, -check, -dump.
func Configure(cmd *cobra.Command, defaults app.Config) *Configured {
	c := &Configured{Config: defaults}
	f := cmd.Flags()
	f.StringVar(&c.file, "config", os.Getenv("WEIR_CONFIG"), "YAML file with settings (or WEIR_CONFIG)")
	f.BoolVar(&c.check, "check", false, "check the configuration and exit")
	f.BoolVar(&c.dump, "dump", false, "print the effective configuration, secrets hidden, and exit")
	settings.Bind(f, &c.Config)
	return c
}

// Load reads the configuration. done says that -check or -dump was all that was
// asked for.
func (c *Configured) Load(cmd *cobra.Command) (done bool, err error) {
	if err := settings.Load(&c.Config, c.file, os.LookupEnv, cmd.Flags()); err != nil {
		return false, UsageError(fmt.Errorf("the configuration cannot be read:\n%w", err))
	}
	if c.dump {
		text, err := settings.Dump(&c.Config)
		if err != nil {
			return false, err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return true, err
	}
	if err := c.Config.Validate(); err != nil {
		return false, UsageError(fmt.Errorf("the configuration is not valid:\n%w", err))
	}
	if c.check {
		if _, err := app.LoadRules(c.Config.Rules); err != nil {
			return false, UsageError(err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), "configuration ok")
		return true, nil
	}
	return false, nil
}

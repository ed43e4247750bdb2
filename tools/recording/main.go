// Command recording runs a program and draws what it prints, with its timing, as an
// animated SVG that needs no script:
//
//	go run ./tools/recording -o demo.svg bin/weir demo
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

func main() {
	out := flag.String("o", "recording.svg", "`file` to write")
	longest := flag.Duration("pause", 1200*time.Millisecond, "longer pauses are shortened to this")
	least := flag.Duration("pace", 130*time.Millisecond, "lines that come faster are drawn apart, so that they can be read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *longest, *least, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "recording:", err)
		os.Exit(1)
	}
}

// run records a command, and writes nothing if it fails.
func run(ctx context.Context, out string, longest, least time.Duration, command []string) error {
	if len(command) == 0 {
		return errors.New("no command to record; give one after the flags, such as bin/weir demo")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	printed, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines, err := read(io.TeeReader(printed, os.Stdout), time.Now)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	pace(lines, longest, least)
	return os.WriteFile(out, draw("$ "+strings.Join(command, " "), lines), 0o644)
}

// line is a printed line, and how long after the first one it came.
type line struct {
	text string
	at   time.Duration
}

func read(r io.Reader, now func() time.Time) (lines []line, err error) {
	var first time.Time
	for scan := bufio.NewScanner(r); ; {
		if !scan.Scan() {
			return lines, scan.Err()
		}
		t := now()
		if first.IsZero() {
			first = t
		}
		lines = append(lines, line{scan.Text(), t.Sub(first)})
	}
}

// pace makes pauses between lines neither longer than longest nor shorter than least.
func pace(lines []line, longest, least time.Duration) {
	var before, drawn time.Duration
	for i := range lines {
		pause := lines[i].at - before
		before = lines[i].at
		if i > 0 {
			drawn += max(least, min(pause, longest))
		}
		lines[i].at = drawn
	}
}

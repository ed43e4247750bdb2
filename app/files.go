package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
)

// CheckWorker reads every file that a worker's configuration names. Like the other
// checks here it connects to nothing.
func CheckWorker(c Config) error {
	_, err := NewWorker(c, slog.New(slog.DiscardHandler))
	return err
}

// CheckGate does the same for a gate, and checks that it can save its state. A gate that
// starts does not ask for that: it answers with a full disk, too.
func CheckGate(c Config) error {
	if _, err := NewGate(c, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if err := writable(c.Gate.Lookup.State); err != nil {
		return &Misconfigured{fmt.Errorf("gate.state: nothing can be saved there: %w; name a directory that this user may write, with room left", err)}
	}
	return nil
}

// writable writes to a directory and removes it again; "" is none.
func writable(dir string) error {
	if dir == "" {
		return nil
	}
	f, err := os.CreateTemp(dir, ".weir-check-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("a check")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// CheckMigrate does the same for commands that create topics and tables.
func CheckMigrate(c Config) error {
	_, topics := kafka.New(c.Kafka, slog.New(slog.DiscardHandler))
	_, tables := clickhouse.Open(c.ClickHouse)
	return errors.Join(topics, tables)
}

// mounted lists the directories in which orchestrators mount secrets, which no
// other user of the machine can read.
var mounted = []string{"/run/secrets/", "/var/run/secrets/"}

// LooseFiles lists secret files that a program uses and others than their owner may
// read, with the fix. A file that others may write is an error: they could choose the secret.
func (c *Config) LooseFiles(uses settings.Selection) (warnings []string, err error) {
	var errs []error
	for _, s := range uses.Of(c) {
		path := s.String()
		if path == "" || !holdsSecret(s.Name) || isMounted(path) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue // reported when the file is read
		}
		mend := fmt.Sprintf("(mode %04o); mend it with `chmod 600 %s`", info.Mode().Perm(), path)
		switch mode := info.Mode().Perm(); {
		case mode&0o002 != 0:
			errs = append(errs, fmt.Errorf("%s: everybody on this machine may write %s %s", s.Name, path, mend))
		case mode&0o004 != 0:
			warnings = append(warnings, fmt.Sprintf("%s: everybody on this machine may read %s %s", s.Name, path, mend))
		case mode&0o020 != 0:
			warnings = append(warnings, fmt.Sprintf("%s: a group may write %s %s", s.Name, path, mend))
		}
	}
	return warnings, errors.Join(errs...)
}

// holdsSecret reports whether a setting names a file with a secret.
func holdsSecret(name string) bool {
	file, ok := strings.CutSuffix(name, "_file")
	return ok && (strings.HasSuffix(file, "secret") || strings.HasSuffix(file, "password") || strings.HasSuffix(file, "key"))
}

func isMounted(path string) bool {
	for _, m := range mounted {
		if strings.HasPrefix(path, m) {
			return true
		}
	}
	return false
}

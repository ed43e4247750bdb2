package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/canary"
	"github.com/weirdev/weir/app/cli"
)

func TestTheCanarySaysWhatItPlays(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a list", []string{"-list", "-longest", "10s"}, 0, "sequence             fast-takeover-account: "},
		{"one detector", []string{"-list", "-longest", "10s", "-detector", "drift"}, 0, "drift                not played: the shortest attack"},
		{"a detector that does not exist", []string{"-list", "-longest", "10s", "-detector", "drifft"}, cli.Usage, "no rule has this detector"},
		{"another format", []string{"-list", "-ingest.format", "combined"}, cli.Usage, "the canary writes events in the format weir"},
		{"an address that is none", []string{"-list", "-from", "here"}, cli.Usage, "-from: "},
		{"too often", []string{"-every", "1ms"}, cli.Usage, "at least 1s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := command()
			cmd.SetOut(&stdout)
			cmd.SetErr(&stderr)
			if code := cli.Main(cmd, append([]string{"canary"}, tc.args...), &stderr); code != tc.code || !strings.Contains(stdout.String()+stderr.String(), tc.says) {
				t.Errorf("%d\n%s%s", code, stdout.String(), stderr.String())
			}
		})
	}
}

func TestTheEndOfARunOfTheCanary(t *testing.T) {
	a := &canary.Attack{Detector: "sequence", Rule: "fast"}
	left := &canary.Attack{Detector: "drift", Why: "it takes long"}
	for name, tc := range map[string]struct {
		all   []canary.Outcome
		says  string
		fails bool
	}{
		"caught":             {[]canary.Outcome{{Attack: a, Caught: true, After: 250 * time.Millisecond}, {Attack: left}}, "caught by fast after 250ms", false},
		"missed":             {[]canary.Outcome{{Attack: a}}, "MISSED: fast gave no signal within 30s", true},
		"failed":             {[]canary.Outcome{{Attack: a, Err: errors.New("no Kafka")}}, "failed: no Kafka", true},
		"nothing was played": {[]canary.Outcome{{Attack: left}}, "not played: it takes long", true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := reportOnce(&out, tc.all, 30*time.Second); (err != nil) != tc.fails || !strings.Contains(out.String(), tc.says) {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

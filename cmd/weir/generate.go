package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/population"
)

func generateCommand() *cobra.Command {
	var (
		n        = 10_000
		seed     = uint64(1)
		people   = 3000
		rate     = 300.0
		campaign = "credential_stuffing"
		from     = "2026-01-01T00:00:00Z"
	)
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write invented events, one JSON object a line",
		Long: `generate writes the traffic of invented people, and of one attack on them, to the
standard output: the same events for the same seed. It is what 'weir demo' sends.`,
		Example: `  weir generate -n 100000 > events.jsonl
  weir demo -format weir -input events.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start, err := time.Parse(time.RFC3339, from)
			if err != nil {
				return cli.UsageError(fmt.Errorf("-from: %w", err))
			}
			if n < 1 || people < 100 || rate <= 0 {
				return cli.UsageError(fmt.Errorf("-n %d, -people %d, -rate %v: at least 1, 100 and more than 0 are needed", n, people, rate))
			}
			p := population.New(population.Config{Seed: seed, People: people, Rate: rate, Start: start.UnixMilli(), Run: fmt.Sprintf("g%d", seed)})
			if campaign != "" {
				if !strings.Contains(" "+strings.Join(population.Kinds(), " ")+" ", " "+campaign+" ") {
					return cli.UsageError(fmt.Errorf("-campaign %q: one of %s, or empty", campaign, strings.Join(population.Kinds(), ", ")))
				}
				p.Launch(population.Campaign{Kind: campaign, Start: start.Add(10 * time.Second).UnixMilli(), Duration: 10 * time.Minute, Addresses: 8, Rate: 32})
			}
			out := bufio.NewWriterSize(cmd.OutOrStdout(), 1<<20)
			var line []byte
			var failed error
			for at, left := start.UnixMilli(), n; left > 0 && failed == nil && cmd.Context().Err() == nil; {
				at += 100
				p.Until(at, func(e *event.Event, _ int) {
					if left > 0 && failed == nil {
						line = append(e.AppendJSON(line[:0]), '\n')
						_, failed = out.Write(line)
						left--
					}
				})
			}
			if failed != nil {
				return failed
			}
			return out.Flush()
		},
	}
	f := cmd.Flags()
	f.IntVar(&n, "n", n, "number of events")
	f.Uint64Var(&seed, "seed", seed, "seed of the invented world")
	f.IntVar(&people, "people", people, "people who use the app")
	f.Float64Var(&rate, "rate", rate, "innocent events a second, in the events' time")
	f.StringVar(&campaign, "campaign", campaign, "attack among them; empty: none")
	f.StringVar(&from, "from", from, "time of the first event, RFC 3339")
	return cmd
}

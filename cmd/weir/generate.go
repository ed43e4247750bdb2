package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/geo/geowriter"
)

func generateCommand() *cobra.Command {
	g := &generating{shape: newShape()}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write invented events, one JSON object a line, and the truth about them",
		Long: `generate writes the traffic of invented people who use the apps of three tenants, and
of campaigns against them: the same events for the same flags. Households, carriers'
networks, offices, commuters, flights, VPNs, shared tablets, replaced phones, bad
connections, support staff and newcomers are among the people; outages, releases, a
broken one and a marketing push are among what happens. docs/evaluation.md has all.

Campaigns are of a kind (-kinds) and a variant (-variants): slow or fast, from a single
source or distributed, careless or careful; -each says how many of every kind and
variant. They begin after a quarter of the time, at most six hours. -list names them.

-truth writes who is who: one JSON object a line, with an entity, its role (attacker,
victim, shared, group, incident, innocent), the campaign, its kind and variant, and
from when to when. -geo writes databases that know where the invented addresses are,
for -geo.city and the like of other commands.`,
		Example: `  weir generate -n 100000 > events.jsonl
  weir generate -days 2 -rate 12 -seed 7 -out events.jsonl -truth truth.jsonl -geo ./geo
  weir generate -kinds scraping,replay -variants slow-single-careful -each 5 -out few.jsonl -truth few-truth.jsonl
  weir evaluate -events events.jsonl -truth truth.jsonl -geo.city ./geo/city.mmdb
  weir demo -format weir -input events.jsonl`,
		Args: cobra.NoArgs,
		RunE: g.run,
	}
	f := cmd.Flags()
	g.shape.flags(f)
	f.IntVar(&g.most, "n", 0, "end after so many events; 0: when the time is over")
	f.StringVar(&g.out, "out", "-", "`file` of the events; -: standard output")
	f.StringVar(&g.truth, "truth", "", "`file` of the truth; empty: none")
	f.StringVar(&g.geo, "geo", "", "`directory` for databases of the invented addresses; empty: none")
	f.BoolVar(&g.list, "list", false, "list the kinds and variants of campaigns, and end")
	return cmd
}

// shape holds the flags about generated traffic.
type shape struct {
	traffic.Config
	days float64
	from string
	calm bool
}

func newShape() *shape {
	c := traffic.Defaults()
	return &shape{Config: c, days: 1, from: time.UnixMilli(c.Start).UTC().Format(time.RFC3339)}
}

func (s *shape) flags(f *pflag.FlagSet) {
	f.Uint64Var(&s.Seed, "seed", s.Seed, "seed of the invented world")
	f.Float64Var(&s.days, "days", s.days, "days of traffic, in the events' time")
	f.Float64Var(&s.Rate, "rate", s.Rate, "innocent events a second, the mean over a week; as many people as that takes")
	f.StringVar(&s.from, "from", s.from, "time of the first event, RFC 3339")
	f.StringSliceVar(&s.Kinds, "kinds", nil, "kinds of campaigns; empty: all")
	f.StringSliceVar(&s.Variants, "variants", nil, "variants of campaigns; empty: all")
	f.IntVar(&s.Each, "each", s.Each, "campaigns of every kind and variant; 0: none at all")
	f.BoolVar(&s.calm, "calm", false, "without outages, releases and a marketing push")
}

// config combines the flags.
func (s *shape) config() (traffic.Config, error) {
	c := s.Config
	start, err := time.Parse(time.RFC3339, s.from)
	if err != nil {
		return c, cli.UsageError(fmt.Errorf("-from: %w", err))
	}
	c.Start, c.Duration = start.UnixMilli(), time.Duration(s.days*24*float64(time.Hour))
	c.Run, c.Incidents = fmt.Sprintf("g%d", c.Seed), !s.calm
	if err := c.Validate(); err != nil {
		return c, cli.UsageError(err)
	}
	return c, nil
}

// generating is a run of generate.
type generating struct {
	shape           *shape
	most            int
	out, truth, geo string
	list            bool
}

// errEnough ends the traffic after enough events.
var errEnough = errors.New("enough events")

func (g *generating) run(cmd *cobra.Command, _ []string) (err error) {
	if g.list {
		return listCampaigns(cmd.OutOrStdout())
	}
	if g.most < 0 {
		return cli.UsageError(fmt.Errorf("-n %d: a number of events, or 0 for all", g.most))
	}
	c, err := g.shape.config()
	if err != nil {
		return err
	}
	if g.geo != "" {
		if err := os.MkdirAll(g.geo, 0o700); err != nil {
			return fmt.Errorf("-geo: %w", err)
		}
		if _, err := geowriter.Write(g.geo, traffic.NewPlaces().Networks()); err != nil {
			return fmt.Errorf("-geo: %w", err)
		}
	}
	var truth *traffic.Truth
	err = writeFile(cmd, "-out", g.out, func(out io.Writer) error {
		truth, err = g.write(cmd, c, out)
		return err
	})
	if err != nil || g.truth == "" {
		return err
	}
	return writeFile(cmd, "-truth", g.truth, truth.Write)
}

// write writes the events.
func (g *generating) write(cmd *cobra.Command, c traffic.Config, to io.Writer) (*traffic.Truth, error) {
	out := bufio.NewWriterSize(to, 1<<20)
	var line []byte
	n := 0
	truth, err := traffic.Run(c, func(e *event.Event, _ int) error {
		line = append(e.AppendJSON(line[:0]), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
		if n++; n == g.most {
			return errEnough
		}
		return cmd.Context().Err()
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return truth, out.Flush()
}

// writeFile writes a file with write; - means standard output.
func writeFile(cmd *cobra.Command, flag, path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(cmd.OutOrStdout())
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("%s: %w", flag, err)
	}
	return f.Close()
}

func listCampaigns(to io.Writer) error {
	out := bufio.NewWriter(to)
	fmt.Fprintln(out, "kinds (-kinds):")
	for _, k := range traffic.Kinds() {
		fmt.Fprintf(out, "  %-20s %s\n", k, traffic.Describe(k))
	}
	fmt.Fprintf(out, "variants (-variants):\n  %s\n", strings.Join(traffic.Variants(), "\n  "))
	return out.Flush()
}

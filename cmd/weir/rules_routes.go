package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/event/route"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

func rulesRoutesCommand() *cobra.Command {
	x := &routing{}
	cmd := &cobra.Command{
		Use: "routes [METHOD PATH]… [-events FILE]", Short: "Show the routes of requests and their classes, and which have none",
		Long: `routes shows the route that a request gets and its class, route_class in the
conditions of rules, from a method and a path, or of all events of a file. Where the
gateway sends routes of its own, name those as paths: the class is given for both.

With -events it counts the requests for each route. At the end stand the routes of
requests that write (POST, PUT, PATCH, DELETE) and have no class, the most frequent
first: rules about sign-ins, payments and the like do not see these. Give them a
class under the key routes of a file of rules, if they have a purpose that one names.

The settings of ingest (routes, a mapping) and the rules are those of -config and of
the flags. Nothing is stored, and no server is needed.`,
		Example: `  weir rules routes POST /en-GB/api/v2/identity/sessions PUT /drivers/me/bank-account
  weir rules routes -rules ./my-rules -events today.jsonl
  weir rules routes -events access.log.gz -format combined`,
	}
	x.config = cli.ConfigureSections(cmd, app.Defaults(), app.TrySettings()...)
	f := cmd.Flags()
	f.StringArrayVar(&x.events, "events", nil, "`file` of events, one record a line (.gz, too), or - for standard input; may be given more than once")
	f.StringVar(&x.format, "format", "", "format of the records: "+strings.Join(format.Names(), ", ")+"; empty: that of the configuration, which is weir where it says nothing")
	cmd.RunE = x.run
	return cmd
}

// mostRoutes bounds the different methods and routes of events that are counted.
const mostRoutes = 10_000

// routing is a run of routes.
type routing struct {
	config *cli.Configured
	events []string
	format string

	counts       map[classedRoute]*int
	read, unread int // events and records that are none
	beyond       int // events whose routes are too many to be counted
}

// classedRoute is what is counted: one route may have two classes, by the grant.
type classedRoute struct{ class, method, route string }

func (x *routing) run(cmd *cobra.Command, args []string) error {
	if err := x.config.Read(cmd); err != nil {
		return err
	}
	if len(args)%2 != 0 || len(args) == 0 && len(x.events) == 0 {
		return cli.UsageError(errors.New("name a method and a path, such as POST /v1/login, or a file with -events"))
	}
	cfg, places, err := replaying(x.config, x.format)
	if err != nil {
		return err
	}
	set, problems, err := loadRules([]string{cmp.Or(cfg.Rules, builtIn)})
	switch {
	case problems != nil:
		return findings(problems)
	case err != nil:
		return err
	}
	out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	if err := showRoutes(out, cfg.Ingest.Routes, set, args); err != nil {
		return err
	}
	if len(x.events) > 0 {
		reader, err := ingest.NewReader(cfg.Ingest, places)
		if err != nil {
			return err
		}
		if err := x.count(cmd, reader, set); err != nil {
			return err
		}
		x.write(out)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the routes: %w", err)
	}
	if len(x.events) > 0 && x.read == 0 {
		return &cli.Error{Code: cli.Failed, Err: errors.New("no record is an event with a route; weir try shows what each line lacks")}
	}
	return nil
}

// showRoutes writes the route and class of each method and path.
func showRoutes(out io.Writer, templates []string, set *rules.Set, args []string) error {
	table, err := route.New(templates)
	if err != nil {
		return cli.UsageError(fmt.Errorf("routes: %w", err))
	}
	if len(args) > 0 {
		fmt.Fprintln(out, "method\tpath\troute\tclass\tclass, if the gateway gives the path as route")
	}
	for i := 0; i < len(args); i += 2 {
		method, path := strings.ToUpper(args[i]), args[i+1]
		derived := table.Route(method, path)
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", method, path, derived, classOf(set, method, derived), classOf(set, method, path))
	}
	return nil
}

// classOf returns the class of a request without other fields; - for none.
func classOf(set *rules.Set, method, route string) string {
	e := new(event.Event)
	e.SetText(event.Method, method)
	e.SetText(event.Route, route)
	return cmp.Or(set.RouteClass(e), "-")
}

// count reads the events.
func (x *routing) count(cmd *cobra.Command, reader *ingest.Reader, set *rules.Set) error {
	x.counts = map[classedRoute]*int{}
	e, n := new(event.Event), int64(0)
	return try.Lines(x.events, cmd.InOrStdin(), func(line []byte) error {
		e.Reset()
		_, err := reader.Read(0, &kafka.Record{Offset: n, Value: line}, e)
		n++
		if err != nil || !e.Has(event.Route) {
			x.unread++
			return cmd.Context().Err()
		}
		x.read++
		r := classedRoute{set.RouteClass(e), e.Text(event.Method), e.Text(event.Route)}
		count := x.counts[r]
		if count == nil && len(x.counts) == mostRoutes {
			count = &x.beyond
		} else if count == nil {
			count = new(int)
			x.counts[classedRoute{r.class, strings.Clone(r.method), strings.Clone(r.route)}] = count // they are the reader's
		}
		*count++
		return cmd.Context().Err()
	})
}

// write shows the routes with a class, and those that write and have none.
func (x *routing) write(out io.Writer) {
	var classed, bare []classedRoute
	for r := range x.counts {
		switch {
		case r.class != "":
			classed = append(classed, r)
		case slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, r.method):
			bare = append(bare, r)
		}
	}
	often := func(a, b classedRoute) int {
		return cmp.Or(*x.counts[b]-*x.counts[a], strings.Compare(a.route, b.route), strings.Compare(a.method, b.method), strings.Compare(a.class, b.class))
	}
	slices.SortFunc(classed, func(a, b classedRoute) int { return cmp.Or(strings.Compare(a.class, b.class), often(a, b)) })
	slices.SortFunc(bare, often)
	fmt.Fprintf(out, "%d events with a route, %d records without\n\nclass\tevents\tmethod\troute\n", x.read, x.unread)
	for _, r := range classed {
		fmt.Fprintf(out, "%s\t%d\t%s\t%s\n", r.class, *x.counts[r], r.method, r.route)
	}
	fmt.Fprintf(out, "\nRequests that write, and have no class:\n\nevents\tmethod\troute\n")
	for _, r := range bare {
		fmt.Fprintf(out, "%d\t%s\t%s\n", *x.counts[r], r.method, r.route)
	}
	if x.beyond > 0 {
		fmt.Fprintf(out, "\n%d events have other routes: only %d are counted. Routes that hold identifiers need templates (ingest.routes).\n", x.beyond, mostRoutes)
	}
}

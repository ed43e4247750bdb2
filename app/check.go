package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// Finding is one problem in the setup of the servers.
type Finding struct {
	Subject string // topic weir.facets
	Setting string // cleanup.policy; empty if the finding is not about a setting
	Problem string
	Fix     string
	Refuse  bool // a worker must not run on it: the promise would be broken
}

// String returns one line with the problem, the consequence and the fix.
func (f Finding) String() string {
	severity := "warning"
	if f.Refuse {
		severity = "error"
	}
	return severity + ": " + f.text()
}

func (f Finding) text() string {
	text := f.Subject + ": " + f.Problem
	if f.Fix != "" {
		text += "; " + f.Fix
	}
	return text
}

// refusals joins the findings that keep a worker from running; nil if there are
// none.
func refusals(all []Finding) error {
	var errs []error
	for _, f := range all {
		if f.Refuse {
			errs = append(errs, errors.New(f.String()))
		}
	}
	return errors.Join(errs...)
}

// logWarnings logs the findings that a worker may run with. The others are errors
// anyway.
func logWarnings(log *slog.Logger, all []Finding) {
	for _, f := range all {
		if !f.Refuse {
			log.Warn(f.Problem, "subject", f.Subject, "fix", f.Fix) //nolint:sloglint // a finding is a sentence
		}
	}
}

// shortestRawRetention is the minimum retention of raw events: a shorter outage of
// detection loses nothing.
const shortestRawRetention = time.Hour

// Upper bounds for the bytes of one frame of facets, and of one signal, or the
// headers of a dead letter.
const (
	largestFrame  = 1 << 20
	largestSignal = 64 << 10
)

// checker collects findings about one stream.
type checker struct {
	stream StreamConfig
	kafka  kafka.Config
	// facetRetention is how long facets must be kept, for a state that is rebuilt
	// from a snapshot; 0: for ever, because there are no snapshots.
	facetRetention time.Duration
	topics         map[string]*kafka.TopicSpec // by what they hold; missing: not there
	found          []Finding
}

// checkStream checks a stream's topics in Kafka. It returns an error only if Kafka
// does not answer.
func checkStream(ctx context.Context, log *kafka.Client, cfg Config, facetRetention time.Duration) ([]Finding, error) {
	c := &checker{stream: cfg.Stream, kafka: cfg.Kafka, facetRetention: facetRetention, topics: map[string]*kafka.TopicSpec{}}
	if err := log.Preflight(ctx); errors.Is(err, kafka.ErrUnsupported) {
		c.refuse("kafka", "", err.Error(), "use a broker that does")
		return c.found, nil
	} else if err != nil {
		return nil, err
	}
	if err := c.describe(ctx, log); err != nil {
		return nil, err
	}
	c.checkEvents()
	c.checkFacets()
	c.checkControls()
	c.checkRules()
	c.checkIncarnations()
	for _, what := range streamTopics {
		if c.topics[what] != nil {
			c.checkWritable(what)
		}
	}
	if err := c.checkIncarnation(ctx, log); err != nil {
		return nil, err
	}
	if err := c.checkPushed(ctx, log); err != nil {
		return nil, err
	}
	return c.found, nil
}

// streamTopics are the names of a stream's topics.
var streamTopics = []string{"events", "facets", "dead", "signals", "decisions", "controls", "rules", "incarnations"}

func (c *checker) name(what string) string { return "topic " + c.stream.Topic(what) }

func (c *checker) refuse(subject, setting, problem, fix string) {
	c.found = append(c.found, Finding{subject, setting, problem, fix, true})
}

func (c *checker) warn(subject, setting, problem, fix string) {
	c.found = append(c.found, Finding{subject, setting, problem, fix, false})
}

// describe describes all topics at once, because each missing one costs a wait.
func (c *checker) describe(ctx context.Context, log *kafka.Client) error {
	specs, errs := make([]kafka.TopicSpec, len(streamTopics)), make([]error, len(streamTopics))
	var g errgroup.Group
	for i, what := range streamTopics {
		g.Go(func() error {
			specs[i], errs[i] = log.Describe(ctx, c.stream.Topic(what))
			return nil
		})
	}
	_ = g.Wait() // each has its error in errs
	for i, what := range streamTopics {
		switch err := errs[i]; {
		case errors.Is(err, kafka.ErrUnknownTopic):
			c.refuse(c.name(what), "", "does not exist", "`weir migrate` makes it")
		case errors.Is(err, kafka.ErrDenied):
			c.warn(c.name(what), "", "its settings may not be read, and are not checked", "allow Describe and DescribeConfigs on it")
		case err != nil:
			return err
		default:
			c.topics[what] = &specs[i]
		}
	}
	return nil
}

// setFix returns the command that changes a topic's setting.
func (c *checker) setFix(what, setting, value string) string {
	broker := "KAFKA"
	if len(c.kafka.Brokers) > 0 {
		broker = c.kafka.Brokers[0]
	}
	return fmt.Sprintf("set it: kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config %s=%s", broker, c.stream.Topic(what), setting, value)
}

func (c *checker) checkEvents() {
	t := c.topics["events"]
	if t == nil {
		return
	}
	c.checkDeletes("events", "raw events would vanish unread")
	if kept, limited := milliseconds(t.Config["retention.ms"]); limited && kept < shortestRawRetention {
		c.refuse(c.name("events"), "retention.ms", fmt.Sprintf("keeps events for %v: an outage of that length loses events", kept),
			c.setFix("events", "retention.ms", "604800000"))
	}
	c.warnBytes("events")
	if v := t.Config["message.timestamp.type"]; v != "" && v != "LogAppendTime" {
		c.warn(c.name("events"), "message.timestamp.type", "is "+v+": a gateway whose clock is ahead keeps the topic from being cleaned",
			c.setFix("events", "message.timestamp.type", "LogAppendTime"))
	}
}

func (c *checker) checkFacets() {
	t := c.topics["facets"]
	if t == nil {
		return
	}
	c.checkDeletes("facets", "state could not be rebuilt")
	kept, limited := milliseconds(t.Config["retention.ms"])
	switch {
	case limited && c.facetRetention == 0:
		c.refuse(c.name("facets"), "retention.ms", fmt.Sprintf("keeps facets for %v: without snapshots, state is rebuilt from the whole log", kept),
			c.setFix("facets", "retention.ms", "-1"))
	case limited && kept < c.facetRetention:
		c.refuse(c.name("facets"), "retention.ms", fmt.Sprintf("keeps facets for %v: state is rebuilt from a snapshot and what follows, which needs %v", kept, c.facetRetention),
			c.setFix("facets", "retention.ms", strconv.FormatInt(c.facetRetention.Milliseconds(), 10)))
	}
	if _, limited := bytesOf(t.Config["retention.bytes"]); limited && c.facetRetention == 0 {
		c.refuse(c.name("facets"), "retention.bytes", "is limited: without snapshots, state is rebuilt from the whole log",
			c.setFix("facets", "retention.bytes", "-1"))
	} else {
		c.warnBytes("facets")
	}
}

// checkControls: control records are one source of the state.
func (c *checker) checkControls() {
	t := c.topics["controls"]
	if t == nil {
		return
	}
	c.checkDeletes("controls", "labels and releases would vanish unread")
	if t.Partitions != 1 {
		c.refuse(c.name("controls"), "", fmt.Sprintf("has %d partitions: what is said about one entity could be read out of order", t.Partitions),
			"delete it, and `weir migrate` makes it with one")
	}
	if kept, limited := milliseconds(t.Config["retention.ms"]); limited && kept < shortestRawRetention {
		c.refuse(c.name("controls"), "retention.ms", fmt.Sprintf("keeps control records for %v: an outage of that length loses some", kept),
			c.setFix("controls", "retention.ms", "604800000"))
	}
}

// checkRules: pushes are numbered by their offsets.
func (c *checker) checkRules() {
	t := c.topics["rules"]
	if t == nil {
		return
	}
	c.checkDeletes("rules", "rules that were pushed would be forgotten")
	if t.Partitions != 1 {
		c.refuse(c.name("rules"), "", fmt.Sprintf("has %d partitions: rules that were pushed would have no order", t.Partitions),
			"delete it, and `weir migrate` makes it with one")
	}
	if kept, limited := milliseconds(t.Config["retention.ms"]); limited {
		c.refuse(c.name("rules"), "retention.ms", fmt.Sprintf("forgets after %v which rules are in force", kept), c.setFix("rules", "retention.ms", "-1"))
	}
	if _, limited := bytesOf(t.Config["retention.bytes"]); limited {
		c.refuse(c.name("rules"), "retention.bytes", "is limited: it would forget which rules are in force", c.setFix("rules", "retention.bytes", "-1"))
	}
}

func (c *checker) checkIncarnations() {
	t := c.topics["incarnations"]
	if t == nil {
		return
	}
	c.checkDeletes("incarnations", "what the stream began with would be forgotten")
	if kept, limited := milliseconds(t.Config["retention.ms"]); limited {
		c.refuse(c.name("incarnations"), "retention.ms", fmt.Sprintf("forgets after %v what the stream began with", kept), c.setFix("incarnations", "retention.ms", "-1"))
	}
}

// checkDeletes refuses a topic that deletes records because others have the same
// key.
func (c *checker) checkDeletes(what, consequence string) {
	if v := c.topics[what].Config["cleanup.policy"]; strings.Contains(v, "compact") {
		c.refuse(c.name(what), "cleanup.policy", "is compacted (cleanup.policy="+v+"): "+consequence, c.setFix(what, "cleanup.policy", "delete"))
	}
}

func (c *checker) warnBytes(what string) {
	if n, limited := bytesOf(c.topics[what].Config["retention.bytes"]); limited {
		c.warn(c.name(what), "retention.bytes", fmt.Sprintf("keeps %d bytes of a partition, however short a time they last", n),
			c.setFix(what, "retention.bytes", "-1"))
	}
}

// checkWritable checks the settings that decide whether an acknowledged write is
// safe, and whether writes are possible.
func (c *checker) checkWritable(what string) {
	t := c.topics[what]
	insync, err := strconv.Atoi(t.Config["min.insync.replicas"])
	switch {
	case err != nil: // the broker does not say
	case insync > t.Replication:
		c.refuse(c.name(what), "min.insync.replicas", fmt.Sprintf("has %d replicas, and takes writes only with %d in sync: it cannot be written at all", t.Replication, insync),
			c.setFix(what, "min.insync.replicas", strconv.Itoa(insyncFor(t.Replication))))
	case t.Replication >= 3 && insync < 2:
		c.refuse(c.name(what), "min.insync.replicas", fmt.Sprintf("has %d replicas, and acknowledges what only one has: a broker that is lost takes it along", t.Replication),
			c.setFix(what, "min.insync.replicas", strconv.Itoa(insyncFor(t.Replication))))
	}
	if t.Config["unclean.leader.election.enable"] == "true" && t.Replication > 1 {
		c.refuse(c.name(what), "unclean.leader.election.enable", "may be led by a replica that lacks acknowledged records",
			c.setFix(what, "unclean.leader.election.enable", "false"))
	}
	need := c.largestBatch(what)
	if n, limited := bytesOf(t.Config["max.message.bytes"]); limited && n < need {
		c.refuse(c.name(what), "max.message.bytes", fmt.Sprintf("takes batches of %d bytes, and ones of %d may be written: what it refuses stops a partition", n, need),
			c.setFix(what, "max.message.bytes", strconv.FormatInt(max(8<<20, need), 10)))
	}
}

// largestBatch returns the size of the largest batch that is written to a topic:
// filled to kafka.batch_bytes, plus one record. A dead letter holds at most
// [ingest.MaxLetterBytes] of its record.
func (c *checker) largestBatch(what string) int64 {
	batch := int64(c.kafka.BatchBytes)
	switch what {
	case "facets":
		return batch + largestFrame
	case "signals":
		return batch + largestSignal
	case "decisions":
		return batch + decision.MaxBytes
	case "controls":
		return control.MaxBytes
	case "rules":
		return push.MaxBytes
	case "dead":
		return max(batch, ingest.MaxLetterBytes) + largestSignal
	}
	return 0 // written by gateways, who see it; or hardly anything
}

// checkIncarnation compares the topics and the secret with those at the start of
// the incarnation.
func (c *checker) checkIncarnation(ctx context.Context, log *kafka.Client) error {
	events, facets := c.topics["events"], c.topics["facets"]
	if events == nil || facets == nil || c.topics["incarnations"] == nil {
		return nil // already reported
	}
	is, err := c.stream.incarnation(events.Partitions, facets.Partitions)
	if err != nil {
		return err
	}
	was, ok, err := recorded(ctx, log, c.stream.Topic("incarnations"), c.stream.Incarnation)
	if err != nil {
		return err
	}
	if !ok {
		c.refuse("stream "+c.stream.Name, "", fmt.Sprintf("has no incarnation %d", c.stream.Incarnation),
			"`weir migrate` begins it, with the same stream.incarnation and secret")
		return nil
	}
	c.compare(was, is)
	return nil
}

// compare refuses a stream whose properties have changed.
func (c *checker) compare(was, is Incarnation) {
	next := fmt.Sprintf("begin a new one: topics made anew, stream.incarnation %d, and `weir migrate`", c.stream.Incarnation+1)
	if was.FacetPartitions != is.FacetPartitions {
		c.refuse(c.name("facets"), "", fmt.Sprintf("has %d partitions, and had %d when incarnation %d began: entities would move away from their state",
			is.FacetPartitions, was.FacetPartitions, is.Number), next)
	}
	if was.EventPartitions != is.EventPartitions {
		c.refuse(c.name("events"), "", fmt.Sprintf("has %d partitions, and had %d when incarnation %d began: the sources of the state are other ones",
			is.EventPartitions, was.EventPartitions, is.Number), next)
	}
	if was.Hash != is.Hash {
		c.refuse("stream.secret", "", fmt.Sprintf("is not the one that incarnation %d began with: every entity would be another one", is.Number),
			"use the same secret for all programs of the stream; or "+next)
	}
}

// milliseconds reads a retention; limited is false if it is unlimited, or unknown.
func milliseconds(text string) (d time.Duration, limited bool) {
	ms, limited := bytesOf(text)
	return time.Duration(min(ms, int64(1<<63-1)/int64(time.Millisecond))) * time.Millisecond, limited
}

// bytesOf reads a limit; limited is false if there is none, or it is unknown.
func bytesOf(text string) (n int64, limited bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}

package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// checkPushed looks for pushes that some facet partitions have and others not, and for
// rules in force that the topic of rules no longer holds.
func (c *checker) checkPushed(ctx context.Context, log *kafka.Client) error {
	if c.topics["rules"] == nil || c.topics["facets"] == nil {
		return nil // already reported, or not to be read
	}
	pusher := NewPusher(c.stream, log, nil)
	has, err := pusher.Applied(ctx) // first, since somebody may push meanwhile
	var h *push.History
	if err == nil {
		h, err = pusher.History(ctx)
	}
	if errors.Is(err, push.ErrLater) {
		c.refuse(c.name("rules"), "", err.Error(), "upgrade this program")
		return nil
	}
	if errors.Is(err, kafka.ErrDenied) {
		c.warn(c.name("rules"), "", "what was pushed may not be read, and is not checked",
			fmt.Sprintf("allow Read on it, and Describe on the group %s", c.stream.Group("detect")))
		return nil
	} else if err != nil {
		return err
	}
	for _, lane := range []facet.Lane{facet.Live, facet.Shadow} {
		if p := h.Unfinished(lane); p != nil {
			c.warn(c.name("rules"), "", fmt.Sprintf("push %d of %s to the %s lane is unfinished: some facet partitions may have its rules, and others not", p.Number, p.Who, lane),
				fmt.Sprintf("if nobody is pushing now, finish it: weir rules push %s", again(p)))
		}
		c.checkHeld(h, lane, has)
		c.checkVersion(h.InForce(lane))
	}
	return nil
}

// checkVersion warns of rules in force of which this program computes another version: a
// partition that reads their switch record again stops.
func (c *checker) checkVersion(p *push.Push) {
	if p == nil || p.Version == "" {
		return
	}
	set, err := rules.OpenBundle(p.Bundle, detectors.All())
	is := "which this program cannot load"
	if err == nil {
		is = fmt.Sprintf("which have version %s in this program", set.Version)
	}
	if err != nil || set.Version != p.Version {
		c.warn(c.name("rules"), "", fmt.Sprintf("push %d of %s to the %s lane has rules of version %s, %s: a partition that reads their switch record again, without a snapshot from after it, stops", p.Number, p.Who, p.Lane, p.Version, is),
			"keep the program that pushed them until every partition has a snapshot that this one reads (SIGTERM writes one), then push the rules again")
	}
}

// again returns the arguments of weir rules push that push p again.
func again(p *push.Push) string {
	switch {
	case p.Lane != facet.Shadow:
		return fmt.Sprintf("-number %d", p.Number)
	case p.Version == "":
		return "-shadow -none"
	}
	return fmt.Sprintf("-shadow -number %d", p.Number)
}

// checkHeld: ingest gives facets the fields of the pushes that the topic holds. Rules in
// force that it has lost would read fields that are missing. A later proposal mends that.
func (c *checker) checkHeld(h *push.History, lane facet.Lane, has []push.Applied) {
	for partition, a := range has {
		n := a.Number(lane)
		if n == 0 || h.Find(n) != nil || h.Proposed(lane) > n {
			continue
		}
		c.warn(c.name("rules"), "", fmt.Sprintf("facet partition %d has %s rules of push %d, which the topic does not hold: facets lack the fields that only they read", partition, lane, n),
			"push the rules again, if the topic has lost its beginning; else restore it, or begin a new incarnation, if it was made anew")
		return
	}
}

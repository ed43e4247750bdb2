package kafka

import (
	"context"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// groupDialer opens the connections of one consumer group, and can cut them. The
// library waits for the response to a join until the last member has joined or
// counts as dead, and cannot be interrupted in any other way.
type groupDialer struct {
	c     *Client
	open  context.Context // ends with the first cut: from then on there are no more connections
	close context.CancelFunc
	mu    sync.Mutex
	conns map[*groupConn]struct{}
}

func newGroupDialer(c *Client) *groupDialer {
	d := &groupDialer{c: c, conns: map[*groupConn]struct{}{}}
	d.open, d.close = context.WithCancel(context.Background())
	return d
}

func (d *groupDialer) dialer() *kafkago.Dialer {
	return &kafkago.Dialer{
		ClientID: d.c.memberName(), Timeout: d.c.cfg.DialTimeout, DialFunc: d.dial,
		SASLMechanism: d.c.mechanism,
	}
}

func (d *groupDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.open, cancel)()
	raw, err := d.c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &groupConn{Conn: raw, d: d}
	d.mu.Lock()
	d.conns[conn] = struct{}{}
	d.mu.Unlock()
	return conn, nil
}

func (d *groupDialer) cut() {
	d.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		_ = c.Conn.Close() // its user gets the error
	}
}

// leaveTime is the time limit for leaving a group, after which its connections are
// cut.
const leaveTime = 3 * time.Second

// closeGroup leaves the group and waits until the library has finished with it.
func (d *groupDialer) closeGroup(cg *kafkago.ConsumerGroup) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		_ = cg.Close() // never fails; a group that cannot be left runs into our time limit
	}()
	tick := time.NewTicker(leaveTime)
	defer tick.Stop()
	for {
		select {
		case <-left:
			d.close()
			return
		case <-tick.C:
			d.cut()
		}
	}
}

type groupConn struct {
	net.Conn
	d *groupDialer
}

// Close closes the connection and forgets it.
func (c *groupConn) Close() error {
	c.d.mu.Lock()
	delete(c.d.conns, c)
	c.d.mu.Unlock()
	return c.Conn.Close()
}

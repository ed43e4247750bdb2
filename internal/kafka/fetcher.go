package kafka

import (
	"context"
	"net"
	"strconv"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// fetcher keeps connections to brokers for fetches: one per fetch in progress,
// because a fetch that waits for new records holds its connection.
type fetcher struct {
	c *Client

	mu     sync.Mutex
	idle   map[string][]*fetchConn // by address, the latest last
	closed bool
}

func newFetcher(c *Client) *fetcher {
	return &fetcher{c: c, idle: map[string][]*fetchConn{}}
}

// fetch reads from the leader of a partition into b, from b.Next on.
func (f *fetcher) fetch(ctx context.Context, topic string, partition int32, size int, b *Batch) error {
	addr, err := f.leader(ctx, topic, partition)
	if err != nil {
		return err
	}
	conn, err := f.take(ctx, addr)
	if err != nil {
		return err
	}
	b.Asked = f.c.now()
	err = conn.fetch(ctx, topic, partition, size, b)
	f.put(conn)
	return err
}

// leader returns the address of a partition's leader.
func (f *fetcher) leader(ctx context.Context, topic string, partition int32) (string, error) {
	m, err := f.c.roundTrip(ctx, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return "", err
	}
	res := m.(*metadata.Response)
	t, err := oneTopic(res, topic)
	if err != nil {
		return "", err
	}
	for i := range t.Partitions {
		if t.Partitions[i].PartitionIndex != partition {
			continue
		}
		for j := range res.Brokers {
			if n := &res.Brokers[j]; n.NodeID == t.Partitions[i].LeaderID {
				return net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port))), nil
			}
		}
		return "", protocol.NewErrNoLeader(topic, partition)
	}
	return "", protocol.NewErrNoPartition(topic, partition)
}

func (f *fetcher) take(ctx context.Context, addr string) (*fetchConn, error) {
	f.mu.Lock()
	list := f.idle[addr]
	if n := len(list); n > 0 {
		conn := list[n-1]
		f.idle[addr] = list[:n-1]
		f.mu.Unlock()
		return conn, nil
	}
	f.mu.Unlock()
	return f.dial(ctx, addr)
}

// put keeps a connection for the next fetch, unless it broke.
func (f *fetcher) put(conn *fetchConn) {
	f.mu.Lock()
	keep := !conn.broken && !f.closed
	if keep {
		f.idle[conn.addr] = append(f.idle[conn.addr], conn)
	}
	f.mu.Unlock()
	if !keep {
		conn.close()
	}
}

func (f *fetcher) close() {
	f.mu.Lock()
	idle := f.idle
	f.idle, f.closed = nil, true
	f.mu.Unlock()
	for _, list := range idle {
		for _, conn := range list {
			conn.close()
		}
	}
}

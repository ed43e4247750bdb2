package geo

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// cache remembers results in a table in which each address has one place; the
// latest address takes it. A look-up in the databases costs some 20 times more, and
// most traffic comes from few addresses.
type cache struct {
	entries [cacheSize]atomic.Pointer[cached]
}

const cacheSize = 1 << 14

type cached struct {
	addr  netip.Addr
	place Place
}

// seed makes places unpredictable, so that nobody can displace others on purpose.
var seed = maphash.MakeSeed()

func (c *cache) at(a netip.Addr) *atomic.Pointer[cached] {
	return &c.entries[maphash.Comparable(seed, a)%cacheSize]
}

func (c *cache) get(a netip.Addr) *Place {
	if e := c.at(a).Load(); e != nil && e.addr == a {
		return &e.place
	}
	return nil
}

func (c *cache) put(a netip.Addr, p *Place) { c.at(a).Store(&cached{a, *p}) }

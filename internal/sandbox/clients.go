package sandbox

import (
	"net"
	"sync"
)

// clients tracks open connections.
type clients struct {
	mu   sync.Mutex
	open map[string]struct{} // by the client's address
}

func (c *clients) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	return &clientListener{l, c}, nil
}

// connected reports whether the connection of a client's address is open.
func (c *clients) connected(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.open[addr]
	return ok
}

type clientListener struct {
	net.Listener
	clients *clients
}

func (l *clientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	l.clients.open[conn.RemoteAddr().String()] = struct{}{}
	return &clientConn{Conn: conn, clients: l.clients}, nil
}

// clientConn is forgotten when either side closes it: the broker reads until it
// fails.
type clientConn struct {
	net.Conn
	clients *clients
}

func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.forget()
	}
	return n, err
}

func (c *clientConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (c *clientConn) forget() {
	c.clients.mu.Lock()
	defer c.clients.mu.Unlock()
	delete(c.clients.open, c.RemoteAddr().String())
}

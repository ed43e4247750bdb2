package servers

import (
	"net"
)

// Redis describes a redis-server at addr that keeps nothing on disk, so that a
// restart loses everything. args are added to its command line.
func Redis(addr, dir string, args ...string) (*Server, error) {
	path, err := lookPath("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	all := append([]string{"--bind", host, "--port", port, "--save", "", "--dir", dir}, args...)
	return New(addr, path, all...), nil
}

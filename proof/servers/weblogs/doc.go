// Package weblogs checks Weir's log formats against real web servers: it sends
// awkward requests byte by byte, and compares the servers' logs with what was sent.
// It contains only tests.
package weblogs

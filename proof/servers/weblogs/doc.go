// Package weblogs holds Weir's log formats against real web servers: awkward
// requests are sent byte by byte, and what the servers log of them is compared
// with what was sent. It has tests only.
package weblogs

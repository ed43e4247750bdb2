// Package gateways checks the configurations in docs/gateways against real gateways:
// each runs as documented, in front of a small API and beside a real gate. It
// contains only tests.
package gateways

// Package route finds the route of a request: its path as a template, such as
// /users/{id}.
package route

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/weirdev/weir/event"
)

const (
	maxTemplates     = 10_000
	maxTemplateBytes = 512 // as long as a route may be

	// noRoute is the route of anything that is no path: "*", "host:443", garbage.
	noRoute = "-"
)

// Table finds the template of a path: /users/4711/orders is /users/{id}/orders.
// Paths that match no template get a route by a fixed rule that yields at most
// [MaxFallbacks] different routes, whatever clients request.
//
// The route is a pure function of templates, method and path. A Table never
// changes, and many goroutines may use it. A route does not mean that the path
// exists.
type Table struct {
	root node

	// fallbacks caches the texts of frequent fallback routes; its content never
	// changes an answer.
	fallbacks [1024]atomic.Pointer[string]
	said      [1024]atomic.Pointer[said] // the same for what words say
}

type node struct {
	literals map[string]*node // by segment, in lower case
	param    *node
	ends     []end // templates that end here
	rests    []end // templates that end here with /*
}

type end struct {
	method string // "" for all
	route  string
}

// New compiles templates such as "/v1/users/{id}/orders". A segment is a literal or
// a parameter; "*" at the end stands for one or more segments of any kind; a method
// and a blank in front limit the template to that method. The error names every
// wrong template.
func New(templates []string) (*Table, error) {
	if len(templates) > maxTemplates {
		return nil, fmt.Errorf("%d route templates, more than %d", len(templates), maxTemplates)
	}
	t := &Table{}
	var errs []error
	for _, template := range templates {
		if err := t.add(template); err != nil {
			errs = append(errs, fmt.Errorf("route %q: %w", template, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func (t *Table) add(template string) error {
	method, route, ok := strings.Cut(template, " ")
	if !ok {
		method, route = "", template
	} else if !isMethod(method) {
		return errors.New("a method in capital letters is expected before the blank")
	}
	if len(route) > maxTemplateBytes {
		return fmt.Errorf("longer than %d bytes", maxTemplateBytes)
	}
	parts, err := splitTemplate(route)
	if err != nil {
		return err
	}
	n := &t.root
	for i, p := range parts {
		if p == "*" && i == len(parts)-1 {
			return addEnd(&n.rests, method, route)
		}
		n = n.child(p)
	}
	return addEnd(&n.ends, method, route)
}

func isMethod(s string) bool {
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// splitTemplate checks a template and returns its segments in the form in which a
// path's are compared.
func splitTemplate(route string) ([]string, error) {
	if route == "/" {
		return nil, nil
	}
	if !strings.HasPrefix(route, "/") {
		return nil, errors.New("a template starts with /")
	}
	parts := strings.Split(strings.TrimSuffix(route[1:], "/"), "/")
	if len(parts) > event.MaxSegments {
		return nil, fmt.Errorf("more than %d segments", event.MaxSegments)
	}
	for i, p := range parts {
		if p == "*" && i == len(parts)-1 || isParam(p) {
			continue
		}
		folded, err := literalSegment(p)
		if err != nil {
			return nil, fmt.Errorf("segment %q: %w", p, err)
		}
		parts[i] = folded
	}
	return parts, nil
}

func isParam(p string) bool {
	return len(p) > 2 && p[0] == '{' && p[len(p)-1] == '}' && !strings.ContainsAny(p[1:len(p)-1], "{}*")
}

func literalSegment(p string) (string, error) {
	if strings.ContainsAny(p, "{}*") {
		return "", errors.New("a segment is either literal or wholly a parameter such as {id}; * stands alone, at the end")
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] >= 0x7f || strings.IndexByte("?#;", p[i]) >= 0 {
			return "", errors.New("query, fragment, ; and blanks are no part of a route, and other bytes are written as %XX")
		}
	}
	var s event.Segments
	s.Read("/" + p)
	if s.Len() != 1 {
		return "", errors.New("empty and dot segments never remain in a path")
	}
	if s.At(0) == nil {
		return "", fmt.Errorf("longer than %d bytes", event.MaxLiteral)
	}
	return string(s.At(0)), nil
}

func (n *node) child(part string) *node {
	if part[0] == '{' {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	if n.literals == nil {
		n.literals = map[string]*node{}
	}
	if n.literals[part] == nil {
		n.literals[part] = &node{}
	}
	return n.literals[part]
}

func addEnd(ends *[]end, method, route string) error {
	for _, e := range *ends {
		if e.method == method {
			return fmt.Errorf("matches the same paths as %q", e.route)
		}
	}
	*ends = append(*ends, end{method, route})
	return nil
}

// Route returns the route of a request: the template that matches best, as written
// but without its method, or else the fallback. Among several templates, the one
// whose first differing segment is more specific wins: a literal before a
// parameter, a parameter before *; then one with a method. The path is normalised
// before matching: see [event.Segments].
//
// The result does not alias path. A template costs no allocation.
func (t *Table) Route(method, path string) string {
	var s event.Segments
	if !s.Read(path) {
		return noRoute
	}
	if route := t.root.match(&s, 0, method); route != "" {
		return route
	}
	return t.fallback(&s)
}

// match visits every node at most once, because a node's depth is the index of its
// segment: backtracking costs no more than the number of templates.
func (n *node) match(s *event.Segments, depth int, method string) string {
	if depth == s.Len() {
		return bestEnd(n.ends, method)
	}
	if depth < event.MaxSegments {
		// A segment that is too long to compare is empty here, and no literal is.
		if child := n.literals[string(s.At(depth))]; child != nil {
			if route := child.match(s, depth+1, method); route != "" {
				return route
			}
		}
		if n.param != nil {
			if route := n.param.match(s, depth+1, method); route != "" {
				return route
			}
		}
	}
	return bestEnd(n.rests, method)
}

func bestEnd(ends []end, method string) string {
	any := ""
	for i := range ends {
		if ends[i].method == method {
			return ends[i].route
		}
		if ends[i].method == "" {
			any = ends[i].route
		}
	}
	return any
}

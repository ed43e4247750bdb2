package gate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/facet"
)

// MaxBodyBytes is the maximum length of a request body. It equals that of an event,
// because both contain client values.
const MaxBodyBytes = format.MaxBytes

// ParseRequest reads the body of a question: one JSON object with the members
// tenant, route, request (fields as in events), entities, in which every entity is a
// text, and incomplete. The gateway's own values are read strictly: unknown and repeated
// members, other case, anything after the object, and a tenant that no event can
// have are errors.
//
// Client values are read leniently. An entity that is too long, or contains invalid
// text, becomes the same as in ingest; one that cannot be an entity is left out.
// The request records both. An entity that is "" counts as absent. The network of
// an address is added.
func ParseRequest(body []byte) (Request, error) { return parseInto(new(event.Event), nil, body) }

// parseInto is [ParseRequest] with an empty event, and room for entities, both of
// which the request keeps.
func parseInto(e *event.Event, room []facet.Entity, body []byte) (Request, error) {
	req := Request{Event: e, Entities: room[:0]}
	r, err := format.NewReader(body)
	if err != nil {
		return req, malformed(err)
	}
	var given [facet.MaxKind]string // by kind; "" is absent
	err = eachMember(r, func(name string) (err error) {
		switch name {
		case "tenant":
			req.Tenant, err = tenant(r)
		case "route":
			req.Route, err = text(r)
			req.Route, _, _ = event.Keep(event.Route, req.Route)
		case "request":
			err = fields(r, req.Event)
		case "entities":
			err = entities(r, &given)
		case "incomplete":
			req.Missing, err = yes(r)
		default:
			err = errors.New("unknown member")
		}
		return err
	})
	if err != nil {
		return req, err
	}
	if r.End() != nil {
		return req, errors.New("something follows the object")
	}
	req.resolve(&given)
	return req, nil
}

// eachMember reads an object and calls read at the value of each member.
func eachMember(r *format.Reader, read func(name string) error) error {
	seen := make([]string, 0, 8) // few, since an unknown name ends it
	err := r.Object(func(name string) error {
		if slices.Contains(seen, name) {
			return fmt.Errorf("%.32q is given twice", name)
		}
		seen = append(seen, name)
		if err := read(name); err != nil {
			return fmt.Errorf("%.32q: %w", name, err)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if r := (*event.Refusal)(nil); len(seen) == 0 && errors.As(err, &r) && r.Reason == event.WrongType {
		return errors.New("not an object")
	}
	return malformed(err)
}

// malformed describes an error of the reader; other errors stay as they are.
func malformed(err error) error {
	if err == nil {
		return nil
	}
	if r := (*event.Refusal)(nil); errors.As(err, &r) {
		return fmt.Errorf("malformed JSON at byte %d: %s", r.Pos, r.Reason)
	}
	return err
}

func text(r *format.Reader) (string, error) {
	s, err := r.Text()
	if err == nil {
		return s, nil
	}
	if refusal := (*event.Refusal)(nil); errors.As(err, &refusal) && refusal.Reason == event.WrongType {
		return "", errors.New("not a text")
	}
	return s, malformed(err)
}

func yes(r *format.Reader) (bool, error) {
	v, err := r.Bool()
	if refusal := (*event.Refusal)(nil); errors.As(err, &refusal) && refusal.Reason == event.WrongType {
		return false, errors.New("neither true nor false")
	}
	return v, malformed(err)
}

func tenant(r *format.Reader) (string, error) {
	s, err := text(r)
	if err != nil {
		return "", err
	}
	return s, checkTenant(s)
}

// checkTenant refuses a tenant that no event can have.
func checkTenant(s string) error {
	if _, _, refused := event.Keep(event.Tenant, s); refused != 0 {
		return fmt.Errorf("no event has such a tenant: %s", refused)
	}
	return nil
}

func entities(r *format.Reader, given *[facet.MaxKind]string) error {
	return eachMember(r, func(name string) error {
		kind, ok := facet.ParseKind(name)
		if !ok {
			return errors.New("no kind of entity")
		}
		key, err := text(r)
		given[kind] = key
		return err
	})
}

// fields reads the known fields of the request, other than tenant, route and
// entities, which have members of their own.
func fields(r *format.Reader, into *event.Event) error {
	return eachMember(r, func(name string) error {
		spec, known := event.Lookup(name)
		switch {
		case !known:
			return errors.New("no field of a request")
		case entityField[spec.Field]:
			return errors.New("said by tenant, route and entities")
		case !IsAsked(spec.Field):
			return errors.New("no field of a request")
		}
		return malformed(r.Field(into, spec.Field))
	})
}

// IsAsked reports whether the member request of a question may have a field of
// events. It has none that tenant, route and entities say.
func IsAsked(f event.Field) bool {
	switch f.Spec().Kind {
	case event.KindTime, event.KindObject, event.KindAddress:
		return false
	}
	return !entityField[f] && !slices.Contains(ofDecision, f)
}

// ofDecision lists fields of events that a question cannot have yet.
var ofDecision = []event.Field{event.ID, event.SchemaVersion, event.Decision, event.DecisionAction, event.Skewed, event.Delayed, event.Clipped}

// entityField marks the fields from which entities are made.
var entityField = func() (marked [event.MaxField]bool) {
	for _, k := range facet.Kinds() {
		for _, f := range facet.Names(k) {
			marked[f] = true
		}
	}
	return marked
}()

// describe copies tenant, route and entities into the request's event, for the
// policies.
func (r *Request) describe() {
	e := r.Event
	setText(e, event.Tenant, r.Tenant)
	setText(e, event.Route, r.Route)
	for i := range r.Entities {
		switch one := &r.Entities[i]; one.Kind {
		case facet.Net16, facet.Tenant, facet.Route: // without a field of its own, or already set
		case facet.ASN:
			if n, err := strconv.ParseInt(one.Key, 10, 64); err == nil {
				e.SetNum(event.ASN, n)
			}
		case facet.Build:
			version, model, _ := strings.Cut(one.Key, "|")
			setText(e, event.Build, one.Key)
			setIfAbsent(e, event.AppVersion, version)
			setIfAbsent(e, event.DeviceModel, model)
		case facet.Token:
			setText(e, event.Token, one.Key)
		default:
			setText(e, facet.Names(one.Kind)[0], one.Key)
		}
	}
}

func setText(e *event.Event, f event.Field, v string) {
	if v != "" {
		e.SetText(f, v)
	}
}

func setIfAbsent(e *event.Event, f event.Field, v string) {
	if !e.Has(f) {
		setText(e, f, v)
	}
}

// resolve makes the given entities, in order of kinds.
func (r *Request) resolve(given *[facet.MaxKind]string) {
	n := 2 // the networks of an address
	for _, name := range given {
		if name != "" {
			n++
		}
	}
	r.Entities = slices.Grow(r.Entities, n)
	for _, kind := range facet.Kinds() {
		name := given[kind]
		if name == "" {
			continue
		}
		e, whole, ok := Resolve(kind, r.Tenant, name)
		if !ok {
			r.Missing = true
			continue
		}
		r.Shortened = r.Shortened || !whole
		r.Entities = append(r.Entities, e)
		if kind == facet.IP && given[facet.Net] == "" {
			r.Entities = append(r.Entities, facet.Entity{Kind: facet.Net, Tenant: r.Tenant, Key: facet.NetOf(e.Key)})
		}
	}
	if given[facet.Net16] == "" {
		r.addNet16()
	}
	r.describe()
}

// addNet16 adds the wider network of the address, if there is one. It is the last
// kind.
func (r *Request) addNet16() {
	for _, e := range r.Entities {
		if e.Kind == facet.IP {
			r.Entities = append(r.Entities, facet.Entity{Kind: facet.Net16, Tenant: r.Tenant, Key: facet.Net16Of(e.Key)})
			return
		}
	}
}

// Resolve makes an entity from a gateway's name for it, in the form that ingest
// counts. whole and ok are those of [facet.KeyOf].
func Resolve(kind facet.Kind, tenant, name string) (e facet.Entity, whole, ok bool) {
	key, whole, ok := facet.KeyOf(kind, name)
	if kind == facet.Tenant && key != tenant {
		ok = false
	}
	return facet.Entity{Kind: kind, Tenant: tenant, Key: key}, whole, ok
}

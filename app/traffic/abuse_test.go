package traffic

import (
	"fmt"
	"strings"

	"github.com/weirdev/weir/event"
)

// abuses returns, for each kind of campaign, a check that its events show the
// abuse. A check returns what is missing, or "".
func abuses() map[string]func([]*event.Event) string {
	return map[string]func([]*event.Event) string{
		"attestation_abuse": has(10, is(event.Route, "/v1/withdrawals"), func(e *event.Event) bool {
			return e.Text(event.Attestation) == "failed" || e.Num(event.AttestationAge) > 30*86_400
		}),
		"brute_force":         distinct(event.Account, 1, 1, 80, failed),
		"cadence":             distinct(event.Object, 1, 1, 50),
		"carding":             distinct(event.Attrs, 40, 1000, 40, is(event.Route, "/v1/payments"), status(402)),
		"credential_stuffing": distinct(event.Account, 150, 1000, 150, failed),
		"emulator_farm": distinct(event.Account, 20, 20, 100, func(e *event.Event) bool {
			return e.Num(event.Emulator) == 1 || strings.HasPrefix(e.Text(event.DeviceModel), "iPhone") && e.Text(event.OS) == "android"
		}),
		"fake_signups":        distinct(event.Account, 60, 60, 60, is(event.Route, "/v1/signup"), status(201)),
		"impossible_travel":   has(1, func(e *event.Event) bool { return e.Text(event.Auth) == "success" }),
		"low_and_slow":        distinct(event.Account, 1, 1, 24, failed),
		"multi_accounting":    distinct(event.Account, 16, 16, 16, func(e *event.Event) bool { return e.Text(event.Auth) == "success" }),
		"new_device":          has(1, is(event.Route, "/v1/withdrawals")),
		"object_enumeration":  distinct(event.Object, 120, 1000, 120, is(event.Route, "/v1/orders/{id}")),
		"password_spray":      distinct(event.Account, 40, 45, 120, failed),
		"payment_skip":        without("/v1/payments/{id}/confirm", "/v1/payments"),
		"promo_abuse":         distinct(event.Attrs, 60, 1000, 60, is(event.Route, "/v1/coupons/redeem"), status(404)),
		"refresh_reuse":       has(3, is(event.Grant, "refresh_token"), status(400)),
		"refund_loop":         has(8, is(event.Route, "/v1/orders/{id}/refund")),
		"replay":              repeated(event.Nonce, 4),
		"residential_proxies": distinct(event.IP, 180, 1000, 180, failed),
		"scraping":            distinct(event.Object, 300, 1000, 700, status(200)), // a tenant has 400 in all
		"sequence_anomaly":    distinct(event.Route, 8, 100, 40),
		"signature_farm":      shared(event.KeyID, event.Device, 18),
		"signature_mismatch": has(40, func(e *event.Event) bool {
			return e.Text(event.Signature) == "invalid"
		}),
		"step_up_abuse":       has(14, is(event.Route, "/v1/mfa/challenge")),
		"takeover_withdrawal": inOrder("/v1/password/reset", "/v1/account/email", "/v1/withdrawals"),
		"tampering": has(40, func(e *event.Event) bool {
			s := e.Num(event.Status)
			return s == 404 || s == 405 || s == 422 || strings.Contains(e.Text(event.Attrs), "is_admin")
		}),
		"token_lifetime": has(16, func(e *event.Event) bool {
			return e.Num(event.TokenExpires) < e.Num(event.Time) || e.Num(event.TokenExpires)-e.Num(event.TokenIssued) > 30*86_400_000
		}),
		"token_theft": has(15, func(e *event.Event) bool {
			return e.Text(event.Token) != "" && e.Text(event.Signature) == "missing"
		}),
	}
}

type test func(*event.Event) bool

func is(f event.Field, v string) test { return func(e *event.Event) bool { return e.Text(f) == v } }

func status(v int64) test { return func(e *event.Event) bool { return e.Num(event.Status) == v } }

func failed(e *event.Event) bool { return e.Text(event.Auth) == "failure" }

func matches(e *event.Event, tests []test) bool {
	for _, t := range tests {
		if !t(e) {
			return false
		}
	}
	return true
}

// has requires at least the given number of events that pass all tests.
func has(least int, tests ...test) func([]*event.Event) string {
	return func(all []*event.Event) string {
		n := 0
		for _, e := range all {
			if matches(e, tests) {
				n++
			}
		}
		if n < least {
			return fmt.Sprintf("%d events of %d, %d are needed", n, len(all), least)
		}
		return ""
	}
}

// distinct requires a number of values of a field, in a minimum number of events.
func distinct(f event.Field, least, most, events int, tests ...test) func([]*event.Event) string {
	return func(all []*event.Event) string {
		values, n := map[string]bool{}, 0
		for _, e := range all {
			if matches(e, tests) && e.Text(f) != "" {
				values[e.Text(f)] = true
				n++
			}
		}
		if len(values) < least || len(values) > most || n < events {
			return fmt.Sprintf("%d values of %s in %d events; %d to %d in %d are needed", len(values), f, n, least, most, events)
		}
		return ""
	}
}

// repeated requires a minimum number of repetitions of values.
func repeated(f event.Field, least int) func([]*event.Event) string {
	return func(all []*event.Event) string {
		values, n := map[string]bool{}, 0
		for _, e := range all {
			if v := e.Text(f); v != "" && values[v] {
				n++
			} else {
				values[v] = true
			}
		}
		if n < least {
			return fmt.Sprintf("%s comes again %d times, %d are needed", f, n, least)
		}
		return ""
	}
}

// shared requires a value of one field that occurs with a minimum number of values
// of another.
func shared(f, of event.Field, least int) func([]*event.Event) string {
	return func(all []*event.Event) string {
		beside := map[string]map[string]bool{}
		most := 0
		for _, e := range all {
			v := e.Text(f)
			if beside[v] == nil {
				beside[v] = map[string]bool{}
			}
			beside[v][e.Text(of)] = true
			most = max(most, len(beside[v]))
		}
		if most < least {
			return fmt.Sprintf("no %s has more than %d values of %s", f, most, of)
		}
		return ""
	}
}

// inOrder requires an account that calls the routes in the given order.
func inOrder(routes ...string) func([]*event.Event) string {
	return func(all []*event.Event) string {
		at := map[string]int{}
		for _, e := range all {
			a := e.Text(event.Account)
			if n := at[a]; n < len(routes) && e.Text(event.Route) == routes[n] {
				if at[a]++; at[a] == len(routes) {
					return ""
				}
			}
		}
		return fmt.Sprintf("no account goes through %v", routes)
	}
}

// without requires calls of a route that are not preceded by as many calls of
// another.
func without(route, before string) func([]*event.Event) string {
	return func(all []*event.Event) string {
		open, n := map[string]int{}, 0
		for _, e := range all {
			a := e.Text(event.Account)
			switch e.Text(event.Route) {
			case before:
				open[a]++
			case route:
				if open[a]--; open[a] < 0 {
					open[a] = 0
					n++
				}
			}
		}
		if n < 2 {
			return fmt.Sprintf("%s comes %d times without %s before it", route, n, before)
		}
		return ""
	}
}

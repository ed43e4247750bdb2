package query

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// text formats a value as ClickHouse would.
func text(v any, kind string) string {
	switch v := plain(v, kind).(type) {
	case nil:
		return "NULL"
	case string:
		return v
	default:
		return nested(v)
	}
}

// nested formats a value within another one, where texts have quotes.
func nested(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = nested(v[i])
		}
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			keys[i] = nested(k) + ":" + nested(v[k])
		}
		return "{" + strings.Join(keys, ",") + "}"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// plain converts a value of the driver to nil, texts, numbers, booleans, lists and
// maps, as in JSON.
func plain(v any, kind string) any {
	switch v := v.(type) {
	case nil:
		return nil
	case time.Time:
		return moment(v, kind)
	case float64:
		return finite(v, v)
	case float32:
		short, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64) // cannot fail: it was formatted above
		return finite(float64(v), short)
	case string:
		return valid(v)
	case bool, int8, int16, int32, int64, int, uint8, uint16, uint32, uint64, uint:
		return v
	case fmt.Stringer:
		if r := reflect.ValueOf(v); r.Kind() != reflect.Pointer || !r.IsNil() {
			return v.String()
		}
		return nil
	}
	return byKind(reflect.ValueOf(v), kind)
}

func byKind(r reflect.Value, kind string) any {
	switch r.Kind() {
	case reflect.Pointer, reflect.Interface:
		if r.IsNil() {
			return nil
		}
		return plain(r.Elem().Interface(), kind)
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = plain(r.Index(i).Interface(), inner(kind))
		}
		return list
	case reflect.Map:
		m := make(map[string]any, r.Len())
		for _, k := range r.MapKeys() {
			m[text(k.Interface(), "")] = plain(r.MapIndex(k).Interface(), inner(kind))
		}
		return m
	}
	return fmt.Sprint(r.Interface())
}

// inner returns the element type of a list. For other containers, the element types
// are unknown.
func inner(kind string) string {
	if _, within, found := strings.Cut(kind, "("); found {
		return strings.TrimSuffix(within, ")")
	}
	return kind
}

// finite returns v, or a text for values that JSON numbers cannot express.
func finite(v, as float64) any {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 0):
		return strings.ToLower(strings.TrimPrefix(fmt.Sprint(v), "+"))
	}
	return as
}

// moment formats a date or a time in UTC, with the precision of its type.
func moment(t time.Time, kind string) string {
	_, after, fine := strings.Cut(kind, "DateTime64(")
	digits := 0
	if fine && after != "" {
		digits = int(after[0] - '0')
	}
	switch {
	case digits > 0 && digits <= 9:
		return t.UTC().Format("2006-01-02 15:04:05." + strings.Repeat("0", digits))
	case strings.Contains(kind, "DateTime"):
		return t.UTC().Format(time.DateTime)
	case strings.Contains(kind, "Date"):
		return t.Format(time.DateOnly)
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// valid returns a text unchanged, or bytes that are not text in base64.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return "base64:" + base64.StdEncoding.EncodeToString([]byte(s))
}

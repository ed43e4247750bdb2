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

// text is a value as ClickHouse would write it.
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

// nested is a value within another: texts have quotes there.
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

// plain turns what the driver gives into nil, texts, numbers, flags, lists and
// maps: what JSON has.
func plain(v any, kind string) any {
	switch v := v.(type) {
	case nil:
		return nil
	case time.Time:
		return moment(v, kind)
	case float64:
		return finite(v, v)
	case float32:
		short, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64) // what was written reads
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

// inner is the type of what a list holds; of what is within other types, nothing
// is known but that it stands there.
func inner(kind string) string {
	if _, within, found := strings.Cut(kind, "("); found {
		return strings.TrimSuffix(within, ")")
	}
	return kind
}

// finite is v, or a text for what JSON has no number for.
func finite(v, as float64) any {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 0):
		return strings.ToLower(strings.TrimPrefix(fmt.Sprint(v), "+"))
	}
	return as
}

// moment is a date or a time, in UTC, as precise as its type.
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

// valid is a text as it is, or, where it is bytes and no text, in base64.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return "base64:" + base64.StdEncoding.EncodeToString([]byte(s))
}

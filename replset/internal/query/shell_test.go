package query

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// doc reads a document in the notation of the shell, as the tests write it:
// unquoted names, ints as they are, doubles with a point, and Long(1), Dec("1.5"),
// OID("…"), Date(0), TS(1, 2), Bin(0, "ff"), Code("x"), Scoped("x", {}), Sym("x"), /re/i,
// MinKey, MaxKey, NaN, Inf, undefined.
func doc(s string) bson.Raw {
	p := &shell{s: s}
	v := p.value()
	p.space()
	if p.s != "" || v.Type != bson.TypeEmbeddedDocument {
		panic("not one document: " + s)
	}
	return bson.Raw(v.Value)
}

func docs(list ...string) []bson.Raw {
	out := make([]bson.Raw, len(list))
	for i, s := range list {
		out[i] = doc(s)
	}
	return out
}

func val(s string) bson.RawValue { return lookup(doc("{v: "+s+"}"), "v") }

// show writes a document so that types show as well.
func show(d bson.Raw) string {
	if d == nil {
		return "nothing"
	}
	return d.String()
}

type shell struct{ s string }

func (p *shell) space() { p.s = strings.TrimLeft(p.s, " \n\t,") }

func (p *shell) next(prefix string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.s, prefix)
	if ok {
		p.s = rest
	}
	return ok
}

func (p *shell) until(stop string) string {
	i := strings.IndexAny(p.s, stop)
	if i < 0 {
		i = len(p.s)
	}
	word := p.s[:i]
	p.s = p.s[i:]
	return strings.TrimSpace(word)
}

func (p *shell) quoted() string {
	q, err := strconv.QuotedPrefix(p.s)
	if err != nil {
		panic("string: " + p.s)
	}
	p.s = p.s[len(q):]
	s, _ := strconv.Unquote(q)
	return s
}

func (p *shell) value() bson.RawValue {
	switch {
	case p.next("{"):
		dst, start := openDocument(nil)
		for !p.next("}") {
			var name string
			if strings.HasPrefix(p.s, `"`) {
				name = p.quoted()
			} else {
				name = p.until(":")
			}
			if !p.next(":") {
				panic("colon: " + p.s)
			}
			dst = appendElement(dst, name, p.value())
		}
		return documentValue(closeDocument(dst, start))
	case p.next("["):
		var items []bson.RawValue
		for !p.next("]") {
			items = append(items, p.value())
		}
		return arrayValue(items)
	case p.next("/"):
		i := 0
		for p.s[i] != '/' || p.s[i-1] == '\\' {
			i++
		}
		pattern := p.s[:i]
		p.s = p.s[i+1:]
		flags := p.until(",]} ")
		return bson.RawValue{Type: bson.TypeRegex, Value: []byte(pattern + "\x00" + flags + "\x00")}
	}
	if strings.HasPrefix(p.s, `"`) {
		return stringValue(p.quoted())
	}
	word := p.until(",]}() ")
	if p.next("(") {
		var args []bson.RawValue
		for !p.next(")") {
			args = append(args, p.value())
		}
		return call(word, args)
	}
	return atom(word)
}

func atom(word string) bson.RawValue {
	switch word {
	case "null":
		return nullValue()
	case "undefined":
		return bson.RawValue{Type: bson.TypeUndefined}
	case "MinKey":
		return bson.RawValue{Type: bson.TypeMinKey}
	case "MaxKey":
		return bson.RawValue{Type: bson.TypeMaxKey}
	case "true":
		return bson.RawValue{Type: bson.TypeBoolean, Value: []byte{1}}
	case "false":
		return bson.RawValue{Type: bson.TypeBoolean, Value: []byte{0}}
	case "NaN":
		return doubleValue(math.NaN())
	case "Inf":
		return doubleValue(math.Inf(1))
	case "-Inf":
		return doubleValue(math.Inf(-1))
	}
	if n, err := strconv.ParseInt(word, 10, 32); err == nil {
		return int32Value(int32(n))
	}
	f, err := strconv.ParseFloat(word, 64)
	if err != nil {
		panic("atom: " + word)
	}
	return doubleValue(f)
}

func call(name string, args []bson.RawValue) bson.RawValue {
	str := func(i int) string { return string(readString(args[i])) }
	num := func(i int) int64 { n, _ := truncated(args[i]); return n }
	switch name {
	case "Long":
		if args[0].Type == bson.TypeString {
			n, err := strconv.ParseInt(str(0), 10, 64)
			if err != nil {
				panic(err)
			}
			return int64Value(n)
		}
		return int64Value(num(0))
	case "Dec":
		d, err := bson.ParseDecimal128(str(0))
		if err != nil {
			panic(err)
		}
		return decimalValue(d)
	case "OID":
		b, err := hex.DecodeString(strings.Repeat("0", 24-len(str(0))) + str(0))
		if err != nil {
			panic(err)
		}
		return bson.RawValue{Type: bson.TypeObjectID, Value: b}
	case "Date":
		v := int64Value(num(0))
		v.Type = bson.TypeDateTime
		return v
	case "TS":
		v := int64Value(num(0)<<32 | num(1))
		v.Type = bson.TypeTimestamp
		return v
	case "Bin":
		b, err := hex.DecodeString(str(1))
		if err != nil {
			panic(err)
		}
		return bson.RawValue{Type: bson.TypeBinary, Value: append([]byte{byte(len(b)), 0, 0, 0, byte(num(0))}, b...)}
	case "Code", "Sym":
		v := stringValue(str(0))
		v.Type = bson.TypeJavaScript
		if name == "Sym" {
			v.Type = bson.TypeSymbol
		}
		return v
	case "Scoped":
		code := stringValue(str(0)).Value
		body := append(append([]byte{0, 0, 0, 0}, code...), args[1].Value...)
		body[0] = byte(len(body))
		return bson.RawValue{Type: bson.TypeCodeWithScope, Value: body}
	}
	panic("call: " + name)
}

// refused checks an error's code, and that its text holds the given part.
func refused(t *testing.T, err error, code int32, part string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Errorf("got %v, want a refusal with code %d", err, code)
		return
	}
	if e.Code != code || !strings.Contains(e.Message, part) {
		t.Errorf("got %d %s, want %d %s", e.Code, e, code, part)
	}
	if e.Name == "" {
		t.Errorf("code %d has no name", e.Code)
	}
}

func TestTheNotationOfTheTestsReadsWhatItSays(t *testing.T) {
	d := doc(`{a: 1, "b c": [Long(2), 2.5, "x", null], d: {e: /a.b/i, f: OID("1")}, g: Dec("1.50")}`)
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	want := `{"a": {"$numberInt":"1"},"b c": [{"$numberLong":"2"},{"$numberDouble":"2.5"},"x",null],"d": {"e": {"$regularExpression":{"pattern":"a.b","options":"i"}},"f": {"$oid":"000000000000000000000001"}},"g": {"$numberDecimal":"1.50"}}`
	if got := fmt.Sprint(d); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

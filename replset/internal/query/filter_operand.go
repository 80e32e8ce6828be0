package query

import (
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// parseInteger reads a number of any type that is an integer, as operators that
// count take it.
func parseInteger(name string, v bson.RawValue, positive bool) (int64, *Error) {
	if !isNumber(v) {
		return 0, refuse(failedToParse, "Expected a number in: %s", elementText(name, v))
	}
	if isNaN(v) {
		return 0, refuse(failedToParse, "Expected an integer, but found NaN in: %s", elementText(name, v))
	}
	if _, ok := truncated(v); !ok {
		return 0, refuse(failedToParse, "Cannot represent as a 64-bit integer: %s", elementText(name, v))
	}
	n, ok := wholeNumber(v)
	if !ok {
		return 0, refuse(failedToParse, "Expected an integer: %s", elementText(name, v))
	}
	if positive && n < 0 {
		return 0, refuse(failedToParse, "Expected a non-negative number in: %s", elementText(name, v))
	}
	return n, nil
}

func parseRegexValue(v bson.RawValue) (predicate, error) {
	p, f := readRegex(v)
	re, err := compileRegex(string(p), string(f))
	if err != nil {
		return nil, err
	}
	return &leaf{t: re}, nil
}

// parseRegexOperator reads $regex and $options, which may stand in any order.
func parseRegexOperator(ops []byte) (predicate, error) {
	var pattern, options string
	e := elementsOf(ops)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		switch string(key) {
		case "$regex":
			switch v.Type {
			case bson.TypeString:
				pattern = string(readString(v))
			case bson.TypeRegex:
				p, f := readRegex(v)
				pattern = string(p)
				if len(f) > 0 {
					if options != "" {
						return nil, refuse(51074, "options set in both $regex and $options")
					}
					options = string(f)
				}
			default:
				return nil, refuse(badValue, "$regex has to be a string")
			}
		case "$options":
			if v.Type != bson.TypeString {
				return nil, refuse(badValue, "$options has to be a string")
			}
			if options != "" {
				return nil, refuse(51075, "options set in both $regex and $options")
			}
			options = string(readString(v))
		}
	}
	re, err := compileRegex(pattern, options)
	if err != nil {
		return nil, err
	}
	return &leaf{t: re}, nil
}

var typesByName = func() map[string]bson.Type {
	m := map[string]bson.Type{}
	for _, t := range []bson.Type{
		bson.TypeDouble, bson.TypeString, bson.TypeEmbeddedDocument, bson.TypeArray, bson.TypeBinary,
		bson.TypeUndefined, bson.TypeObjectID, bson.TypeBoolean, bson.TypeDateTime, bson.TypeNull, bson.TypeRegex,
		bson.TypeDBPointer, bson.TypeJavaScript, bson.TypeSymbol, bson.TypeCodeWithScope, bson.TypeInt32,
		bson.TypeTimestamp, bson.TypeInt64, bson.TypeDecimal128, bson.TypeMinKey, bson.TypeMaxKey,
	} {
		m[TypeName(t)] = t
	}
	return m
}()

func parseType(name string, v bson.RawValue) (predicate, error) {
	items := []bson.RawValue{v}
	if isArray(v) {
		if items = arrayItems(v.Value); len(items) == 0 {
			return nil, refuse(failedToParse, "%s must match at least one type", name)
		}
	}
	t := &hasType{}
	for _, item := range items {
		if err := t.add(item); err != nil {
			return nil, err
		}
	}
	return &leaf{t: t}, nil
}

func (t *hasType) add(v bson.RawValue) error {
	switch {
	case v.Type == bson.TypeString:
		alias := string(readString(v))
		bt, ok := typesByName[alias]
		if alias == "number" {
			t.number = true
		} else if !ok {
			return refuse(badValue, "Unknown type name alias: %s", alias)
		}
		if ok {
			t.types[byte(bt)] = true
		}
	case isNumber(v):
		n, ok := wholeNumber(v)
		switch {
		case ok && n == 0:
			return refuse(badValue, "Invalid numerical type code: 0. Instead use {$exists:false}.")
		case ok && n == -1:
			t.types[byte(bson.TypeMinKey)] = true
		case ok && (n >= 1 && n <= 19 || n == 127):
			t.types[n] = true
		default:
			return refuse(badValue, "Invalid numerical type code: %s", text(v))
		}
	default:
		return refuse(typeMismatch, "type must be represented as a number or a string")
	}
	return nil
}

func parseMod(v bson.RawValue) (predicate, error) {
	if !isArray(v) {
		return nil, refuse(badValue, "malformed mod, needs to be an array")
	}
	items := arrayItems(v.Value)
	switch {
	case len(items) < 2:
		return nil, refuse(badValue, "malformed mod, not enough elements")
	case len(items) > 2:
		return nil, refuse(badValue, "malformed mod, too many elements")
	case !isNumber(items[0]):
		return nil, refuse(badValue, "malformed mod, divisor not a number")
	case !isNumber(items[1]):
		return nil, refuse(badValue, "malformed mod, remainder not a number")
	}
	divisor, ok := truncated(items[0])
	if !ok {
		return nil, refuse(badValue, "malformed mod, divisor value is invalid :: caused by :: Unable to coerce %s to long", text(items[0]))
	}
	remainder, ok := truncated(items[1])
	if !ok {
		return nil, refuse(badValue, "malformed mod, remainder value is invalid :: caused by :: Unable to coerce %s to long", text(items[1]))
	}
	if divisor == 0 {
		return nil, refuse(badValue, "divisor cannot be 0")
	}
	return &leaf{t: &modulo{divisor, remainder}}, nil
}

func parseBits(op string, v bson.RawValue) (predicate, error) {
	t := &bitTest{set: op == "$bitsAllSet" || op == "$bitsAnySet", all: op == "$bitsAllSet" || op == "$bitsAllClear"}
	switch {
	case isArray(v):
		for _, item := range arrayItems(v.Value) {
			n, ok := wholeNumber(item)
			switch {
			case !isNumber(item) || !ok:
				return nil, refuse(badValue, "bit positions must be an integer but got: %s", text(item))
			case n < math.MinInt32 || n > math.MaxInt32:
				return nil, refuse(badValue, "bit positions cannot be represented as a 32-bit signed integer: %s", text(item))
			case n < 0:
				return nil, refuse(badValue, "bit positions must be >= 0 but got: %s", text(item))
			}
			t.positions = append(t.positions, uint32(n))
		}
		slices.Sort(t.positions)
	case isNumber(v):
		mask, err := parseInteger(op, v, true)
		if err != nil {
			return nil, err
		}
		for pos := range uint32(63) {
			if mask>>pos&1 == 1 {
				t.positions = append(t.positions, pos)
			}
		}
	case v.Type == bson.TypeBinary:
		_, data := readBinary(v)
		for i, b := range data {
			for bit := range 8 {
				if b>>bit&1 == 1 {
					t.positions = append(t.positions, uint32(8*i+bit))
				}
			}
		}
	default:
		return nil, refuse(badValue, "%s takes an Array, a number, or a BinData but received: %s", op, elementText(op, v))
	}
	return &leaf{t: t}, nil
}

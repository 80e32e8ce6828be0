package query

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// knownQueryOperators are those that the server has and this package has not;
// they are refused by name, not as unknown.
var knownQueryOperators = map[string]bool{
	"$where": true, "$text": true, "$jsonSchema": true, "$sampleRate": true,
	"$geoWithin": true, "$geoIntersects": true, "$near": true, "$nearSphere": true, "$within": true, "$geoNear": true,
}

func notSupported(what string) error {
	return refuse(notImplemented, "%s is not supported by this server", what)
}

// parseFilter reads a filter document: fields and the operators that stand
// beside them. Top is false for one of a document within the document.
func parseFilter(f []byte, top bool) (matcher, error) {
	var all and
	e := elementsOf(f)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		name := string(key)
		var m matcher
		var err error
		if isDollar(key) && name != "$ref" && name != "$id" && name != "$db" {
			m, err = parseTopLevel(name, v, top)
		} else {
			m, err = parseField(name, v)
		}
		if err != nil {
			return nil, err
		}
		if m != nil {
			all = append(all, m)
		}
	}
	if e.bad {
		return nil, errMalformed()
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func errMalformed() error { return refuse(invalidBSON, "invalid BSON document") }

func isPathless(name string) bool {
	switch name {
	case "$and", "$or", "$nor", "$comment", "$expr", "$where", "$text", "$jsonSchema",
		"$alwaysTrue", "$alwaysFalse", "$sampleRate", "$ref", "$id", "$db":
		return true
	}
	return false
}

func parseTopLevel(name string, v bson.RawValue, top bool) (matcher, error) {
	switch name {
	case "$and", "$or", "$nor":
		list, err := parseClauses(name, v, top)
		if err != nil {
			return nil, err
		}
		switch name {
		case "$and":
			return and(list), nil
		case "$or":
			return or(list), nil
		}
		return nor(list), nil
	case "$comment":
		return nil, nil
	case "$expr":
		if !top {
			return nil, refuse(badValue, "$expr can only be applied to the top-level document")
		}
		x, err := parseExpression(v)
		return &holds{x}, err
	case "$alwaysTrue", "$alwaysFalse":
		if n, ok := wholeNumber(v); !ok || n != 1 {
			return nil, refuse(failedToParse, "%s must be an integer value of 1", name)
		}
		return constant(name == "$alwaysTrue"), nil
	}
	if isPathless(name) {
		return nil, notSupported(name)
	}
	return nil, refuse(badValue, "unknown top level operator: %s. If you have a field name that starts with a '$' symbol, consider using $getField or $setField.", name)
}

func parseClauses(name string, v bson.RawValue, top bool) ([]matcher, error) {
	if !isArray(v) {
		return nil, refuse(badValue, "%s must be an array", name)
	}
	var list []matcher
	for _, item := range arrayItems(v.Value) {
		if !isObject(item) {
			return nil, refuse(badValue, "$or/$and/$nor entries need to be full objects")
		}
		m, err := parseFilter(item.Value, top)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, refuse(badValue, "$and/$or/$nor must be a nonempty array")
	}
	return list, nil
}

func parseField(name string, v bson.RawValue) (matcher, error) {
	var p predicate
	var err error
	switch {
	case isExpression(v, false):
		p, err = parseOperators(name, v.Value)
	case v.Type == bson.TypeRegex:
		p, err = parseRegexValue(v)
	default:
		p, err = parseEquality(v)
	}
	if err != nil {
		return nil, err
	}
	f := &field{path: splitPath(name), dotted: name, p: p}
	if len(f.path) > maxNesting {
		return nil, refuse(overflow, "the field path '%s' has more than %d parts", clip(name), maxNesting)
	}
	return f, nil
}

// isExpression reports whether v is a document of operators. A DBRef is not
// one, though its names start with a dollar sign.
func isExpression(v bson.RawValue, partialRef bool) bool {
	if !isObject(v) {
		return false
	}
	e := elementsOf(v.Value)
	key, _, ok := e.next()
	if !ok || !isDollar(key) {
		return false
	}
	ref, id, db := !missing(lookup(v.Value, "$ref")), !missing(lookup(v.Value, "$id")), !missing(lookup(v.Value, "$db"))
	if partialRef {
		return !ref && !id && !db
	}
	return !ref || !id
}

// parseOperators reads {$gt: 1, $lt: 5}.
func parseOperators(name string, ops []byte) (predicate, error) {
	var all every
	e := elementsOf(ops)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		p, err := parseOperator(name, ops, string(key), v)
		if err != nil {
			return nil, err
		}
		if p != nil {
			all = append(all, p)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func parseOperator(name string, ops []byte, op string, v bson.RawValue) (predicate, error) {
	switch op {
	case "$eq":
		return parseEquality(v)
	case "$ne":
		if v.Type == bson.TypeRegex {
			return nil, refuse(badValue, "Can't have regex as arg to $ne.")
		}
		p, err := parseEquality(v)
		return &not{p}, err
	case "$gt", "$gte", "$lt", "$lte":
		if v.Type == bson.TypeRegex {
			return nil, refuse(badValue, "Can't have RegEx as arg to predicate over field '%s'.", name)
		}
		if v.Type == bson.TypeUndefined {
			return nil, refuse(badValue, "cannot compare to undefined")
		}
		return &leaf{t: &ordered{v: v, less: op[1] == 'l', orEqual: len(op) == 4}}, nil
	case "$in":
		return parseIn(op, v)
	case "$nin":
		p, err := parseIn(op, v)
		return &not{p}, err
	case "$not":
		return parseNot(name, v)
	case "$exists":
		p := predicate(&leaf{t: exists{}, whole: true})
		if !Truthy(v) {
			p = &not{p}
		}
		return p, nil
	case "$type":
		return parseType(name, v)
	case "$size":
		n, err := parseInteger("$size", v, true)
		if err != nil {
			return nil, refuse(badValue, "Failed to parse $size. %s", err.Message)
		}
		return &leaf{t: &hasSize{n}, whole: true}, nil
	case "$mod":
		return parseMod(v)
	case "$regex":
		return parseRegexOperator(ops)
	case "$options":
		if missing(lookup(ops, "$regex")) {
			return nil, refuse(badValue, "$options needs a $regex")
		}
		return nil, nil // $regex reads it
	case "$elemMatch":
		return parseElemMatch(name, v)
	case "$all":
		return parseAll(name, v)
	case "$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear":
		return parseBits(op, v)
	case "$where":
		return nil, refuse(badValue, "$where cannot be applied to a field")
	case "$expr", "$text", "$jsonSchema", "$sampleRate": // stand beside fields, not in them
	default:
		if knownQueryOperators[op] {
			return nil, notSupported(op)
		}
	}
	return nil, refuse(badValue, "unknown operator: %s", op)
}

func parseEquality(v bson.RawValue) (predicate, error) {
	if v.Type == bson.TypeUndefined {
		return nil, refuse(badValue, "cannot compare to undefined")
	}
	return &leaf{t: &equals{v}}, nil
}

func parseIn(op string, v bson.RawValue) (predicate, error) {
	if !isArray(v) {
		return nil, refuse(badValue, "%s needs an array", op)
	}
	var values []bson.RawValue
	var regexes []*matchesRegex
	for _, item := range arrayItems(v.Value) {
		switch {
		case isExpression(item, false):
			return nil, refuse(badValue, "cannot nest $ under $in") // for $nin too
		case item.Type == bson.TypeUndefined:
			return nil, refuse(badValue, "InMatchExpression equality cannot be undefined")
		case item.Type == bson.TypeRegex:
			p, f := readRegex(item)
			re, err := compileRegex(string(p), string(f))
			if err != nil {
				return nil, err
			}
			regexes = append(regexes, re)
		default:
			values = append(values, item)
		}
	}
	return &leaf{t: newIn(values, regexes)}, nil
}

func parseNot(name string, v bson.RawValue) (predicate, error) {
	if v.Type == bson.TypeRegex {
		p, err := parseRegexValue(v)
		return &not{p}, err
	}
	if !isObject(v) {
		return nil, refuse(badValue, "$not needs a regex or a document")
	}
	if e := elementsOf(v.Value); len(e.rest) == 0 {
		return nil, refuse(badValue, "$not cannot be empty")
	}
	p, err := parseOperators(name, v.Value)
	return &not{p}, err
}

func parseElemMatch(name string, v bson.RawValue) (predicate, error) {
	if !isObject(v) {
		return nil, refuse(badValue, "$elemMatch needs an Object")
	}
	if isExpression(v, true) {
		e := elementsOf(v.Value)
		if key, _, _ := e.next(); !isPathless(string(key)) {
			p, err := parseOperators(name, v.Value)
			return &leaf{t: &matchesValue{p}, whole: true}, err
		}
	}
	m, err := parseFilter(v.Value, false)
	return &leaf{t: &matchesItem{m}, whole: true}, err
}

func parseAll(name string, v bson.RawValue) (predicate, error) {
	if !isArray(v) {
		return nil, refuse(badValue, "$all needs an array")
	}
	items := arrayItems(v.Value)
	if len(items) == 0 {
		return never{}, nil
	}
	firstOperator := func(v bson.RawValue) (string, bson.RawValue) {
		if !isObject(v) {
			return "", bson.RawValue{}
		}
		e := elementsOf(v.Value)
		key, operand, _ := e.next()
		return string(key), operand
	}
	var all every
	if op, _ := firstOperator(items[0]); op == "$elemMatch" {
		for _, item := range items {
			op, operand := firstOperator(item)
			if op != "$elemMatch" {
				return nil, refuse(badValue, "$all/$elemMatch has to be consistent")
			}
			p, err := parseElemMatch(name, operand)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		return all, nil
	}
	for _, item := range items {
		var p predicate
		var err error
		switch {
		case item.Type == bson.TypeRegex:
			p, err = parseRegexValue(item)
		case isExpression(item, true):
			return nil, refuse(badValue, "no $ expressions in $all")
		default:
			p, err = parseEquality(item)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

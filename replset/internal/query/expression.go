package query

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// expression computes a value from a document; type 0 stands for none.
type expression interface {
	eval(root []byte) bson.RawValue
}

type literal struct{ v bson.RawValue }

func (x *literal) eval([]byte) bson.RawValue { return x.v }

// fieldPath is "$a.b".
type fieldPath []string

func (x fieldPath) eval(root []byte) bson.RawValue { return x.from(documentValue(root)) }

// from follows x from v. Through an array it goes by way of each item that is a
// document, and gives an array of what it finds.
func (x fieldPath) from(v bson.RawValue) bson.RawValue {
	if len(x) == 0 {
		return v
	}
	switch {
	case isObject(v):
		return x[1:].from(lookup(v.Value, x[0]))
	case isArray(v):
		var found []bson.RawValue
		e := elementsOf(v.Value)
		for {
			_, item, ok := e.next()
			if !ok {
				return arrayValue(found)
			}
			if !isObject(item) {
				continue
			}
			if at := x.from(item); !missing(at) {
				found = append(found, at)
			}
		}
	}
	return bson.RawValue{}
}

// removed is $$REMOVE.
type removed struct{}

func (removed) eval([]byte) bson.RawValue { return bson.RawValue{} }

// documentOf is a document of expressions; fields without a value are left out.
type documentOf struct {
	names  []string
	values []expression
}

func (x *documentOf) eval(root []byte) bson.RawValue {
	dst, start := openDocument(nil)
	for i, name := range x.names {
		if v := x.values[i].eval(root); !missing(v) {
			dst = appendElement(dst, name, v)
		}
	}
	return documentValue(closeDocument(dst, start))
}

// arrayOf is an array of expressions; an item without a value is null.
type arrayOf []expression

func (x arrayOf) eval(root []byte) bson.RawValue {
	items := make([]bson.RawValue, len(x))
	for i, item := range x {
		items[i] = orNull(item.eval(root))
	}
	return arrayValue(items)
}

// parseExpression reads an aggregation expression: field paths, literals and
// documents and arrays of them. Operators other than $literal are refused.
func parseExpression(v bson.RawValue) (expression, error) {
	switch v.Type {
	case bson.TypeString:
		if s := string(readString(v)); strings.HasPrefix(s, "$") {
			return parseFieldPath(s)
		}
	case bson.TypeEmbeddedDocument:
		return parseDocumentExpression(v)
	case bson.TypeArray:
		var list arrayOf
		for _, item := range arrayItems(v.Value) {
			x, err := parseExpression(item)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	}
	return &literal{v}, nil
}

func parseFieldPath(s string) (expression, error) {
	if variable, ok := strings.CutPrefix(s, "$$"); ok {
		name, rest, dotted := strings.Cut(variable, ".")
		switch name {
		case "ROOT", "CURRENT":
			if !dotted {
				return fieldPath(nil), nil
			}
			s = "$" + rest
		case "REMOVE":
			return removed{}, nil
		case "NOW", "CLUSTER_TIME", "DESCEND", "PRUNE", "KEEP", "USER_ROLES", "SEARCH_META":
			return nil, refuse(invalidPipelineOperator, "The variable $$%s is not supported by this server", name)
		default:
			return nil, refuse(17276, "Use of undefined variable: %s", name)
		}
	}
	if s == "$" {
		return nil, refuse(16872, "'$' by itself is not a valid FieldPath")
	}
	if err := checkFieldPath(s[1:]); err != nil {
		return nil, err
	}
	return fieldPath(strings.Split(s[1:], ".")), nil
}

func parseDocumentExpression(v bson.RawValue) (expression, error) {
	x := &documentOf{}
	e := elementsOf(v.Value)
	for first := true; ; first = false {
		key, item, ok := e.next()
		if !ok {
			return x, nil
		}
		name := string(key)
		if isDollar(key) && first {
			if len(e.rest) > 0 {
				return nil, refuse(15983, "an object representing an expression must have exactly one field: %s", text(v))
			}
			if name == "$literal" {
				return &literal{item}, nil
			}
			return nil, unsupportedExpression(name)
		}
		if strings.Contains(name, ".") {
			return nil, refuse(16405, "dotted field names are only allowed at the top level")
		}
		if err := checkFieldPath(name); err != nil {
			return nil, err
		}
		value, err := parseExpression(item)
		if err != nil {
			return nil, err
		}
		x.names = append(x.names, name)
		x.values = append(x.values, value)
	}
}

func unsupportedExpression(name string) error {
	if isExpressionName(name) {
		return refuse(invalidPipelineOperator, "The expression %s is not supported by this server", name)
	}
	return refuse(invalidPipelineOperator, "Unrecognized expression '%s'", name)
}

// expressionNames are the operators that the server knows, so that a refusal
// can say which side lacks one.
var expressionNames = func() map[string]bool {
	names := map[string]bool{}
	for _, name := range strings.Fields(`
		abs accumulator acos acosh add allElementsTrue and anyElementTrue arrayElemAt arrayToObject asin asinh atan atan2
		atanh avg binarySize bitAnd bitNot bitOr bitXor bottom bottomN bsonSize ceil cmp concat concatArrays cond const
		convert cos cosh covariancePop covarianceSamp createObjectId dateAdd dateDiff dateFromParts dateFromString dateSubtract
		dateToParts dateToString dateTrunc dayOfMonth dayOfWeek dayOfYear degreesToRadians divide eq exp filter first
		firstN floor function getField gt gte hour ifNull in indexOfArray indexOfBytes indexOfCP isArray isNumber isoDayOfWeek
		isoWeek isoWeekYear last lastN let literal ln log log10 lt lte ltrim map max maxN median mergeObjects meta millisecond
		min minN minute mod month multiply ne not objectToArray or percentile pow radiansToDegrees rand range reduce regexFind
		regexFindAll regexMatch replaceAll replaceOne reverseArray round rtrim second setDifference setEquals setField
		setIntersection setIsSubset setUnion sin sinh size slice sortArray split sqrt stdDevPop stdDevSamp strLenBytes strLenCP
		strcasecmp substr substrBytes substrCP subtract sum switch tan tanh toBool toDate toDecimal toDouble toHashedIndexKey
		toInt toLong toLower toObjectId toString toUpper toUUID top topN trim trunc tsIncrement tsSecond type unsetField week
		year zip`) {
		names["$"+name] = true
	}
	return names
}()

func isExpressionName(name string) bool { return expressionNames[name] }

// addition is a tree of computed fields: what $addFields and $project put into a
// document.
type addition struct {
	name string
	x    expression // of a leaf
	kids []*addition
}

func (a *addition) add(dotted string, x expression) error {
	parts := strings.Split(dotted, ".")
	for i, name := range parts {
		var k *addition
		for _, o := range a.kids {
			if o.name == name {
				k = o
			}
		}
		last := i == len(parts)-1
		switch {
		case k == nil:
			k = &addition{name: name}
			a.kids = append(a.kids, k)
		case k.x != nil && !last:
			return refuse(31249, "Path collision at %s remaining portion %s", dotted, strings.Join(parts[i+1:], "."))
		case k.x != nil || last:
			return refuse(31250, "Path collision at %s", dotted)
		}
		a = k
	}
	a.x = x
	return nil
}

// applyTo puts the fields, computed from root, into base.
func (a *addition) applyTo(base, root []byte) bson.Raw {
	dst, start := openDocument(make([]byte, 0, len(base)+64))
	return closeDocument(a.put(dst, base, root), start)
}

// put appends the elements of base, with the kids of a in their places or at the end.
func (a *addition) put(dst, base, root []byte) []byte {
	seen := make([]bool, len(a.kids))
	e := elementsOf(base)
next:
	for {
		raw, keyLen := e.nextRaw()
		if raw == nil {
			break
		}
		for i, k := range a.kids {
			if !seen[i] && k.name == string(raw[1:1+keyLen]) {
				seen[i] = true
				dst = k.field(dst, elementValue(raw, keyLen), root)
				continue next
			}
		}
		dst = append(dst, raw...)
	}
	for i, k := range a.kids {
		if !seen[i] {
			dst = k.field(dst, bson.RawValue{}, root)
		}
	}
	return dst
}

// field appends a's element, given the value that stands there so far.
func (a *addition) field(dst []byte, old bson.RawValue, root []byte) []byte {
	var v bson.RawValue
	if a.x != nil {
		v = a.x.eval(root)
	} else {
		v = a.inside(old, root, 0)
	}
	if missing(v) {
		return dst
	}
	return appendElement(dst, a.name, v)
}

// inside is old with the kids of a: every document in an array gets them, and
// what is no document becomes one.
func (a *addition) inside(old bson.RawValue, root []byte, depth int) bson.RawValue {
	switch {
	case depth > maxDepth: // hostile bytes; see maxDepth
		return old
	case isArray(old):
		items := arrayItems(old.Value)
		for i, item := range items {
			items[i] = a.inside(item, root, depth+1)
		}
		return arrayValue(items)
	case isObject(old):
		return documentValue(a.applyTo(old.Value, root))
	}
	return documentValue(a.applyTo([]byte{5, 0, 0, 0, 0}, root))
}

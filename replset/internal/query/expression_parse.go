package query

import (
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// expressionParser reads aggregation expressions.
type expressionParser struct {
	now   bson.RawValue // $$NOW
	names []string      // of the variables, outermost first
}

// parseExpression reads an aggregation expression. Of the server's operators, those that
// are not here are refused.
func parseExpression(v bson.RawValue) (expression, error) {
	p := &expressionParser{now: dateValue(time.Now().UnixMilli())}
	return p.parse(v)
}

func (p *expressionParser) parse(v bson.RawValue) (expression, error) {
	switch v.Type {
	case bson.TypeString:
		if s := string(readString(v)); strings.HasPrefix(s, "$") {
			return p.path(s)
		}
	case bson.TypeEmbeddedDocument:
		return p.document(v)
	case bson.TypeArray:
		var list arrayOf
		for _, item := range arrayItems(v.Value) {
			x, err := p.parse(item)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	}
	return &literal{v}, nil
}

func (p *expressionParser) path(s string) (expression, error) {
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
		case "NOW":
			if dotted {
				return removed{}, nil // there is nothing below a date
			}
			return &literal{p.now}, nil
		case "CLUSTER_TIME", "DESCEND", "PRUNE", "KEEP", "USER_ROLES", "SEARCH_META":
			return nil, refuse(invalidPipelineOperator, "The variable $$%s is not supported by this server", name)
		default:
			if depth := slices.Index(p.names, name); depth >= 0 {
				return p.variable(depth, rest, dotted)
			}
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

// variable reads a variable and a path below it. One of the same name further in hides
// it.
func (p *expressionParser) variable(depth int, rest string, dotted bool) (expression, error) {
	name := p.names[depth]
	for i := len(p.names) - 1; i > depth; i-- {
		if p.names[i] == name {
			depth = i
			break
		}
	}
	x := &variable{depth: depth}
	if dotted {
		if err := checkFieldPath(rest); err != nil {
			return nil, err
		}
		x.below = strings.Split(rest, ".")
	}
	return x, nil
}

func (p *expressionParser) document(v bson.RawValue) (expression, error) {
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
			return p.operator(name, item)
		}
		if strings.Contains(name, ".") {
			return nil, refuse(16405, "dotted field names are only allowed at the top level")
		}
		if err := checkFieldPath(name); err != nil {
			return nil, err
		}
		value, err := p.parse(item)
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

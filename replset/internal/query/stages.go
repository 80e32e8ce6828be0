package query

import (
	"math/rand/v2"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var stageCompilers = map[string]func(spec bson.RawValue) (stage, error){
	"$match":     compileMatch,
	"$sort":      compileSortStage,
	"$skip":      compileSkip,
	"$limit":     compileLimit,
	"$project":   compileProject,
	"$unset":     compileUnset,
	"$addFields": func(spec bson.RawValue) (stage, error) { return compileAddFields("$addFields", spec) },
	"$set":       func(spec bson.RawValue) (stage, error) { return compileAddFields("$set", spec) },
	"$count":     compileCount,
	"$group":     compileGroup,
	"$unwind":    compileUnwind,
	"$sample":    compileSample,

	"$replaceRoot": compileReplaceRoot,
	"$replaceWith": compileReplaceWith,
	"$sortByCount": compileSortByCount,
}

func compileMatch(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(15959, "the match filter must be an expression in an object")
	}
	f, err := CompileFilter(spec.Value)
	if err != nil {
		return nil, err
	}
	return func(in source) source {
		return func() (bson.Raw, bool, error) {
			for {
				doc, ok, err := in()
				if !ok || err != nil {
					return nil, false, err
				}
				if ok, err = f.TryMatch(doc); err != nil {
					return nil, false, err
				}
				if ok {
					return doc, true, nil
				}
			}
		}
	}, nil
}

func compileSortStage(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(15973, "the $sort key specification must be an object")
	}
	s, err := CompileSort(spec.Value)
	if err != nil {
		return nil, err
	}
	switch _, natural := s.Natural(); {
	case natural:
		return nil, checkFieldPath("$natural")
	case len(s.parts) == 0:
		return nil, refuse(15976, "$sort stage must have at least one sort key")
	}
	return func(in source) source {
		return onceAll(in, func(in source) ([]bson.Raw, error) {
			docs, err := drain(in)
			if err != nil {
				return nil, err
			}
			return docs, s.Sort(docs)
		})
	}, nil
}

func compileSkip(spec bson.RawValue) (stage, error) {
	n, perr := parseInteger("$skip", spec, true)
	if perr != nil {
		return nil, refuse(5107200, "invalid argument to $skip stage: %s", perr.Message)
	}
	return func(in source) source {
		left := n
		return func() (bson.Raw, bool, error) {
			for ; left > 0; left-- {
				if _, ok, err := in(); !ok || err != nil {
					return nil, false, err
				}
			}
			return in()
		}
	}, nil
}

func compileLimit(spec bson.RawValue) (stage, error) {
	n, perr := parseInteger("$limit", spec, true)
	if perr != nil {
		return nil, refuse(5107201, "invalid argument to $limit stage: %s", perr.Message)
	}
	if n == 0 {
		return nil, refuse(15958, "the limit must be positive")
	}
	return func(in source) source {
		left := n
		return func() (bson.Raw, bool, error) {
			if left == 0 {
				return nil, false, nil
			}
			left--
			return in()
		}
	}, nil
}

func compileProject(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(15969, "$project specification must be an object")
	}
	if e := elementsOf(spec.Value); len(e.rest) == 0 {
		return nil, refuse(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
	}
	p, err := compileProjection(spec.Value, true)
	if err != nil {
		return nil, causedBy("Invalid $project", err)
	}
	return mapped(p.apply), nil
}

// causedBy puts a context in front of an error's message.
func causedBy(context string, err error) error {
	e := *err.(*Error)
	e.Message = context + " :: caused by :: " + e.Message
	return &e
}

func compileUnset(spec bson.RawValue) (stage, error) {
	names := []bson.RawValue{spec}
	if isArray(spec) {
		if names = arrayItems(spec.Value); len(names) == 0 {
			return nil, refuse(31119, "$unset specification must be a string or an array with at least one field")
		}
	} else if spec.Type != bson.TypeString {
		return nil, refuse(31002, "$unset specification must be a string or an array")
	}
	p := &Projection{root: &projected{}}
	for _, v := range names {
		if v.Type != bson.TypeString {
			return nil, refuse(31120, "$unset specification must be a string or an array containing only string values")
		}
		name := string(readString(v))
		err := checkFieldPath(name)
		if err == nil {
			err = p.root.add(name, &projected{leaf: true})
		}
		if err != nil {
			return nil, causedBy("Invalid $unset", err)
		}
	}
	return mapped(p.apply), nil
}

func compileAddFields(name string, spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(40272, "%s specification stage must be an object, got %s", name, TypeName(spec.Type))
	}
	a := &addition{}
	e := elementsOf(spec.Value)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		if err := addField(a, string(key), v); err != nil {
			return nil, causedBy("Invalid "+name, err)
		}
	}
	if len(a.kids) == 0 {
		return nil, refuse(40177, "Invalid %s :: caused by :: specification must have at least one field", name)
	}
	return mapped(func(s *scope) bson.Raw { return a.applyTo(s.root, s) }), nil
}

// addField reads one field of $addFields: an expression, or a document of fields
// to add below it.
func addField(a *addition, dotted string, v bson.RawValue) error {
	if err := checkFieldPath(dotted); err != nil {
		return err
	}
	e := elementsOf(v.Value)
	if key, _, ok := e.next(); isObject(v) && ok && !isDollar(key) {
		for e = elementsOf(v.Value); ; {
			key, item, ok := e.next()
			if !ok {
				return nil
			}
			if err := addField(a, dotted+"."+string(key), item); err != nil {
				return err
			}
		}
	}
	x, err := parseExpression(v)
	if err != nil {
		return err
	}
	return a.add(dotted, x)
}

func compileCount(spec bson.RawValue) (stage, error) {
	name := string(readString(spec))
	switch {
	case spec.Type != bson.TypeString:
		return nil, refuse(40156, "the count field must be a non-empty string")
	case name == "":
		return nil, refuse(40157, "the count field must be a non-empty string")
	case name[0] == '$':
		return nil, refuse(40158, "the count field cannot be a $-prefixed path")
	case strings.IndexByte(name, 0) >= 0:
		return nil, refuse(40159, "the count field cannot contain a null byte")
	case strings.Contains(name, "."):
		return nil, refuse(40160, "the count field cannot contain '.'")
	}
	return func(in source) source {
		return onceAll(in, func(in source) ([]bson.Raw, error) {
			n := int64(0)
			for {
				_, ok, err := in()
				if err != nil {
					return nil, err
				}
				if !ok {
					break
				}
				n++
			}
			if n == 0 {
				return nil, nil
			}
			dst, start := openDocument(nil)
			dst = appendElement(dst, name, shortest(n))
			return []bson.Raw{closeDocument(dst, start)}, nil
		})
	}, nil
}

// shortest is n as an int, or as a long if it must be.
func shortest(n int64) bson.RawValue {
	if n == int64(int32(n)) {
		return int32Value(int32(n))
	}
	return int64Value(n)
}

func compileSample(spec bson.RawValue) (stage, error) {
	if !isObject(spec) {
		return nil, refuse(28745, "the $sample stage specification must be an object")
	}
	size := int64(-1)
	e := elementsOf(spec.Value)
	for {
		key, v, ok := e.next()
		if !ok {
			break
		}
		if string(key) != "size" {
			return nil, refuse(28748, "unrecognized option to $sample: %s", key)
		}
		if !isNumber(v) {
			return nil, refuse(28746, "size argument to $sample must be a number")
		}
		if size = clampInt(v); size <= 0 {
			return nil, refuse(28747, "size argument to $sample must be a positive integer")
		}
	}
	if size < 0 {
		return nil, refuse(28749, "$sample stage must specify a size")
	}
	return func(in source) source {
		return onceAll(in, func(in source) ([]bson.Raw, error) {
			docs, err := drain(in)
			rand.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
			return docs[:min(size, int64(len(docs)))], err
		})
	}, nil
}
